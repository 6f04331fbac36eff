//! Bodies on an HTTP/2 stream: writing one out, and reading one in.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::Sleep;
use tonic::Status;

use super::calls::CallToken;
use super::channel::Peer;
use super::status;

/// Writes a body to its stream, never more than flow control allows. Completes when all is handed to the connection.
///
/// Dropping it unfinished resets the stream.
pub(super) struct Pump {
    body: tonic::body::Body,
    stream: SendStream<Bytes>,
    /// One frame is held back until what follows it is known: the last one then carries END_STREAM, which saves a
    /// unary call a frame.
    waiting: Bytes,
    /// The frame behind `waiting`.
    behind: Bytes,
    next: Next,
}

enum Next {
    Data,
    Trailers(HeaderMap),
    End,
    Done,
}

/// Why a pump stopped early.
pub(super) enum PumpError {
    /// The peer took its interest back, or the connection is gone.
    Stream,
    /// The body itself failed.
    Body(Status),
}

impl Pump {
    pub(super) fn new(body: tonic::body::Body, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, waiting: Bytes::new(), behind: Bytes::new(), next: Next::Data }
    }

    /// Ends with these trailers in place of what is left of the body, after what the body gave so far. To be polled again.
    pub(super) fn end_with(&mut self, trailers: HeaderMap) {
        if !self.behind.is_empty() {
            self.waiting = [std::mem::take(&mut self.waiting), std::mem::take(&mut self.behind)]
                .concat()
                .into();
        }
        self.next = Next::Trailers(trailers);
    }

    /// The stream, to end it otherwise than by its body.
    pub(super) fn stream(&mut self) -> &mut SendStream<Bytes> {
        &mut self.stream
    }

    /// Sends what waits, as far as the window allows; the last piece takes the end of the stream along.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PumpError>> {
        while !self.waiting.is_empty() {
            self.stream.reserve_capacity(self.waiting.len());
            let mut room = self.stream.capacity();
            if room == 0 {
                room = match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(room)) => room,
                    Some(Err(_)) | None => return Poll::Ready(Err(PumpError::Stream)),
                };
            }
            let piece = self.waiting.split_to(room.min(self.waiting.len()));
            let end = self.waiting.is_empty() && matches!(self.next, Next::End);
            self.stream.send_data(piece, end).map_err(|_| PumpError::Stream)?;
            if end {
                self.next = Next::Done;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes one frame of the body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PumpError>> {
        // A peer that resets ends the pump even while the body has nothing to say.
        if self.stream.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(PumpError::Stream));
        }
        if !self.behind.is_empty() {
            ready!(self.poll_flush(cx))?;
            self.waiting = std::mem::take(&mut self.behind);
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => {
                ready!(self.poll_flush(cx))?;
                return Poll::Pending;
            }
            Poll::Ready(None) => self.next = Next::End,
            Poll::Ready(Some(Err(status))) => return Poll::Ready(Err(PumpError::Body(status))),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if self.waiting.is_empty() => self.waiting = data,
                Ok(data) => self.behind = data,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.next = Next::Trailers(trailers);
                    }
                }
            },
        }
        Poll::Ready(Ok(()))
    }
}

impl Future for Pump {
    type Output = Result<(), PumpError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match &this.next {
                Next::Data => ready!(this.poll_body(cx))?,
                Next::End => {
                    ready!(this.poll_flush(cx))?;
                    if matches!(this.next, Next::End) {
                        this.stream.send_data(Bytes::new(), true).map_err(|_| PumpError::Stream)?;
                        this.next = Next::Done;
                    }
                }
                Next::Trailers(_) => {
                    ready!(this.poll_flush(cx))?;
                    let Next::Trailers(trailers) = std::mem::replace(&mut this.next, Next::Done)
                    else {
                        unreachable!("flushing changes only `End`");
                    };
                    this.stream.send_trailers(trailers).map_err(|_| PumpError::Stream)?;
                }
                Next::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// A request's body, at the side that serves it.
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

/// Data first, then trailers. What is handed out is given back to the peer's window at once: the reader asks for a
/// frame only when it wants one.
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

/// The body of a response, as [`Channel`](super::Channel) gives it to generated clients.
///
/// Fails with a [`Status`] whose source says what became of the plugin's process where that is the reason.
pub struct ResponseBody {
    state: State,
    /// The request's body where it is still under way. The call is over when the response is.
    upload: Option<AbortOnDrop>,
    deadline: Option<Pin<Box<Sleep>>>,
    peer: Peer,
    token: Option<CallToken>,
}

enum State {
    Open(RecvStream),
    Failing(BoxFuture<'static, Status>),
    Done,
}

/// Ends a task with its owner.
pub(crate) struct AbortOnDrop(pub(crate) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ResponseBody {
    pub(super) fn new(
        recv: RecvStream,
        upload: Option<AbortOnDrop>,
        deadline: Option<Pin<Box<Sleep>>>,
        peer: Peer,
        token: Option<CallToken>,
    ) -> Self {
        Self { state: State::Open(recv), upload, deadline, peer, token }
    }

    /// Nothing more will come: lets go of all that belongs to the call.
    fn finish(&mut self) {
        self.state = State::Done;
        self.upload = None;
        self.deadline = None;
        self.token = None;
    }
}

/// An empty body: tonic's interceptors ask for one, for calls that they refuse.
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
                            status::defuse(trailers);
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
