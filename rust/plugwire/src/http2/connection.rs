//! What a channel's calls go over: one connection, and where the other side can be reached again, the next one.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::channel::Peer;
use super::config::{Http2, KeepAlive};
use crate::net::{BoxIo, Tls};

/// How long the other side may take to answer on a connection that is made again; the deadlines of the calls that wait for it
/// hold beside.
const ANSWERS: Duration = Duration::from_secs(5);
/// How long no other connection is tried after one that could not be made; calls fail at once meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

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
    /// Reaches it once more, within a limit of its own.
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
    /// Once it is gone, whoever can be reached is somebody else.
    peer: Peer,
    redial: Option<Arc<dyn Redial>>,
    current: RwLock<SendRequest<Bytes>>,
    next: Mutex<Next>,
}

#[derive(Default)]
struct Next {
    /// All calls that find the connection ended wait for the same one. It belongs to none of them: a call that is given up
    /// must not take it along.
    connecting: Option<Connecting>,
    failed: Option<Instant>,
    made: u64,
}

type Connecting = Shared<BoxFuture<'static, Option<SendRequest<Bytes>>>>;

impl Line {
    /// Returns when the other side has answered in HTTP/2. The caller sets the deadline.
    pub(super) async fn begin(
        io: BoxIo,
        settings: Settings,
        peer: Peer,
        redial: Option<Arc<dyn Redial>>,
    ) -> Result<Arc<Self>, (ConnectStep, io::Error)> {
        let current = RwLock::new(begin(io, &settings).await?);
        Ok(Arc::new(Self { settings, peer, redial, current, next: Mutex::default() }))
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The connection, unless it takes no more calls and there may be another. A clone of its own: a handle remembers a
    /// call that still waits for its turn, and refuses the next.
    pub(super) fn current(&self) -> Result<SendRequest<Bytes>, h2::Error> {
        let mut requests = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        if self.redial.is_some() {
            // Of a clone that has sent nothing this only asks whether the connection takes calls.
            match requests.poll_ready(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Err(ended)) => return Err(ended),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        Ok(requests)
    }

    /// The connection, or the next one if it has ended. None where there is none: the process is gone, the line was cut, or
    /// it cannot be reached, or could not a moment ago. Cancel safe: the next one is made all the same.
    pub(super) async fn again(self: &Arc<Self>) -> Option<SendRequest<Bytes>> {
        let redial = self.redial.as_ref()?;
        let connecting = {
            let mut next = self.next();
            if let Ok(requests) = self.current() {
                return Some(requests);
            }
            self.connecting(&mut next, redial)?
        };
        connecting.await
    }

    fn connecting(
        self: &Arc<Self>,
        next: &mut Next,
        redial: &Arc<dyn Redial>,
    ) -> Option<Connecting> {
        if let Some(connecting) = &next.connecting {
            return Some(connecting.clone());
        }
        if next.failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
            return None;
        }
        let task = tokio::spawn(self.clone().connect(redial.clone()));
        let connecting = task.map(|made| made.ok().flatten()).boxed().shared();
        next.connecting = Some(connecting.clone());
        Some(connecting)
    }

    async fn connect(self: Arc<Self>, redial: Arc<dyn Redial>) -> Option<SendRequest<Bytes>> {
        let gone = self.peer.as_ref().map_or_else(|| pending().boxed(), |peer| peer.gone());
        let made = tokio::select! {
            biased;
            () = self.settings.cut.cancelled() => None,
            () = gone => None,
            made = self.dial(redial) => made,
        };
        let mut next = self.next();
        next.connecting = None;
        next.failed = made.is_none().then(Instant::now);
        if let Some(requests) = &made {
            next.made += 1;
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = requests.clone();
        }
        made
    }

    async fn dial(&self, redial: Arc<dyn Redial>) -> Option<SendRequest<Bytes>> {
        let connecting = async {
            let io = redial.redial().await.map_err(|error| (ConnectStep::Dial, error))?;
            let late = |_| (ConnectStep::Http2, io::ErrorKind::TimedOut.into());
            timeout(ANSWERS, begin(io, &self.settings)).await.map_err(late)?
        };
        match connecting.await {
            Ok(requests) => {
                tracing::debug!("connected again");
                Some(requests)
            }
            Err((step, error)) => {
                tracing::debug!(?step, %error, "the other side cannot be reached again");
                None
            }
        }
    }

    /// How many connections were made after the first.
    pub(super) fn made(&self) -> u64 {
        self.next().made
    }

    fn next(&self) -> MutexGuard<'_, Next> {
        // Nothing in here can panic half-way through a change.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{Notify, Semaphore};

    use super::super::channel::Autopsy;
    use super::*;

    /// The other side. A connection that is made again waits for leave to be answered.
    #[derive(Default)]
    struct Peers {
        begun: AtomicUsize,
        began: Notify,
        ended: Notify,
        gone: CancellationToken,
    }

    struct Other(Arc<Peers>, Arc<Semaphore>);

    impl Redial for Other {
        fn redial(&self) -> BoxFuture<'static, io::Result<BoxIo>> {
            let (peers, leave) = (self.0.clone(), self.1.clone());
            Box::pin(async move {
                peers.begun.fetch_add(1, Ordering::Relaxed);
                peers.began.notify_one();
                leave.acquire().await.map_err(io::Error::other)?.forget();
                Ok(peers.answer())
            })
        }
    }

    impl Autopsy for Peers {
        fn autopsy(&self) -> BoxFuture<'static, Option<Arc<dyn std::error::Error + Send + Sync>>> {
            ready(None).boxed()
        }

        fn gone(&self) -> BoxFuture<'static, ()> {
            self.gone.clone().cancelled_owned().boxed()
        }
    }

    impl Peers {
        /// A connection, which the other side ends when it is told to.
        fn answer(self: &Arc<Self>) -> BoxIo {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let peers = self.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(theirs).await.expect("HTTP/2");
                tokio::select! {
                    _ = connection.accept() => {}
                    () = peers.ended.notified() => {}
                }
            });
            Box::new(ours)
        }
    }

    struct Scene {
        line: Arc<Line>,
        peers: Arc<Peers>,
        leave: Arc<Semaphore>,
        cut: CancellationToken,
    }

    /// A line whose first connection has ended.
    async fn ended() -> Scene {
        let (peers, leave) = (Arc::new(Peers::default()), Arc::new(Semaphore::new(0)));
        let cut = CancellationToken::new();
        let settings = Settings { tls: None, http2: Http2::default(), cut: cut.clone() };
        let (peer, redial) = (peers.clone(), Other(peers.clone(), leave.clone()));
        let begun = Line::begin(peers.answer(), settings, Some(peer), Some(Arc::new(redial)));
        let line = begun.await.map_err(|(_, error)| error).expect("a connection");
        assert!(line.current().is_ok());
        peers.ended.notify_one();
        while line.current().is_ok() {
            tokio::task::yield_now().await;
        }
        Scene { line, peers, leave, cut }
    }

    fn waiting(line: &Arc<Line>) -> tokio::task::JoinHandle<bool> {
        let line = line.clone();
        tokio::spawn(async move { line.again().await.is_some() })
    }

    #[tokio::test]
    async fn many_calls_make_one_connection() {
        let Scene { line, peers, leave, .. } = ended().await;
        let calls: Vec<_> = (0..50).map(|_| waiting(&line)).collect();
        peers.began.notified().await;
        leave.add_permits(50);
        for call in calls {
            assert!(call.await.expect("no panic"));
        }
        assert_eq!((peers.begun.load(Ordering::Relaxed), line.made()), (1, 1));
        assert!(line.current().is_ok());
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_does_not_take_the_connection_along() {
        let Scene { line, peers, leave, .. } = ended().await;
        let call = waiting(&line);
        peers.began.notified().await;
        call.abort();
        assert!(call.await.is_err());
        let other = waiting(&line);
        leave.add_permits(1);
        assert!(other.await.expect("no panic"));
        assert_eq!(peers.begun.load(Ordering::Relaxed), 1);
    }

    /// Whoever could be reached then is somebody else.
    #[tokio::test]
    async fn one_who_is_gone_is_not_reached() {
        let Scene { line, peers, leave, .. } = ended().await;
        let call = waiting(&line);
        peers.began.notified().await;
        peers.gone.cancel();
        assert!(!call.await.expect("no panic"));
        leave.add_permits(10);
        // The pause is over.
        line.next().failed = None;
        assert!(line.again().await.is_none());
        assert_eq!((peers.begun.load(Ordering::Relaxed), line.made()), (1, 0));
    }

    #[tokio::test]
    async fn a_line_that_is_cut_ends_whoever_waits() {
        let Scene { line, peers, cut, .. } = ended().await;
        let call = waiting(&line);
        peers.began.notified().await;
        cut.cancel();
        assert!(!call.await.expect("no panic"));
        assert!(line.again().await.is_none());
    }

    /// A call must not wait each time for one that hangs.
    #[tokio::test]
    async fn after_a_failure_there_is_a_pause() {
        let Scene { line, peers, leave, .. } = ended().await;
        leave.close();
        assert!(line.again().await.is_none());
        // However long this thread is held up now.
        let long = Instant::now() + 60 * PAUSE;
        assert!(line.next().failed.replace(long).is_some());
        assert!(line.again().await.is_none());
        assert_eq!(peers.begun.load(Ordering::Relaxed), 1);
        // The pause is over.
        line.next().failed = None;
        assert!(line.again().await.is_none());
        assert_eq!(peers.begun.load(Ordering::Relaxed), 2);
    }
}
