//! The serving side of HTTP/2: reads calls from a connection and hands them to services.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode};
use http_body::Body as _;
#[cfg(feature = "plugin")]
use rustix::process::Pid;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tower_service::Service;

use super::body::{Incoming, RequestBody};
use super::calls::Calls;
use super::config::PeerLimits;
use super::guests::Guest;
use super::inbound::{Inbound, PeerLimit, Turn};
use super::keep_alive::silence;
use super::liveness::Liveness;
use super::memory::{Ledger, OpenCall};
use super::presence::Presence;
use super::pump::{Pump, PumpError};
use super::routes::Dispatch;
use super::{deadline, status};
use crate::net::{BoxIo, Tls};
use crate::time;

/// A peer that connects and does not speak HTTP/2 is disconnected after this time.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the connections of one server share.
#[derive(Clone)]
pub(crate) struct Server {
    dispatch: Dispatch,
    limits: PeerLimits,
    /// Cancel it to accept no new calls. Each connection then closes when its calls have finished.
    pub(crate) drain: CancellationToken,
    /// The calls in progress to services other than go-plugin's own.
    pub(crate) calls: Calls,
    pub(crate) presence: Presence,
    /// The process whose connection is served.
    #[cfg(feature = "plugin")]
    peer: Option<Pid>,
}

/// The peer of one connection.
#[derive(Clone)]
struct Peer {
    ledger: Ledger,
    limit: PeerLimit,
    turn: Turn,
}

impl Server {
    pub(crate) fn new(dispatch: Dispatch, limits: PeerLimits) -> Self {
        Self {
            dispatch,
            limits,
            drain: CancellationToken::new(),
            calls: Calls::default(),
            presence: Presence::default(),
            #[cfg(feature = "plugin")]
            peer: None,
        }
    }

    /// Names the process that connected: as long as it runs, it may connect again.
    #[cfg(feature = "plugin")]
    pub(crate) fn for_peer(mut self, peer: Option<Pid>) -> Self {
        self.peer = peer;
        self
    }

    /// Serves one connection until its peer closes it. Dropping the future drops the handlers of the
    /// connection's calls.
    ///
    /// `guest` is its place among the peer's connections, which it may lose before it has made a call.
    pub(crate) async fn serve(self, io: BoxIo, tls: Option<Tls>, guest: Guest) {
        tokio::select! {
            () = guest.closed() => tracing::debug!("a connection without a call gave way to others"),
            () = self.serve_guest(io, tls, &guest) => {}
        }
    }

    async fn serve_guest(self, io: BoxIo, tls: Option<Tls>, guest: &Guest) {
        let begin = async {
            let io = match tls {
                Some(tls) => tls.accept(io).await?,
                None => io,
            };
            let PeerLimits { http2, memory, .. } = &self.limits;
            let ledger = Ledger::new(memory.clone());
            let io = Inbound::serving(io, http2, ledger.clone());
            let (peer_limit, turn) = (io.peer_limit(), io.turn());
            let connection = http2.server().handshake::<_, Bytes>(io).await;
            connection
                .map(|connection| (connection, Peer { ledger, limit: peer_limit, turn }))
                .map_err(|error| std::io::Error::other(status::in_words(&error)))
        };
        match tokio::time::timeout(PREFACE_TIMEOUT, begin).await {
            Ok(Ok((connection, peer))) => self.serve_calls(connection, peer, guest).await,
            Ok(Err(error)) => tracing::warn!(%error, "a peer was refused, or did not start HTTP/2"),
            Err(_) => tracing::debug!("a peer connected and sent nothing"),
        }
    }

    async fn serve_calls(
        self,
        mut connection: h2::server::Connection<Inbound, Bytes>,
        peer: Peer,
        guest: &Guest,
    ) {
        let _present = self.presence.enter();
        #[cfg(feature = "plugin")]
        self.presence.remember(self.peer);
        let pings = connection.ping_pong().expect("taken once");
        let mut silent = std::pin::pin!(silence(pings, self.limits.http2.keep_alive));
        let mut calls = JoinSet::new();
        let (mut draining, mut has_called) = (false, false);
        let liveness = Liveness::default();
        loop {
            tokio::select! {
                call = accept(&mut connection, &peer.turn) => match call {
                    Some(Ok((mut request, respond))) => {
                        if !std::mem::replace(&mut has_called, true) {
                            guest.stays();
                        }
                        request.extensions_mut().insert(liveness.clone());
                        let token = self.calls.track(request.uri().path());
                        let call = serve_call(request, respond, self.dispatch.clone(), peer.clone());
                        calls.spawn(async move { call.await; drop(token) });
                    }
                    Some(Err(error)) => {
                        let error = status::in_words(&error);
                        return tracing::debug!(error, "HTTP/2 connection ended");
                    }
                    None => return,
                },
                // Removes finished calls. Dropping the set ends the handlers of the others.
                Some(_) = calls.join_next() => {}
                () = self.drain.cancelled(), if !draining => {
                    draining = true;
                    connection.graceful_shutdown();
                }
                () = liveness.answer() => {}
                () = &mut silent => return tracing::debug!("no answer to a keep-alive ping"),
            }
        }
    }
}

/// Returns the next call. Cancel safe.
async fn accept(
    connection: &mut h2::server::Connection<Inbound, Bytes>,
    turn: &Turn,
) -> Option<Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>> {
    std::future::poll_fn(|cx| {
        let accepted = connection.poll_accept(cx);
        if accepted.is_pending() {
            turn.renew();
        }
        accepted
    })
    .await
}

/// Serves one call, from its request's headers to its response's trailers.
async fn serve_call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    mut dispatch: Dispatch,
    peer: Peer,
) {
    let open = OpenCall::new(peer.ledger, request.body().stream_id().as_u32());
    let held = open.hold(request.headers());
    if let Some(refusal) = refusal(&request) {
        let _ = respond.send_response(refusal, true);
        return;
    }
    let deadline = deadline::timeout(request.headers()).map(time::after);
    let request =
        request.map(|recv| tonic::body::Body::new(RequestBody(Incoming::new(recv, open))));
    let handler = AssertUnwindSafe(async {
        if let Err(exhausted) = held {
            return Ok(Status::from(exhausted).into_http());
        }
        std::future::poll_fn(|cx| dispatch.poll_ready(cx)).await?;
        dispatch.call(request).await
    })
    .catch_unwind();

    // A call that was cancelled, or whose deadline has passed, drops its handler.
    let response = tokio::select! {
        _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => return,
        () = until(deadline) => status::deadline_exceeded().into_http(),
        response = handler => match response {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(panic) => panicked(&*panic).into_http(),
        },
    };
    let response = match peer.limit.check(response.headers()) {
        Ok(()) => response,
        Err(status) => status.into_http(),
    };
    let (parts, body) = response.into_parts();
    let ends_here = body.is_end_stream();
    // Fails only if the peer has reset the call or the connection is gone.
    let Ok(stream) = respond.send_response(Response::from_parts(parts, ()), ends_here) else {
        return;
    };
    if ends_here {
        return;
    }
    let mut pump = Pump::new(body, stream, peer.limit);
    tokio::select! {
        () = write_body(&mut pump) => {}
        () = until(deadline) => {
            // The rest of the body is dropped: its slow reader may be why the deadline has passed.
            if pump.stream().send_trailers(status::trailers(&status::deadline_exceeded())).is_err() {
                pump.stream().send_reset(Reason::CANCEL);
            }
        }
    }
}

/// Writes a response. A body that fails or panics ends with a status, after what it has produced so far.
async fn write_body(pump: &mut Pump) {
    let status = match AssertUnwindSafe(&mut *pump).catch_unwind().await {
        Ok(Ok(()) | Err(PumpError::Stream)) => return,
        Ok(Err(PumpError::Body(status))) => status,
        Err(panic) => panicked(&*panic),
    };
    pump.end_with(status::trailers(&status));
    if pump.await.is_err() {
        tracing::debug!("the peer disconnected before it read a call's status");
    }
}

/// Returns the answer to a request that is not a gRPC call. grpc-go answers the same.
fn refusal(request: &Request<RecvStream>) -> Option<Response<()>> {
    let is_grpc = |content: &http::HeaderValue| {
        let rest = content.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    };
    let status = if request.method() != http::Method::POST {
        StatusCode::METHOD_NOT_ALLOWED
    } else if !request.headers().get(http::header::CONTENT_TYPE).is_some_and(is_grpc) {
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    } else {
        return None;
    };
    let mut response = Response::new(());
    *response.status_mut() = status;
    Some(response)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Returns the status of a call whose handler panicked. The panic fails this call only; the panic hook
/// has already printed it to standard error.
fn panicked(panic: &(dyn Any + Send)) -> Status {
    let message = crate::panic::message(panic);
    tracing::error!(panic = message, "a handler panicked");
    Status::internal(format!("the handler panicked: {message}"))
}
