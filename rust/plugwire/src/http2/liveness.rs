//! Whether a connection's task gets to run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Probes the task of one served connection. It is in the extensions of each of the connection's calls;
/// a clone probes the same connection.
///
/// A handler that blocks its thread may hold up the very connection that carries its output. On a
/// current-thread runtime it always does. On a multi-thread runtime it does when the connection's task
/// is queued on the blocked thread: the task that was woken last runs next on the same thread, and no
/// other thread takes it from there. Only this connection's own task can show that, so a probe of any
/// other task proves nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Liveness(Arc<State>);

#[derive(Debug, Default)]
struct State {
    probed: Notify,
    answers: AtomicU64,
}

impl Liveness {
    /// Asks the connection's task for an answer, and returns the number of answers so far: once
    /// [`Liveness::answers`] differs, the task has run.
    #[cfg(feature = "plugin")]
    pub(crate) fn probe(&self) -> u64 {
        let answers = self.answers();
        self.0.probed.notify_one();
        answers
    }

    /// Returns how often the connection's task has answered.
    #[cfg(feature = "plugin")]
    pub(crate) fn answers(&self) -> u64 {
        self.0.answers.load(Ordering::Relaxed)
    }

    /// Answers one probe. The connection's task polls this.
    pub(super) async fn answer(&self) {
        self.0.probed.notified().await;
        self.0.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether both probe the same connection.
    #[cfg(feature = "plugin")]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
