//! How many peers are connected to a server.

use std::sync::Arc;
#[cfg(feature = "plugin")]
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Counts the connections that have completed their TLS and HTTP/2 handshakes. A clone shares the count.
#[derive(Clone)]
pub(crate) struct Presence(Arc<Mutex<State>>);

struct State {
    connected: usize,
    /// When the last connection ended, or the server started.
    alone_since: Instant,
}

impl Default for Presence {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { connected: 0, alone_since: Instant::now() })))
    }
}

impl Presence {
    /// Counts one more connection until the guard is dropped.
    pub(super) fn enter(&self) -> Present {
        self.0.lock().connected += 1;
        Present(self.clone())
    }

    /// Returns how long no peer has been connected, or `None` while one is.
    #[cfg(feature = "plugin")]
    pub(crate) fn alone_for(&self) -> Option<Duration> {
        let state = self.0.lock();
        (state.connected == 0).then(|| state.alone_since.elapsed())
    }
}

/// One connection in the count.
pub(super) struct Present(Presence);

impl Drop for Present {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.connected -= 1;
        state.alone_since = Instant::now();
    }
}
