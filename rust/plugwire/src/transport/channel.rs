//! The calling side of one HTTP/2 connection: what generated clients are built on.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body::Body as _;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::body::{AbortOnDrop, Pump, ResponseBody};
use super::calls::{CallToken, Calls};
use super::limits::{Http2, KeepAlive};
use super::{BoxIo, Tls, clock, status};

/// Says what became of the other side, for the error of a call whose connection broke.
pub(crate) trait Autopsy: Send + Sync {
    /// Resolves soon, to `None` where the process at the other end lives on or is not known.
    fn autopsy(&self) -> BoxFuture<'static, Option<Arc<dyn Error + Send + Sync>>>;
}

pub(crate) type Peer = Option<Arc<dyn Autopsy>>;

/// Waits in vain once, and then no more: a connection can break while the process at its other end lives on, and calls on
/// it must not wait each time.
struct AskOnce {
    peer: Arc<dyn Autopsy>,
    in_vain: Arc<AtomicBool>,
}

impl Autopsy for AskOnce {
    fn autopsy(&self) -> BoxFuture<'static, Option<Arc<dyn Error + Send + Sync>>> {
        if self.in_vain.load(Ordering::Relaxed) {
            let known_by_now = self.peer.autopsy().now_or_never().flatten();
            return Box::pin(std::future::ready(known_by_now));
        }
        let (asked, in_vain) = (self.peer.autopsy(), self.in_vain.clone());
        Box::pin(async move {
            let cause = asked.await;
            in_vain.store(cause.is_none(), Ordering::Relaxed);
            cause
        })
    }
}

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

/// A connection to the other side's services, for tonic's generated clients: `GreeterClient::new(plugin.channel())`.
///
/// A clone is cheap and shares the connection. The channel belongs to one life of one process and never reconnects:
/// once that process is gone, every call fails at once with a [`Status`] whose source says what happened to it.
/// The connection closes with the handle that it came from.
///
/// Cancel safety: dropping a call's future, or its response stream, cancels the call at the other side.
///
/// Calls run on tonic's own stubs, which refuse messages over 4 MiB unless told otherwise with their
/// `max_decoding_message_size`; stubs made by `plugwire-build` have no limit.
#[derive(Clone)]
pub struct Channel {
    requests: SendRequest<Bytes>,
    scheme: Scheme,
    authority: Authority,
    peer: Peer,
    calls: Calls,
}

impl Channel {
    /// Makes a connection of a byte stream: TLS if there is any, then HTTP/2. Returns when the other side has answered in
    /// it. The caller sets the deadline.
    ///
    /// Cancelling `cut` cuts the connection; calls under way then fail.
    pub(crate) async fn establish(
        io: BoxIo,
        tls: Option<&Tls>,
        http2: &Http2,
        peer: Peer,
        cut: CancellationToken,
    ) -> Result<Self, (ConnectStep, io::Error)> {
        let io = match tls {
            Some(tls) => tls.connect(io).await.map_err(|error| (ConnectStep::Tls, error))?,
            None => io,
        };
        let authority = tls.and_then(Tls::authority);
        let connecting = Self::connect(io, authority.as_deref(), http2, peer, cut);
        connecting.await.map_err(|error| (ConnectStep::Http2, error))
    }

    async fn connect(
        io: BoxIo,
        authority: Option<&str>,
        http2: &Http2,
        peer: Peer,
        cut: CancellationToken,
    ) -> io::Result<Self> {
        let (requests, mut connection) = http2.client().handshake(io).await.map_err(into_io)?;
        let mut pings = connection.ping_pong().expect("taken once");
        let channel = Self {
            requests,
            scheme: if authority.is_some() { Scheme::HTTPS } else { Scheme::HTTP },
            // go-plugin's hosts call every plugin "unused" where TLS gives it no name.
            authority: authority
                .and_then(|name| name.parse().ok())
                .unwrap_or_else(|| Authority::from_static("unused")),
            peer: peer.map(|peer| {
                Arc::new(AskOnce { peer, in_vain: Arc::default() }) as Arc<dyn Autopsy>
            }),
            calls: Calls::default(),
        };
        let mut driver = Box::pin(connection);
        // An answer to a ping proves that the other side speaks HTTP/2 and, behind TLS 1.3, that it took our
        // certificate, which it may refuse only after our handshake is done.
        tokio::select! {
            ended = &mut driver => return Err(ended.err().map_or_else(closed_early, into_io)),
            pong = pings.ping(Ping::opaque()) => { pong.map_err(into_io)?; }
        }
        tokio::spawn(drive(driver, pings, http2.keep_alive, cut));
        Ok(channel)
    }

    /// The calls under way on this connection.
    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }
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

impl tower_service::Service<Request<tonic::body::Body>> for Channel {
    type Response = Response<ResponseBody>;
    type Error = Status;
    type Future = CallFuture;

    /// Always ready: calls beyond the peer's limit of concurrent streams wait inside the call.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> CallFuture {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.scheme.clone());
        uri.authority = Some(self.authority.clone());
        uri.path_and_query = Some(path);
        parts.uri = Uri::from_parts(uri).expect("scheme, authority and path make a URI");
        // The peer counts from a later moment than this.
        let deadline =
            clock::timeout(&parts.headers).map(|after| Box::pin(tokio::time::sleep(after)));

        let token = self.calls.track(parts.uri.path());
        let ends_here = body.is_end_stream();
        // A clone of its own: a handle remembers a call that still waits for its turn, and refuses the next.
        let sent = self.requests.clone().send_request(Request::from_parts(parts, ()), ends_here);
        let state = match sent {
            Ok((response, stream)) => CallState::Open {
                response,
                upload: (!ends_here).then(|| Box::new(Pump::new(body, stream))),
            },
            Err(error) => CallState::Failing(status::explain(error, self.peer.clone(), None)),
        };
        CallFuture { state, deadline, peer: self.peer.clone(), token }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// One call, until its response begins. It also writes the request, so that a unary call costs no task of its own.
pub struct CallFuture {
    state: CallState,
    deadline: Option<Pin<Box<Sleep>>>,
    peer: Peer,
    token: Option<CallToken>,
}

enum CallState {
    Open { response: h2::client::ResponseFuture, upload: Option<Box<Pump>> },
    Failing(BoxFuture<'static, Status>),
    Done,
}

impl Future for CallFuture {
    type Output = Result<Response<ResponseBody>, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            this.state = CallState::Done;
            return Poll::Ready(Err(status::deadline_exceeded()));
        }
        loop {
            match &mut this.state {
                CallState::Done => panic!("polled after it completed"),
                CallState::Failing(explanation) => {
                    let status = ready!(explanation.as_mut().poll(cx));
                    this.state = CallState::Done;
                    return Poll::Ready(Err(status));
                }
                CallState::Open { response, upload } => {
                    if let Some(Poll::Ready(ended)) =
                        upload.as_mut().map(|pump| Pin::new(&mut **pump).poll(cx))
                    {
                        let pump = upload.take();
                        if let Err(super::body::PumpError::Body(status)) = ended {
                            // The caller's own stream failed: cancel the call, and say why.
                            if let Some(mut pump) = pump {
                                pump.stream().send_reset(h2::Reason::CANCEL);
                            }
                            this.state = CallState::Done;
                            return Poll::Ready(Err(status));
                        }
                    }
                    match Pin::new(response).poll(cx) {
                        Poll::Ready(Ok(response)) => {
                            let upload = upload.take().map(|pump| {
                                AbortOnDrop(
                                    tokio::spawn(async move { drop(pump.await) }).abort_handle(),
                                )
                            });
                            return Poll::Ready(Ok(this.begin(response, upload)));
                        }
                        Poll::Ready(Err(error)) => {
                            let deadline = this.deadline.as_ref().map(|sleep| sleep.deadline());
                            let explained = status::explain(error, this.peer.take(), deadline);
                            this.state = CallState::Failing(explained);
                        }
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
    }
}

impl CallFuture {
    fn begin(
        &mut self,
        response: Response<h2::RecvStream>,
        upload: Option<AbortOnDrop>,
    ) -> Response<ResponseBody> {
        self.state = CallState::Done;
        let (mut parts, recv) = response.into_parts();
        status::defuse(&mut parts.headers);
        let (deadline, peer, token) = (self.deadline.take(), self.peer.take(), self.token.take());
        let body = ResponseBody::new(recv, upload, deadline, peer, token);
        Response::from_parts(parts, body)
    }
}

impl fmt::Debug for CallFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture").finish_non_exhaustive()
    }
}
