//! Which peers are, or were, connected to a server.

use std::sync::Arc;
#[cfg(feature = "plugin")]
use std::time::Duration;

use parking_lot::Mutex;
#[cfg(feature = "plugin")]
use rustix::process::Pid;
use tokio::time::Instant;

#[cfg(feature = "plugin")]
use crate::net::ProcessId;

/// How many processes are remembered. A plugin has one host, and some may attach to it.
#[cfg(feature = "plugin")]
const MAX_PEERS: usize = 16;

/// Counts the connections that have completed their TLS and HTTP/2 handshakes. A clone shares the count.
#[derive(Clone)]
pub(crate) struct Presence(Arc<Mutex<State>>);

struct State {
    connected: usize,
    /// When the last connection ended, or the server started.
    alone_since: Instant,
    /// The processes that have been connected, the latest last.
    #[cfg(feature = "plugin")]
    peers: Vec<ProcessId>,
}

impl Default for Presence {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            connected: 0,
            alone_since: Instant::now(),
            #[cfg(feature = "plugin")]
            peers: Vec::new(),
        })))
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

    /// Remembers a process that is connected.
    #[cfg(feature = "plugin")]
    pub(super) fn remember(&self, pid: Option<Pid>) {
        let Some(peer) = pid.and_then(ProcessId::of) else { return };
        let peers = &mut self.0.lock().peers;
        peers.retain(|other| *other != peer);
        if peers.len() == MAX_PEERS {
            // One that has ended makes room before one that may come back.
            let ended = peers.iter().position(|peer| !peer.runs());
            peers.remove(ended.unwrap_or_default());
        }
        peers.push(peer);
    }

    /// Returns whether a process that has been connected still runs, and so may connect again.
    #[cfg(feature = "plugin")]
    pub(crate) fn may_return(&self) -> bool {
        let peers = self.0.lock().peers.clone();
        peers.iter().any(ProcessId::runs)
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
