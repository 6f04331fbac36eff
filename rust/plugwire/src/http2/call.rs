//! One call of a channel, from its request to the beginning of its response.

use std::fmt;
use std::future::{Future, ready as resolved};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body as _;
use tokio::time::Sleep;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::body::{Incoming, ResponseBody};
use super::calls::CallToken;
use super::connection::{Connection, Requests};
use super::memory::OpenCall;
use super::peer::Peer;
use super::pump::{Pump, PumpError};
use super::{deadline, status};

/// A call whose response has not begun. The future also writes the request, so a unary call needs no
/// task of its own.
pub struct CallFuture {
    state: CallState,
    deadline: Option<Pin<Box<Sleep>>>,
    peer: Option<Arc<dyn Peer>>,
    token: Option<CallToken>,
}

enum CallState {
    Reconnecting {
        connecting: BoxFuture<'static, Result<Requests, Status>>,
        request: Option<Box<Request<tonic::body::Body>>>,
    },
    Open {
        response: h2::client::ResponseFuture,
        open: Option<OpenCall>,
        upload: Option<Box<Pump>>,
    },
    Failing(BoxFuture<'static, Status>),
    Done,
}

impl CallState {
    fn send(
        mut requests: Requests,
        request: Request<tonic::body::Body>,
        peer: &Option<Arc<dyn Peer>>,
    ) -> Self {
        let (parts, body) = request.into_parts();
        let ends_here = body.is_end_stream();
        if let Err(status) = requests.peer_limit.check(&parts.headers) {
            return Self::Failing(Box::pin(resolved(status)));
        }
        match requests.send.send_request(Request::from_parts(parts, ()), ends_here) {
            Ok((response, mut stream)) => {
                let id = response.stream_id().as_u32();
                if let Err(exhausted) = requests.ledger.open(id) {
                    stream.send_reset(h2::Reason::CANCEL);
                    return Self::Failing(Box::pin(resolved(exhausted.into())));
                }
                Self::Open {
                    response,
                    open: Some(OpenCall::new(requests.ledger, id)),
                    upload: (!ends_here)
                        .then(|| Box::new(Pump::new(body, stream, requests.peer_limit))),
                }
            }
            Err(error) => Self::Failing(status::explain(error, peer.clone(), None)),
        }
    }
}

/// Returns a handle on a new connection, or the reason why the previous one ended.
fn reconnect(
    connection: Arc<Connection>,
    ended: h2::Error,
    peer: Option<Arc<dyn Peer>>,
) -> BoxFuture<'static, Result<Requests, Status>> {
    Box::pin(async move {
        match connection.reconnect().await {
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
                CallState::Reconnecting { connecting, request } => {
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
                CallState::Open { response, open, upload } => {
                    if let Some(Poll::Ready(ended)) =
                        upload.as_mut().map(|pump| Pin::new(&mut **pump).poll(cx))
                    {
                        let pump = upload.take();
                        if let Err(PumpError::Body(status)) = ended {
                            // The caller's own stream failed: cancel the call and return its error.
                            if let Some(mut pump) = pump {
                                pump.stream().send_reset(h2::Reason::CANCEL);
                            }
                            this.state = CallState::Done;
                            return Poll::Ready(Err(status));
                        }
                    }
                    match Pin::new(response).poll(cx) {
                        Poll::Ready(Ok(response)) => {
                            let open = open.take().expect("taken once");
                            if let Err(exhausted) = open.hold(response.headers()) {
                                this.state = CallState::Done;
                                return Poll::Ready(Err(exhausted.into()));
                            }
                            let upload = upload.take().map(|pump| {
                                let upload = tokio::spawn(async move { drop(pump.await) });
                                AbortOnDropHandle::new(upload)
                            });
                            return Poll::Ready(Ok(this.respond(response, open, upload)));
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
    /// Starts a call: sends the request's headers, or begins to reconnect.
    pub(super) fn start(
        connection: &Arc<Connection>,
        request: Request<tonic::body::Body>,
        peer: Option<Arc<dyn Peer>>,
        token: Option<CallToken>,
    ) -> Self {
        // The peer starts its own count a little later than this.
        let deadline =
            deadline::timeout(request.headers()).map(|after| Box::pin(tokio::time::sleep(after)));
        let state = match connection.current() {
            Ok(requests) => CallState::send(requests, request, &peer),
            Err(ended) => CallState::Reconnecting {
                connecting: reconnect(connection.clone(), ended, peer.clone()),
                request: Some(Box::new(request)),
            },
        };
        Self { state, deadline, peer, token }
    }

    fn respond(
        &mut self,
        response: Response<h2::RecvStream>,
        open: OpenCall,
        upload: Option<AbortOnDropHandle<()>>,
    ) -> Response<ResponseBody> {
        self.state = CallState::Done;
        let (mut parts, recv) = response.into_parts();
        status::drop_broken_details(&mut parts.headers);
        let (deadline, peer, token) = (self.deadline.take(), self.peer.take(), self.token.take());
        let body = ResponseBody::new(Incoming::new(recv, open), upload, deadline, peer, token);
        Response::from_parts(parts, body)
    }
}

impl fmt::Debug for CallFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture").finish_non_exhaustive()
    }
}
