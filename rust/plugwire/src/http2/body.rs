//! Reading a body from an HTTP/2 stream.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::calls::CallToken;
use super::memory::OpenCall;
use super::messages::Messages;
use super::peer::Peer;
use super::status;

/// What a peer sends in one call: whole messages, then trailers.
pub(super) struct Incoming {
    recv: RecvStream,
    messages: Messages,
    open: OpenCall,
    /// How many frames were handed on since other tasks could run.
    turn: u32,
}

/// How many frames are handed on before other tasks can run.
const TURN: u32 = 1024;

/// Why it ended early.
enum Failure {
    Stream(h2::Error),
    Message,
}

impl Incoming {
    pub(super) fn new(recv: RecvStream, open: OpenCall) -> Self {
        Self { recv, messages: Messages::default(), open, turn: 0 }
    }

    /// Reads data that ends where a message does, then trailers. What is read is added to the peer's
    /// window at once: the reader asks only when it wants more.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        // Small messages that are there already must not keep other tasks of the thread waiting. tokio's own
        // budget would make the turns so short that a busy connection brings more than is read.
        self.turn += 1;
        if self.turn > TURN {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if let Some(data) = self.messages.pop() {
                self.open.handed_on(data.len());
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            match ready!(self.recv.poll_data(cx)) {
                Some(Ok(data)) => {
                    let released = self.recv.flow_control().release_capacity(data.len());
                    released.map_err(Failure::Stream)?;
                    self.open.read_frame();
                    self.messages.push(data);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(Failure::Stream(error)))),
                None => break,
            }
        }
        let trailers = ready!(self.recv.poll_trailers(cx)).map_err(Failure::Stream)?;
        let says_why = trailers.as_ref().is_some_and(|trailers| {
            trailers.get("grpc-status").is_some_and(|status| status.as_bytes() != b"0")
        });
        Poll::Ready(match trailers {
            _ if self.messages.is_partial() && !says_why => Some(Err(Failure::Message)),
            trailers => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.recv.is_end_stream() && self.messages.is_empty()
    }
}

fn cut_off() -> Status {
    Status::internal("the stream ended in the middle of a message")
}

/// The body of a request, on the side that serves it.
pub(super) struct RequestBody(pub(super) Incoming);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.poll(cx).map_err(|failure| match failure {
            Failure::Stream(error) => status::from_h2(&error),
            Failure::Message => cut_off(),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The body of a response, as `Channel` gives it to generated clients.
///
/// If the plugin's process is the reason for a failure, the [`Status`] has a source that says what
/// happened to it.
pub struct ResponseBody {
    state: State,
    /// The request's body, if it is still being sent. It stops when the response ends.
    upload: Option<AbortOnDropHandle<()>>,
    deadline: Option<Pin<Box<Sleep>>>,
    peer: Option<Arc<dyn Peer>>,
    token: Option<CallToken>,
}

enum State {
    Open(Incoming),
    Failing(BoxFuture<'static, Status>),
    Done,
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        upload: Option<AbortOnDropHandle<()>>,
        deadline: Option<Pin<Box<Sleep>>>,
        peer: Option<Arc<dyn Peer>>,
        token: Option<CallToken>,
    ) -> Self {
        Self { state: State::Open(incoming), upload, deadline, peer, token }
    }

    /// Releases everything that belongs to the call: nothing more will come.
    fn finish(&mut self) {
        self.state = State::Done;
        self.upload = None;
        self.deadline = None;
        self.token = None;
    }
}

/// Returns an empty body, which tonic's interceptors need for calls that they refuse.
impl Default for ResponseBody {
    fn default() -> Self {
        Self { state: State::Done, upload: None, deadline: None, peer: None, token: None }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            this.finish();
            return Poll::Ready(Some(Err(status::deadline_exceeded())));
        }
        loop {
            match &mut this.state {
                State::Done => return Poll::Ready(None),
                State::Failing(explanation) => {
                    let status = ready!(explanation.as_mut().poll(cx));
                    this.finish();
                    return Poll::Ready(Some(Err(status)));
                }
                State::Open(incoming) => match incoming.poll(cx) {
                    Poll::Ready(Some(Ok(mut frame))) => {
                        if let Some(trailers) = frame.trailers_mut() {
                            status::drop_broken_details(trailers);
                            this.finish();
                        }
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    Poll::Ready(Some(Err(Failure::Message))) => {
                        this.finish();
                        return Poll::Ready(Some(Err(cut_off())));
                    }
                    Poll::Ready(Some(Err(Failure::Stream(error)))) => {
                        this.upload = None;
                        let deadline = this.deadline.take().map(|sleep| sleep.deadline());
                        let explained = status::explain(error, this.peer.clone(), deadline);
                        this.state = State::Failing(explained);
                    }
                    Poll::Ready(None) => {
                        this.finish();
                        return Poll::Ready(None);
                    }
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Open(incoming) => incoming.is_end_stream(),
            State::Failing(_) => false,
            State::Done => true,
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
