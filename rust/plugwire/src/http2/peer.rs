//! The process at the other end of a connection.

use std::error::Error;
use std::sync::Arc;

use futures_util::future::BoxFuture;

/// What a [`Peer`] reports as the reason why it is gone.
pub(crate) type Cause = Arc<dyn Error + Send + Sync>;

/// The process at the other end. A call whose connection broke asks it what happened.
pub(crate) trait Peer: Send + Sync {
    /// Resolves soon to the reason why the process is gone, or to `None` where it is still alive or
    /// not known.
    fn cause_of_end(&self) -> BoxFuture<'static, Option<Cause>>;

    /// Resolves once the process is known to be gone.
    fn gone(&self) -> BoxFuture<'static, ()>;
}
