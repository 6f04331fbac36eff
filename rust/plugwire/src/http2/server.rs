//! The serving side of HTTP/2: takes calls off a connection and gives them to services.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tower::util::BoxCloneSyncService;
use tower_service::Service;

use super::body::{Pump, PumpError, RequestBody};
use super::calls::Calls;
use super::config::Http2;
use super::connection::silence;
use super::presence::Peers;
use super::liveness::Pulse;
use super::{deadline, status};
use crate::net::{BoxIo, Tls};

/// All that a connection's calls can reach, as one service.
pub(crate) type Dispatch =
    BoxCloneSyncService<Request<tonic::body::Body>, Response<tonic::body::Body>, Infallible>;

/// Connections that one server takes at a time: each carries as many calls as are wanted, so more is a peer gone wrong.
/// Those beyond wait, or are closed.
pub(crate) const MOST_CONNECTIONS: usize = 1024;
/// A peer that connects and never speaks HTTP/2 is let go after this time.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

/// What every connection of one server shares.
#[derive(Clone)]
pub(crate) struct Server {
    dispatch: Dispatch,
    http2: Http2,
    /// Cancel it to take no new calls; connections then end with their calls.
    pub(crate) drain: CancellationToken,
    /// The calls to the author's services that are under way.
    pub(crate) calls: Calls,
    pub(crate) peers: Peers,
}

impl Server {
    pub(crate) fn new(dispatch: Dispatch, http2: Http2) -> Self {
        Self {
            dispatch,
            http2,
            drain: CancellationToken::new(),
            calls: Calls::default(),
            peers: Peers::default(),
        }
    }

    /// Serves one connection until its peer closes it. Dropping the future drops the handlers of its calls.
    pub(crate) async fn serve(self, io: BoxIo, tls: Option<Tls>) {
        let begin = async {
            let io = match tls {
                Some(tls) => tls.accept(io).await?,
                None => io,
            };
            let handshake = self.http2.server().handshake::<_, Bytes>(io);
            handshake.await.map_err(std::io::Error::other)
        };
        match tokio::time::timeout(PREFACE_TIMEOUT, begin).await {
            Ok(Ok(connection)) => self.serve_calls(connection).await,
            Ok(Err(error)) => tracing::warn!(%error, "a peer was refused, or did not begin HTTP/2"),
            Err(_) => tracing::debug!("a peer connected and said nothing"),
        }
    }

    async fn serve_calls(self, mut connection: h2::server::Connection<BoxIo, Bytes>) {
        let _present = self.peers.enter();
        let pings = connection.ping_pong().expect("taken once");
        let mut silent = std::pin::pin!(silence(pings, self.http2.keep_alive));
        let mut calls = JoinSet::new();
        let mut draining = false;
        let pulse = Pulse::default();
        loop {
            tokio::select! {
                call = connection.accept() => match call {
                    Some(Ok((mut request, respond))) => {
                        request.extensions_mut().insert(pulse.clone());
                        let token = self.calls.track(request.uri().path());
                        let call = serve_call(request, respond, self.dispatch.clone());
                        calls.spawn(async move { call.await; drop(token) });
                    }
                    Some(Err(error)) => return tracing::debug!(%error, "HTTP/2 connection ended"),
                    None => return,
                },
                // Finished calls are only cleared away. The set is what ends handlers with their connection.
                Some(_) = calls.join_next() => {}
                () = self.drain.cancelled(), if !draining => {
                    draining = true;
                    connection.graceful_shutdown();
                }
                () = pulse.answer() => {}
                () = &mut silent => return tracing::debug!("no answer to a keep-alive ping"),
            }
        }
    }
}

/// One call, from its request's headers to its response's trailers.
async fn serve_call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    mut dispatch: Dispatch,
) {
    if let Some(refusal) = refusal(&request) {
        let _ = respond.send_response(refusal, true);
        return;
    }
    let deadline = deadline::timeout(request.headers()).map(|after| Instant::now() + after);
    let request = request.map(|recv| tonic::body::Body::new(RequestBody(recv)));
    let handler = AssertUnwindSafe(async {
        std::future::poll_fn(|cx| dispatch.poll_ready(cx)).await?;
        dispatch.call(request).await
    })
    .catch_unwind();

    // A call that its caller gave up, or whose time is over, drops the handler where it stands.
    let response = tokio::select! {
        _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => return,
        () = until(deadline) => status::deadline_exceeded().into_http(),
        response = handler => match response {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(panic) => panicked(&*panic).into_http(),
        },
    };
    let (parts, body) = response.into_parts();
    let ends_here = body.is_end_stream();
    // Fails only where the peer has reset the call or the connection is gone.
    let Ok(stream) = respond.send_response(Response::from_parts(parts, ()), ends_here) else {
        return;
    };
    if ends_here {
        return;
    }
    let mut pump = Pump::new(body, stream);
    tokio::select! {
        () = write_body(&mut pump) => {}
        () = until(deadline) => {
            // What is not written yet is not waited for: its reader may be the reason.
            if pump.stream().send_trailers(trailers(&status::deadline_exceeded())).is_err() {
                pump.stream().send_reset(Reason::CANCEL);
            }
        }
    }
}

/// A body that fails or panics half-way ends with a status, after what it gave before.
async fn write_body(pump: &mut Pump) {
    let status = match AssertUnwindSafe(&mut *pump).catch_unwind().await {
        Ok(Ok(()) | Err(PumpError::Stream)) => return,
        Ok(Err(PumpError::Body(status))) => status,
        Err(panic) => panicked(&*panic),
    };
    pump.end_with(trailers(&status));
    if pump.await.is_err() {
        tracing::debug!("the peer went before a call's status reached it");
    }
}

/// What is no gRPC call does not reach a handler. grpc-go answers the same.
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

fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // Fails on a text that cannot be a header even when escaped; the peer then misses the text, not the failure.
    if status.add_header(&mut headers).is_err() {
        headers.insert("grpc-status", http::HeaderValue::from_static("13"));
    }
    headers
}

/// A handler's panic costs its own call, and no other. The panic hook has already printed it to standard error.
fn panicked(panic: &(dyn Any + Send)) -> Status {
    let words = crate::panic::words(panic);
    tracing::error!(panic = words, "a handler panicked");
    Status::internal(format!("the handler panicked: {words}"))
}

/// Services by their full gRPC name.
#[derive(Clone, Default)]
pub(crate) struct Routes(std::sync::Arc<std::collections::BTreeMap<&'static str, Dispatch>>);

impl Routes {
    pub(crate) fn new(services: std::collections::BTreeMap<&'static str, Dispatch>) -> Self {
        Self(std::sync::Arc::new(services))
    }
}

impl Service<Request<tonic::body::Body>> for Routes {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        // "/package.Service/Method"
        let name = request.uri().path().split('/').nth(1).unwrap_or_default();
        match self.0.get(name) {
            Some(service) => {
                let mut service = service.clone();
                Box::pin(async move {
                    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
                    service.call(request).await
                })
            }
            None => {
                let status = Status::unimplemented(format!("unknown service {name}"));
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}
