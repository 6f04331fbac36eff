//! Panics of code that is not ours: a handler, a check.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Makes an error of a panic. The panic hook has already printed it to standard error.
pub(crate) fn caught<T>(what: &str, work: impl FnOnce() -> T) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|panic| io::Error::other(format!("{what} panicked: {}", words(&*panic))))
}

/// What a panic says.
pub(crate) fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}
