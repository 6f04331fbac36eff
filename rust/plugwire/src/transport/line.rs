//! What a channel's calls go over: one connection, and where the other side can be reached again, the next one.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use tokio_util::sync::CancellationToken;

use super::limits::{Http2, KeepAlive};
use super::{BoxIo, Tls};

/// How long a connection may take to be made again; the deadlines of the calls that wait for it hold beside.
const AGAIN: Duration = Duration::from_secs(5);

/// A step of connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectStep {
    /// Reaching the socket.
    Dial,
    /// HTTP/2's first answer. A peer that refuses this side's certificate fails here, since TLS 1.3 lets a client finish
    /// before the server has looked at its certificate.
    Http2,
    /// The TLS handshake.
    Tls,
}

/// A way to the same process.
pub(crate) trait Redial: Send + Sync {
    /// Reaches it once more. The caller sets the deadline.
    fn redial(&self) -> BoxFuture<'static, io::Result<BoxIo>>;
}

/// How connections are made, and when they are cut.
pub(crate) struct Settings {
    pub(crate) tls: Option<Tls>,
    pub(crate) http2: Http2,
    /// Cancelled, it cuts them all; calls under way then fail, and no other connection is made.
    pub(crate) cut: CancellationToken,
}

/// A connection, or a succession of them.
pub(super) struct Line {
    settings: Settings,
    current: RwLock<SendRequest<Bytes>>,
    again: Option<Again>,
}

struct Again {
    redial: Arc<dyn Redial>,
    /// Of all calls that find the connection ended, one makes the next.
    turn: tokio::sync::Mutex<()>,
}

impl Line {
    /// Returns when the other side has answered in HTTP/2. The caller sets the deadline.
    pub(super) async fn begin(
        io: BoxIo,
        settings: Settings,
        redial: Option<Arc<dyn Redial>>,
    ) -> Result<Arc<Self>, (ConnectStep, io::Error)> {
        let current = begin(io, &settings).await?;
        let again = redial.map(|redial| Again { redial, turn: tokio::sync::Mutex::default() });
        Ok(Arc::new(Self { settings, current: RwLock::new(current), again }))
    }

    /// The connection, unless it takes no more calls and there may be another. A clone of its own: a handle remembers a
    /// call that still waits for its turn, and refuses the next.
    pub(super) fn current(&self) -> Result<SendRequest<Bytes>, h2::Error> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let mut requests = current.clone();
        drop(current);
        if self.again.is_some() {
            // Of a clone that has sent nothing this only asks whether the connection takes calls.
            match requests.poll_ready(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Err(ended)) => return Err(ended),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        Ok(requests)
    }

    /// Makes another connection, if nobody has by now. None where that cannot be.
    pub(super) async fn again(&self) -> Option<SendRequest<Bytes>> {
        let again = self.again.as_ref()?;
        tokio::select! {
            biased;
            () = self.settings.cut.cancelled() => None,
            made = tokio::time::timeout(AGAIN, self.next(again)) => made.ok()?,
        }
    }

    async fn next(&self, again: &Again) -> Option<SendRequest<Bytes>> {
        let _turn = again.turn.lock().await;
        if let Ok(requests) = self.current() {
            return Some(requests);
        }
        let connecting = async {
            let io = again.redial.redial().await.map_err(|error| (ConnectStep::Dial, error))?;
            begin(io, &self.settings).await
        };
        match connecting.await {
            Ok(requests) => {
                tracing::debug!("connected again");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = requests.clone();
                Some(requests)
            }
            Err((step, error)) => {
                tracing::debug!(?step, %error, "the other side cannot be reached again");
                None
            }
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// Makes one connection of a byte stream, and keeps it going until it ends or is cut.
async fn begin(
    io: BoxIo,
    settings: &Settings,
) -> Result<SendRequest<Bytes>, (ConnectStep, io::Error)> {
    let io = match &settings.tls {
        Some(tls) => tls.connect(io).await.map_err(|error| (ConnectStep::Tls, error))?,
        None => io,
    };
    let begun = begin_http2(io, settings).await;
    begun.map_err(|error| (ConnectStep::Http2, error))
}

async fn begin_http2(io: BoxIo, settings: &Settings) -> io::Result<SendRequest<Bytes>> {
    let http2 = &settings.http2;
    let (requests, mut connection) = http2.client().handshake(io).await.map_err(into_io)?;
    let mut pings = connection.ping_pong().expect("taken once");
    let mut driver = Box::pin(connection);
    // An answer to a ping proves that the other side speaks HTTP/2 and, behind TLS 1.3, that it took our
    // certificate, which it may refuse only after our handshake is done.
    tokio::select! {
        ended = &mut driver => return Err(ended.err().map_or_else(closed_early, into_io)),
        pong = pings.ping(Ping::opaque()) => { pong.map_err(into_io)?; }
    }
    tokio::spawn(drive(driver, pings, http2.keep_alive, settings.cut.clone()));
    Ok(requests)
}

fn closed_early() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the connection was closed before HTTP/2 began",
    )
}

fn into_io(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().expect("just asked")
    } else {
        io::Error::new(io::ErrorKind::InvalidData, format!("HTTP/2: {error}"))
    }
}

/// Runs the connection until it ends. `h2` ends it by itself when the last channel and the last call are gone.
async fn drive(
    mut connection: Pin<Box<h2::client::Connection<BoxIo, Bytes>>>,
    pings: PingPong,
    keep_alive: Option<KeepAlive>,
    cut: CancellationToken,
) {
    tokio::select! {
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "HTTP/2 connection ended");
            }
        }
        () = silence(pings, keep_alive) => tracing::debug!("no answer to a keep-alive ping"),
        () = cut.cancelled() => {}
    }
}

/// Completes when the peer has been silent for too long; never without keep-alive.
pub(super) async fn silence(mut pings: PingPong, keep_alive: Option<KeepAlive>) {
    let Some(KeepAlive { interval, timeout }) = keep_alive else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(interval).await;
        match tokio::time::timeout(timeout, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection's own end is its driver's to report.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}
