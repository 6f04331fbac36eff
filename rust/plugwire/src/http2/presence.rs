//! Who is connected to a server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The connections whose handshakes have passed. Who only connects is no company.
#[derive(Clone)]
pub(crate) struct Peers(Arc<Mutex<State>>);

struct State {
    connected: usize,
    /// When the last one went, or the server began.
    alone_since: Instant,
}

impl Default for Peers {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { connected: 0, alone_since: Instant::now() })))
    }
}

impl Peers {
    /// One more, until the guard is dropped.
    pub(super) fn enter(&self) -> Present {
        self.lock().connected += 1;
        Present(self.clone())
    }

    /// How long nobody has been connected; `None` while somebody is.
    pub(crate) fn alone_for(&self) -> Option<Duration> {
        let state = self.lock();
        (state.connected == 0).then(|| state.alone_since.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Present(Peers);

impl Drop for Present {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.connected -= 1;
        state.alone_since = Instant::now();
    }
}
