//! Tells whether a connection's task gets to run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// The pulse of one served connection; in the extensions of each of its calls. A clone is the same one.
///
/// A handler that blocks its thread may hold up the connection that its own output would leave by: on a current-thread
/// runtime always, on a multi-thread one where the connection's task waits for that very thread (what a task wakes
/// last is run next on the same thread, and nobody else takes it from there). Another task's sign of life would not
/// show that.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(Arc<State>);

#[derive(Debug, Default)]
struct State {
    asked: Notify,
    beats: AtomicU64,
}

impl Pulse {
    /// Asks the connection to show that it runs, and returns what [`Pulse::beats`] must leave behind.
    pub(crate) fn ask(&self) -> u64 {
        let beats = self.beats();
        self.0.asked.notify_one();
        beats
    }

    /// How often it did so far.
    pub(crate) fn beats(&self) -> u64 {
        self.0.beats.load(Ordering::Relaxed)
    }

    /// The connection's side: answers, each time that this is polled to its end.
    pub(super) async fn answer(&self) {
        self.0.asked.notified().await;
        self.0.beats.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
