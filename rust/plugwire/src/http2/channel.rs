//! The calling side of HTTP/2: what generated clients are built on.

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
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body::Body as _;
use tokio::time::Sleep;
use tonic::Status;

use super::body::{AbortOnDrop, Pump, ResponseBody};
use super::calls::{CallToken, Calls};
use super::connection::{self, ConnectStep, Line, Redial};
use super::{deadline, status};
use crate::net::{BoxIo, Tls};

/// Says what became of the other side, for the error of a call whose connection broke.
pub(crate) trait Autopsy: Send + Sync {
    /// Resolves soon, to `None` where the process at the other end lives on or is not known.
    fn autopsy(&self) -> BoxFuture<'static, Option<Arc<dyn Error + Send + Sync>>>;

    /// Resolves once it is known to be gone.
    fn gone(&self) -> BoxFuture<'static, ()>;
}

pub(crate) type Peer = Option<Arc<dyn Autopsy>>;

/// Whoever can be reached again is not dead. Of one who cannot, it waits in vain once, and then no more: a connection can
/// break while the process at its other end lives on, and calls on it must not wait each time.
struct Inquest {
    line: Arc<Line>,
    peer: Arc<dyn Autopsy>,
    in_vain: Arc<AtomicBool>,
}

impl Autopsy for Inquest {
    fn autopsy(&self) -> BoxFuture<'static, Option<Arc<dyn Error + Send + Sync>>> {
        let Self { line, peer, in_vain } = self;
        let (line, peer, in_vain) = (line.clone(), peer.clone(), in_vain.clone());
        Box::pin(async move {
            if line.again().await.is_some() {
                return None;
            }
            if in_vain.load(Ordering::Relaxed) {
                return peer.autopsy().now_or_never().flatten();
            }
            let cause = peer.autopsy().await;
            in_vain.store(cause.is_none(), Ordering::Relaxed);
            cause
        })
    }

    fn gone(&self) -> BoxFuture<'static, ()> {
        self.peer.gone()
    }
}

/// A connection to the other side's services, for tonic's generated clients: `GreeterClient::new(plugin.channel())`.
///
/// A clone is cheap and shares the connection. The channel belongs to one life of one process: once that process is gone,
/// every call fails at once with a [`Status`] whose source says what happened to it. All connections close with the
/// handle that the channel came from.
///
/// Where a plugin lives on but ends its connection (a Go server does when it was given `MaxConnectionAge`), the next call
/// connects again, as in go-plugin, to the process that listened before and no other. It waits at most 5 s for that, where
/// the plugin hangs, and multiplexed for the broker's dials under way before. The plugin's output is followed to the new
/// connection, its broker is not (spec: BRK-12). A call that is begun in the very moment may fail although the plugin never
/// saw it: the source of its status is [`NotProcessed`](super::NotProcessed) then. grpc-go sends such a call again, which here would
/// cost every call a copy of its request. A brokered channel, and one to a plugin that is attached to over TCP, has one
/// connection only.
///
/// Cancel safety: dropping a call's future, or its response stream, cancels the call at the other side.
///
/// Calls run on tonic's own stubs, which refuse messages over 4 MiB unless told otherwise with their
/// `max_decoding_message_size`; stubs made by `plugwire-build` have no limit.
#[derive(Clone)]
pub struct Channel {
    line: Arc<Line>,
    scheme: Scheme,
    authority: Authority,
    peer: Peer,
    calls: Calls,
}

impl Channel {
    /// Makes a connection of a byte stream: TLS if there is any, then HTTP/2. Returns when the other side has answered in
    /// it. The caller sets the deadline. With `redial` a call that finds the connection ended makes the next one.
    pub(crate) async fn establish(
        io: BoxIo,
        settings: connection::Settings,
        peer: Peer,
        redial: Option<Arc<dyn Redial>>,
    ) -> Result<Self, (ConnectStep, io::Error)> {
        let line = Line::begin(io, settings, peer.clone(), redial).await?;
        let authority = line.settings().tls.as_ref().and_then(Tls::authority);
        Ok(Self {
            scheme: if authority.is_some() { Scheme::HTTPS } else { Scheme::HTTP },
            // go-plugin's hosts call every plugin "unused" where TLS gives it no name.
            authority: authority
                .and_then(|name| name.parse().ok())
                .unwrap_or_else(|| Authority::from_static("unused")),
            peer: peer.map(|peer| {
                let line = line.clone();
                Arc::new(Inquest { line, peer, in_vain: Arc::default() }) as Arc<dyn Autopsy>
            }),
            line,
            calls: Calls::default(),
        })
    }

    /// How many connections have followed the first one.
    pub(crate) fn reconnections(&self) -> u64 {
        self.line.made()
    }

    /// Connects again if the connection has ended. Whether that has happened since there were so many reconnections.
    pub(crate) async fn has_reconnected_since(&self, reconnections: u64) -> bool {
        self.line.again().await.is_some() && self.line.made() > reconnections
    }

    /// The calls under way on this channel.
    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
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
            deadline::timeout(&parts.headers).map(|after| Box::pin(tokio::time::sleep(after)));

        let token = self.calls.track(parts.uri.path());
        let request = Request::from_parts(parts, body);
        let state = match self.line.current() {
            Ok(requests) => CallState::send(requests, request, &self.peer),
            Err(ended) => CallState::Waiting {
                connecting: again(self.line.clone(), ended, self.peer.clone()),
                request: Some(Box::new(request)),
            },
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
    Waiting {
        connecting: BoxFuture<'static, Result<SendRequest<Bytes>, Status>>,
        request: Option<Box<Request<tonic::body::Body>>>,
    },
    Open {
        response: h2::client::ResponseFuture,
        upload: Option<Box<Pump>>,
    },
    Failing(BoxFuture<'static, Status>),
    Done,
}

impl CallState {
    fn send(
        mut requests: SendRequest<Bytes>,
        request: Request<tonic::body::Body>,
        peer: &Peer,
    ) -> Self {
        let (parts, body) = request.into_parts();
        let ends_here = body.is_end_stream();
        match requests.send_request(Request::from_parts(parts, ()), ends_here) {
            Ok((response, stream)) => Self::Open {
                response,
                upload: (!ends_here).then(|| Box::new(Pump::new(body, stream))),
            },
            Err(error) => Self::Failing(status::explain(error, peer.clone(), None)),
        }
    }
}

/// The next connection, or why the one before ended.
fn again(
    line: Arc<Line>,
    ended: h2::Error,
    peer: Peer,
) -> BoxFuture<'static, Result<SendRequest<Bytes>, Status>> {
    Box::pin(async move {
        match line.again().await {
            Some(requests) => Ok(requests),
            None => Err(status::explain(ended, peer, None).await),
        }
    })
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
                CallState::Waiting { connecting, request } => {
                    let connected = ready!(connecting.as_mut().poll(cx));
                    let request = request.take();
                    this.state = CallState::Done;
                    let requests = match connected {
                        Ok(requests) => requests,
                        Err(status) => return Poll::Ready(Err(status)),
                    };
                    if let Some(request) = request {
                        this.state = CallState::send(requests, *request, &this.peer);
                    }
                }
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
