//! Collects what plugins write and log, so that a test can wait for it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use plugwire::host::LogSink;
use plugwire::protocol::hclog::Entry;
use tokio::io::AsyncWrite;
use tokio::sync::watch;
use tokio::time::timeout;

/// A growing value that a test can wait on. Clones share the value.
#[derive(Debug, Clone, Default)]
pub struct Collected<T>(Arc<watch::Sender<T>>);

/// A writer that keeps everything written to it.
pub type Output = Collected<Vec<u8>>;

/// A log sink that keeps every entry, with the name of its plugin.
pub type Log = Collected<Vec<(String, Entry)>>;

impl<T: Clone> Collected<T> {
    /// Returns the current value.
    pub fn now(&self) -> T {
        self.0.borrow().clone()
    }

    /// Waits until `done` returns true, for at most `limit`, and returns the value at that time in
    /// either case.
    pub async fn wait(&self, limit: Duration, mut done: impl FnMut(&T) -> bool) -> T {
        let mut value = self.0.subscribe();
        let _ = timeout(limit, value.wait_for(|value| done(value))).await;
        self.now()
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.send_modify(|all| all.extend_from_slice(buf));
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl LogSink for Log {
    fn log(&self, plugin: &str, entry: &Entry) {
        self.0.send_modify(|all| all.push((plugin.to_owned(), entry.clone())));
    }
}
