//! Several connections over one socket: yamux, which go-plugin has used since 1.6. Only this file uses
//! the yamux crate.
//!
//! The crate and Go's yamux differ in timing. The crate sends a stream's opening, and the answer to it,
//! together with the first bytes written; Go's side ends the *whole session* when an answer never
//! comes. Both are therefore sent at once here, by writing nothing. Spec: MUX-8.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use tokio_util::sync::CancellationToken;
use yamux::{Config, Connection, Stream};

pub(crate) use yamux::Mode;

use super::io::BoxIo;

/// More streams than any healthy peer opens. The crate ends the session when one more is opened, so the
/// limit is far above the number of streams that the broker lets wait.
const MAX_STREAMS: usize = 16 * 1024;
/// The window that yamux gives each stream.
const STREAM_WINDOW: usize = 256 * 1024;
/// How much the windows of busy streams may grow, all together.
const GROWTH: usize = 64 * 1024 * 1024;

type Opened = oneshot::Sender<io::Result<Stream>>;

/// A multiplexed session. A clone is the same session. It ends with its socket or when it is cut.
#[derive(Clone)]
pub(crate) struct Mux {
    open: mpsc::UnboundedSender<Opened>,
    closed: CancellationToken,
}

impl Mux {
    /// Runs a session on `io` until it ends or `cut` is cancelled.
    ///
    /// `inbound` gets each stream that the peer opens. It returns before anything is read that the peer
    /// sent later, so data on another stream cannot overtake the opening.
    pub(crate) fn start(
        io: BoxIo,
        mode: Mode,
        cut: CancellationToken,
        inbound: impl FnMut(BoxIo) + Send + 'static,
    ) -> Self {
        let mut config = Config::default();
        // The crate doubles the window of a busy stream, without a limit unless there is one for all. The
        // order matters: it checks that every stream can have its share.
        config
            .set_max_num_streams(MAX_STREAMS.min(512))
            .set_max_connection_receive_window(Some(MAX_STREAMS * STREAM_WINDOW + GROWTH))
            .set_max_num_streams(MAX_STREAMS);
        let connection = Connection::new(io.compat(), config, mode);
        let (open, requests) = mpsc::unbounded_channel();
        let closed = CancellationToken::new();
        let mut driver = Driver { connection, requests, waiting: None, inbound };
        let done = closed.clone().drop_guard();
        tokio::spawn(async move {
            let _done = done;
            tokio::select! {
                () = poll_fn(|cx| driver.poll(cx)) => {}
                () = cut.cancelled() => {}
            }
        });
        Self { open, closed }
    }

    /// Opens a stream and tells the peer at once. The caller sets the deadline.
    pub(crate) async fn open(&self) -> io::Result<BoxIo> {
        let (opened, stream) = oneshot::channel();
        let ended = || {
            io::Error::new(io::ErrorKind::ConnectionAborted, "the multiplexed session has ended")
        };
        self.open.send(opened).map_err(|_| ended())?;
        let mut stream = stream.await.map_err(|_| ended())??;
        // An empty write is a frame of its own, which `write_all` would leave out.
        poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, &[])).await?;
        stream.flush().await?;
        Ok(Box::new(stream.compat()))
    }

    /// Resolves when the session has ended.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

/// Owns the session: the crate needs a single task that polls it for everything.
struct Driver<I, T> {
    connection: Connection<T>,
    requests: mpsc::UnboundedReceiver<Opened>,
    waiting: Option<Opened>,
    inbound: I,
}

impl<I, T> Driver<I, T>
where
    I: FnMut(BoxIo),
    T: futures_util::AsyncRead + AsyncWrite + Unpin,
{
    /// Is ready when the session has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.poll_open(cx) {
                continue;
            }
            match self.connection.poll_next_inbound(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(mut stream))) => {
                    // A fresh stream always takes one frame, so this cannot be pending.
                    let _ = Pin::new(&mut stream).poll_write(cx, &[]);
                    (self.inbound)(Box::new(stream.compat()));
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "multiplexed session ended");
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
            }
        }
    }

    /// Opens one requested stream. Returns whether that made progress.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> bool {
        if self.waiting.is_none() {
            let Poll::Ready(Some(request)) = self.requests.poll_recv(cx) else { return false };
            self.waiting = Some(request);
        }
        // The request was given up: no stream may be opened, or the peer would pair it.
        if self.waiting.as_ref().is_some_and(oneshot::Sender::is_closed) {
            self.waiting = None;
            return true;
        }
        let Poll::Ready(stream) = self.connection.poll_new_outbound(cx) else { return false };
        if let Some(opened) = self.waiting.take() {
            let _ = opened.send(stream.map_err(io::Error::other));
        }
        true
    }
}
