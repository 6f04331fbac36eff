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
use super::peer::Peer;
use super::status;

/// The body of a request, on the side that serves it.
pub(super) struct RequestBody(pub(super) RecvStream);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        poll_recv(&mut self.0, cx).map_err(|error| status::from_h2(&error))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Reads data, then trailers. Data that is handed out is added to the peer's window at once: the reader
/// asks for a frame only when it wants one.
fn poll_recv(
    recv: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
    match ready!(recv.poll_data(cx)) {
        Some(Ok(data)) => {
            let released = recv.flow_control().release_capacity(data.len());
            Poll::Ready(Some(released.map(|()| Frame::data(data))))
        }
        Some(Err(error)) => Poll::Ready(Some(Err(error))),
        None => {
            let trailers = ready!(recv.poll_trailers(cx)).transpose();
            Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)))
        }
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
    Open(RecvStream),
    Failing(BoxFuture<'static, Status>),
    Done,
}

impl ResponseBody {
    pub(super) fn new(
        recv: RecvStream,
        upload: Option<AbortOnDropHandle<()>>,
        deadline: Option<Pin<Box<Sleep>>>,
        peer: Option<Arc<dyn Peer>>,
        token: Option<CallToken>,
    ) -> Self {
        Self { state: State::Open(recv), upload, deadline, peer, token }
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
                State::Open(recv) => match poll_recv(recv, cx) {
                    Poll::Ready(Some(Ok(mut frame))) => {
                        if let Some(trailers) = frame.trailers_mut() {
                            status::drop_broken_details(trailers);
                            this.finish();
                        }
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    Poll::Ready(Some(Err(error))) => {
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
            State::Open(recv) => recv.is_end_stream(),
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
