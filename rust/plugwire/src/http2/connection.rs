//! The connection that a channel's calls use, and its replacement where the other side closes it.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use parking_lot::{Mutex, RwLock};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::config::{KeepAlive, PeerLimits};
use super::inbound::{Inbound, PeerLimit};
use super::keep_alive::silence;
use super::memory::Ledger;
use super::peer::Peer;
use super::status;
use crate::net::{BoxIo, Tls};

/// How long the other side may take to answer on a new connection. The deadlines of the calls that wait
/// for it apply as well.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long no new connection is tried after one that failed. Calls fail at once in the meantime.
const PAUSE: Duration = Duration::from_secs(1);
/// The first pause before a new connection if the previous one ended soon. It doubles up to [`PAUSE`]: a
/// peer that ends each connection at once does not have this side dial at its speed.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// A connection that lasted longer did not end soon.
const SOON: Duration = Duration::from_secs(1);

/// A step of connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectStep {
    /// Connecting to the socket.
    Dial,
    /// The first answer in HTTP/2. A peer that rejects this side's certificate fails this step, because
    /// a TLS 1.3 client finishes before the server has looked at its certificate.
    Http2,
    /// The TLS handshake.
    Tls,
}

/// Connects to the same process again.
pub(crate) trait Redial: Send + Sync {
    /// Opens another byte stream to the process. The implementation sets its own time limit.
    fn redial(&self) -> BoxFuture<'static, io::Result<BoxIo>>;
}

/// How connections are made, and when they are closed.
pub(crate) struct Settings {
    pub(crate) tls: Option<Tls>,
    pub(crate) limits: PeerLimits,
    /// Cancel it to close all connections: calls in progress fail, and no further connection is made.
    pub(crate) cut: CancellationToken,
}

/// One connection, for the calls that are made on it.
#[derive(Clone)]
pub(super) struct Requests {
    pub(super) send: SendRequest<Bytes>,
    pub(super) ledger: Ledger,
    pub(super) peer_limit: PeerLimit,
}

/// An HTTP/2 connection, replaced by a new one to the same process when the other side closes it.
pub(super) struct Connection {
    settings: Settings,
    /// Once this process is gone, a redial would reach another one.
    peer: Option<Arc<dyn Peer>>,
    redial: Option<Arc<dyn Redial>>,
    current: RwLock<Requests>,
    next: Mutex<Next>,
}

#[derive(Default)]
struct Next {
    /// The attempt under way. All calls that find the connection closed wait for this one. It is a task
    /// of its own, so dropping a call does not cancel it.
    connecting: Option<Connecting>,
    /// When the last attempt failed.
    failed: Option<Instant>,
    /// When the last attempt succeeded.
    connected: Option<Instant>,
    /// How many connections in a row have ended soon, the first of all not counted.
    ended_soon: u32,
    /// How many connections have followed the first.
    reconnections: u64,
}

impl Next {
    /// Returns how long to wait before the next attempt, now that the connection has ended.
    fn pause(&mut self) -> Duration {
        match self.connected {
            Some(connected) if connected.elapsed() < SOON => self.ended_soon += 1,
            _ => self.ended_soon = 0,
        }
        match self.ended_soon.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => PAUSE.min(FIRST_PAUSE * 2_u32.pow(doublings.min(10))),
        }
    }
}

type Connecting = Shared<BoxFuture<'static, Option<Requests>>>;

impl Connection {
    /// Connects over `io`. Returns once the other side has answered in HTTP/2. The caller sets the
    /// deadline.
    pub(super) async fn establish(
        io: BoxIo,
        settings: Settings,
        peer: Option<Arc<dyn Peer>>,
        redial: Option<Arc<dyn Redial>>,
    ) -> Result<Arc<Self>, (ConnectStep, io::Error)> {
        let current = RwLock::new(connect(io, &settings).await?);
        Ok(Arc::new(Self { settings, peer, redial, current, next: Mutex::default() }))
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns a handle for one call, or why the connection accepts no more calls if it can be replaced.
    /// Each call needs a clone of its own: a handle whose call still waits for a stream refuses the next.
    pub(super) fn current(&self) -> Result<Requests, h2::Error> {
        let mut requests = self.current.read().clone();
        if self.redial.is_some() {
            // On a clone that has sent nothing, this only asks whether the connection accepts calls.
            match requests.send.poll_ready(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Err(ended)) => return Err(ended),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        Ok(requests)
    }

    /// Returns a handle for one call, after reconnecting if the connection was closed. `None` means that
    /// no connection can be had: the process is gone, this side closed the connection, or the process
    /// cannot be reached now or could not a moment ago.
    ///
    /// Cancel safe: the attempt to reconnect continues.
    pub(super) async fn reconnect(self: &Arc<Self>) -> Option<Requests> {
        let redial = self.redial.as_ref()?;
        let connecting = {
            let mut next = self.next.lock();
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
        let pause = next.pause();
        let task = tokio::spawn(self.clone().replace(redial.clone(), pause));
        let connecting = task.map(|connected| connected.ok().flatten()).boxed().shared();
        next.connecting = Some(connecting.clone());
        Some(connecting)
    }

    async fn replace(
        self: Arc<Self>,
        redial: Arc<dyn Redial>,
        pause: Duration,
    ) -> Option<Requests> {
        let gone = self.peer.as_ref().map_or_else(|| pending().boxed(), |peer| peer.gone());
        let connected = tokio::select! {
            biased;
            () = self.settings.cut.cancelled() => None,
            () = gone => None,
            connected = async {
                sleep(pause).await;
                self.redial(redial).await
            } => connected,
        };
        let mut next = self.next.lock();
        next.connecting = None;
        next.failed = connected.is_none().then(Instant::now);
        if let Some(requests) = &connected {
            next.reconnections += 1;
            next.connected = Some(Instant::now());
            *self.current.write() = requests.clone();
        }
        connected
    }

    async fn redial(&self, redial: Arc<dyn Redial>) -> Option<Requests> {
        let connecting = async {
            let io = redial.redial().await.map_err(|error| (ConnectStep::Dial, error))?;
            let late = |_| (ConnectStep::Http2, io::ErrorKind::TimedOut.into());
            timeout(ANSWER_TIMEOUT, connect(io, &self.settings)).await.map_err(late)?
        };
        match connecting.await {
            Ok(requests) => {
                tracing::debug!("connected again");
                Some(requests)
            }
            Err((step, error)) => {
                tracing::debug!(?step, %error, "cannot connect again");
                None
            }
        }
    }

    /// Returns how many connections have followed the first one.
    #[cfg(any(test, feature = "host"))]
    pub(super) fn reconnections(&self) -> u64 {
        self.next.lock().reconnections
    }
}

/// Establishes one connection over a byte stream, and drives it until it ends or is cut.
async fn connect(io: BoxIo, settings: &Settings) -> Result<Requests, (ConnectStep, io::Error)> {
    let io = match &settings.tls {
        Some(tls) => tls.connect(io).await.map_err(|error| (ConnectStep::Tls, error))?,
        None => io,
    };
    connect_http2(io, settings).await.map_err(|error| (ConnectStep::Http2, error))
}

async fn connect_http2(io: BoxIo, settings: &Settings) -> io::Result<Requests> {
    let PeerLimits { http2, memory, .. } = &settings.limits;
    let ledger = Ledger::new(memory.clone());
    let io = Inbound::calling(io, http2, ledger.clone());
    let peer_limit = io.peer_limit();
    let (send, mut connection) = http2.client().handshake(io).await.map_err(into_io)?;
    let mut pings = connection.ping_pong().expect("taken once");
    let mut driver = Box::pin(connection);
    // An answer to a ping proves that the other side speaks HTTP/2. Behind TLS 1.3 it also proves that it
    // accepted our certificate, which it may reject only after our handshake is done.
    tokio::select! {
        ended = &mut driver => return Err(ended.err().map_or_else(closed_early, into_io)),
        pong = pings.ping(Ping::opaque()) => { pong.map_err(into_io)?; }
    }
    tokio::spawn(drive(driver, pings, http2.keep_alive, settings.cut.clone()));
    Ok(Requests { send, ledger, peer_limit })
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
        io::Error::new(io::ErrorKind::InvalidData, status::in_words(&error))
    }
}

/// Drives the connection until it ends. h2 ends it when the last channel and the last call are dropped.
async fn drive(
    mut connection: Pin<Box<h2::client::Connection<Inbound, Bytes>>>,
    pings: PingPong,
    keep_alive: Option<KeepAlive>,
    cut: CancellationToken,
) {
    tokio::select! {
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(error = status::in_words(&error), "HTTP/2 connection ended");
            }
        }
        () = silence(pings, keep_alive) => tracing::debug!("no answer to a keep-alive ping"),
        () = cut.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{Notify, Semaphore};

    use super::*;
    use crate::http2::config::Http2;
    use crate::http2::peer::Cause;

    /// The other side. It answers a new connection once it has a permit to.
    #[derive(Default)]
    struct OtherSide {
        redials: AtomicUsize,
        redialled: Notify,
        ended: Notify,
        gone: CancellationToken,
    }

    struct Permitted(Arc<OtherSide>, Arc<Semaphore>);

    impl Redial for Permitted {
        fn redial(&self) -> BoxFuture<'static, io::Result<BoxIo>> {
            let (other_side, permits) = (self.0.clone(), self.1.clone());
            Box::pin(async move {
                other_side.redials.fetch_add(1, Ordering::Relaxed);
                other_side.redialled.notify_one();
                permits.acquire().await.map_err(io::Error::other)?.forget();
                Ok(other_side.answer())
            })
        }
    }

    impl Peer for OtherSide {
        fn cause_of_end(&self) -> BoxFuture<'static, Option<Cause>> {
            ready(None).boxed()
        }

        fn gone(&self) -> BoxFuture<'static, ()> {
            self.gone.clone().cancelled_owned().boxed()
        }
    }

    impl OtherSide {
        /// Returns a connection, which the other side closes once it is notified of `ended`.
        fn answer(self: &Arc<Self>) -> BoxIo {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let other_side = self.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(theirs).await.expect("HTTP/2");
                tokio::select! {
                    _ = connection.accept() => {}
                    () = other_side.ended.notified() => {}
                }
            });
            Box::new(ours)
        }
    }

    struct Scene {
        connection: Arc<Connection>,
        other_side: Arc<OtherSide>,
        permits: Arc<Semaphore>,
        cut: CancellationToken,
    }

    /// Returns a connection that the other side has closed once.
    async fn ended() -> Scene {
        let (other_side, permits) = (Arc::new(OtherSide::default()), Arc::new(Semaphore::new(0)));
        let cut = CancellationToken::new();
        let settings =
            Settings { tls: None, limits: PeerLimits::new(Http2::default()), cut: cut.clone() };
        let (peer, redial) = (other_side.clone(), Permitted(other_side.clone(), permits.clone()));
        let begun = Connection::establish(
            other_side.answer(),
            settings,
            Some(peer),
            Some(Arc::new(redial)),
        );
        let connection = begun.await.map_err(|(_, error)| error).expect("a connection");
        assert!(connection.current().is_ok());
        other_side.ended.notify_one();
        while connection.current().is_ok() {
            tokio::task::yield_now().await;
        }
        Scene { connection, other_side, permits, cut }
    }

    fn waiting(connection: &Arc<Connection>) -> tokio::task::JoinHandle<bool> {
        let connection = connection.clone();
        tokio::spawn(async move { connection.reconnect().await.is_some() })
    }

    #[tokio::test]
    async fn many_calls_make_one_connection() {
        let Scene { connection, other_side, permits, .. } = ended().await;
        let calls: Vec<_> = (0..50).map(|_| waiting(&connection)).collect();
        other_side.redialled.notified().await;
        permits.add_permits(50);
        for call in calls {
            assert!(call.await.expect("no panic"));
        }
        assert_eq!(
            (other_side.redials.load(Ordering::Relaxed), connection.reconnections()),
            (1, 1)
        );
        assert!(connection.current().is_ok());
    }

    #[tokio::test]
    async fn a_dropped_call_does_not_cancel_the_connection() {
        let Scene { connection, other_side, permits, .. } = ended().await;
        let call = waiting(&connection);
        other_side.redialled.notified().await;
        call.abort();
        assert!(call.await.is_err());
        let other = waiting(&connection);
        permits.add_permits(1);
        assert!(other.await.expect("no panic"));
        assert_eq!(other_side.redials.load(Ordering::Relaxed), 1);
    }

    /// A redial would reach another process.
    #[tokio::test]
    async fn a_process_that_is_gone_is_not_redialled() {
        let Scene { connection, other_side, permits, .. } = ended().await;
        let call = waiting(&connection);
        other_side.redialled.notified().await;
        other_side.gone.cancel();
        assert!(!call.await.expect("no panic"));
        permits.add_permits(10);
        // The pause is over.
        connection.next.lock().failed = None;
        assert!(connection.reconnect().await.is_none());
        assert_eq!(
            (other_side.redials.load(Ordering::Relaxed), connection.reconnections()),
            (1, 0)
        );
    }

    #[tokio::test]
    async fn cutting_the_connection_fails_the_calls_that_wait() {
        let Scene { connection, other_side, cut, .. } = ended().await;
        let call = waiting(&connection);
        other_side.redialled.notified().await;
        cut.cancel();
        assert!(!call.await.expect("no panic"));
        assert!(connection.reconnect().await.is_none());
    }

    /// The pauses are lower bounds, so a busy machine changes nothing.
    #[tokio::test]
    async fn a_peer_that_ends_each_connection_is_dialled_less_and_less_often() {
        let Scene { connection, other_side, permits, .. } = ended().await;
        permits.add_permits(100);
        let began = Instant::now();
        for round in 0..5 {
            assert!(connection.reconnect().await.is_some(), "{round}");
            other_side.ended.notify_one();
            while connection.current().is_ok() {
                tokio::task::yield_now().await;
            }
        }
        // None before the first, then 20, 40, 80 and 160 ms, unless a connection lasted long.
        let next = connection.next.lock();
        assert!(
            next.ended_soon < 4 || began.elapsed() >= 15 * FIRST_PAUSE,
            "{:?}",
            began.elapsed()
        );
    }

    #[test]
    fn pauses_double_up_to_a_second() {
        let mut next = Next::default();
        assert_eq!(next.pause(), Duration::ZERO, "the first connection may end any time");
        next.connected = Some(Instant::now() + SOON * 1000);
        let pauses: Vec<_> = (0..8).map(|_| next.pause().as_millis()).collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        next.connected = Instant::now().checked_sub(SOON);
        assert_eq!(next.pause(), Duration::ZERO, "one that lasted is forgiven");
    }

    /// Calls must not each wait for a process that hangs.
    #[tokio::test]
    async fn after_a_failure_there_is_a_pause() {
        let Scene { connection, other_side, permits, .. } = ended().await;
        permits.close();
        assert!(connection.reconnect().await.is_none());
        // The pause lasts, however long this thread is held up now.
        let long = Instant::now() + 60 * PAUSE;
        assert!(connection.next.lock().failed.replace(long).is_some());
        assert!(connection.reconnect().await.is_none());
        assert_eq!(other_side.redials.load(Ordering::Relaxed), 1);
        // The pause is over.
        connection.next.lock().failed = None;
        assert!(connection.reconnect().await.is_none());
        assert_eq!(other_side.redials.load(Ordering::Relaxed), 2);
    }
}
