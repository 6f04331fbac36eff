//! Runs work that blocks, or hangs with a file system, on a thread of its own.
//!
//! Not on the runtime's blocking threads: a runtime that shuts down waits for those.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Runs blocking work on a thread of its own, and returns its result. The caller sets the deadline.
///
/// The work is given a token that is cancelled once the future is dropped. It runs to its end even then, unless it
/// looks at the token, and its result is dropped. Unlike with `tokio::task::spawn_blocking`, a runtime that shuts
/// down does not wait for it. Work that never ends keeps its thread; the number of such threads has no bound.
///
/// # Errors
///
/// The thread could not be started, or the work panicked; the error holds the panic's message.
///
/// Cancel safety: dropping the future stops waiting and cancels the token.
pub async fn run<T: Send + 'static>(
    work: impl FnOnce(CancellationToken) -> T + Send + 'static,
) -> io::Result<T> {
    let cancelled = CancellationToken::new();
    let _guard = cancelled.clone().drop_guard();
    let (sender, result) = oneshot::channel();
    start_thread("plugwire-blocking", move || {
        let _ = sender.send(catch_panic("this work", || work(cancelled)));
    })?;
    result.await.map_err(io::Error::other)?
}

/// Starts a thread. The system's own error would read as if it were about the thread's work, so it is explained.
pub(crate) fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    match thread::Builder::new().name(name.to_owned()).spawn(work) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(io::Error::new(error.kind(), format!("no thread can be started for it: {error}")))
        }
    }
}

/// Turns a panic into an error. The panic hook has already printed it to standard error.
pub(crate) fn catch_panic<T>(what: &str, work: impl FnOnce() -> T) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|panic| io::Error::other(format!("{what} panicked: {}", message(&*panic))))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error() {
        let error = run(|_| -> u8 { panic!("out of order") }).await.expect_err("a panic");
        assert_eq!(error.to_string(), "this work panicked: out of order");
    }
}
