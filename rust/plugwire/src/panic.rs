//! Panics in code that is not ours: a handler, a check.

use std::any::Any;

/// Returns the message of a panic.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Turns a panic into an error. The panic hook has already printed it to standard error.
#[cfg(feature = "host")]
pub(crate) fn caught<T>(what: &str, work: impl FnOnce() -> T) -> std::io::Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .map_err(|panic| std::io::Error::other(format!("{what} panicked: {}", message(&*panic))))
}
