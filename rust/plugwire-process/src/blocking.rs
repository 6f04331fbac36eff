//! What may take its time, or hang with a file system, on a thread of its own.
//!
//! Not on the runtime's threads for that: a runtime that ends waits for those.

use std::io::{self, Read};
use std::thread;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::panic::caught;

/// Does some work aside. The caller sets the deadline. An error says that there is no thread for it, or that it panicked.
///
/// Cancel safety: dropping the future lets the work go on unheard, until it looks at what it is given here; then what it has
/// made is dropped.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce(GivenUp) -> T + Send + 'static,
) -> io::Result<T> {
    let given_up = CancellationToken::new();
    let _guard = given_up.clone().drop_guard();
    let (done, result) = oneshot::channel();
    thread("plugwire-aside", move || {
        let _ = done.send(caught("this work", || work(GivenUp(given_up))));
    })?;
    result.await.map_err(io::Error::other)?
}

/// Starts a thread. What the system says if it cannot would read as if it were about the work.
pub(super) fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    match thread::Builder::new().name(name.to_owned()).spawn(work) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(io::Error::new(error.kind(), format!("no thread can be started for it: {error}")))
        }
    }
}

/// Whether nobody waits for the work any more.
#[derive(Clone)]
pub(super) struct GivenUp(CancellationToken);

impl GivenUp {
    /// Reads, as long as somebody waits.
    pub(super) fn until(&self, contents: impl Read) -> impl Read {
        UntilGivenUp { contents, given_up: self.clone() }
    }

    #[cfg(test)]
    pub(super) fn never() -> Self {
        Self(CancellationToken::new())
    }
}

struct UntilGivenUp<R> {
    contents: R,
    given_up: GivenUp,
}

impl<R: Read> Read for UntilGivenUp<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.given_up.0.is_cancelled() {
            true => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody waits for it any more")),
            false => self.contents.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_says_so() {
        let error = aside(|_| -> u8 { panic!("out of order") }).await.expect_err("a panic");
        assert_eq!(error.to_string(), "this work panicked: out of order");
    }
}
