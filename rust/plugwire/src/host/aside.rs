//! What may take its time, or hang with a file system, on a thread of its own.
//!
//! Not on the runtime's threads for that: a runtime that ends waits for those.

use std::io::{self, Read};
use std::thread;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Does some work aside. The caller sets the deadline.
///
/// Cancel safety: dropping the future lets the work go on unheard, until it looks at what it is given here; then what it has
/// made is dropped.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce(GivenUp) -> T + Send + 'static,
) -> io::Result<T> {
    let given_up = CancellationToken::new();
    let _guard = given_up.clone().drop_guard();
    let (done, result) = oneshot::channel();
    let work = move || drop(done.send(work(GivenUp(given_up))));
    thread::Builder::new().name("plugwire-aside".to_owned()).spawn(work)?;
    result.await.map_err(io::Error::other)
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
