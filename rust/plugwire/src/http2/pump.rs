//! Writing a body to an HTTP/2 stream.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;
use http_body::Body;
use tonic::Status;

use super::inbound::PeerLimit;
use super::status;

/// Copies a body to its stream, as fast as flow control allows. Completes when everything has been
/// handed to the connection. Dropping it earlier resets the stream.
pub(super) struct Pump {
    body: tonic::body::Body,
    stream: SendStream<Bytes>,
    /// One frame is held back until it is known what follows: the last frame then carries END_STREAM,
    /// which saves a unary call one frame.
    waiting: Bytes,
    /// The frame behind `waiting`.
    behind: Bytes,
    next: Next,
    peer_limit: PeerLimit,
}

enum Next {
    Data,
    Trailers(HeaderMap),
    End,
    Done,
}

/// Why a pump stopped early.
pub(super) enum PumpError {
    /// The peer reset the stream, or the connection is gone.
    Stream,
    /// The body itself failed.
    Body(Status),
}

impl Pump {
    pub(super) fn new(
        body: tonic::body::Body,
        stream: SendStream<Bytes>,
        peer_limit: PeerLimit,
    ) -> Self {
        let (waiting, behind) = (Bytes::new(), Bytes::new());
        Self { body, stream, waiting, behind, next: Next::Data, peer_limit }
    }

    /// Ends the stream with these trailers after what the body has produced so far, and ignores the rest
    /// of the body. Poll the pump again to write them.
    pub(super) fn end_with(&mut self, trailers: HeaderMap) {
        if !self.behind.is_empty() {
            self.waiting = [std::mem::take(&mut self.waiting), std::mem::take(&mut self.behind)]
                .concat()
                .into();
        }
        self.next = Next::Trailers(trailers);
    }

    /// Returns the stream, to end it early.
    pub(super) fn stream(&mut self) -> &mut SendStream<Bytes> {
        &mut self.stream
    }

    /// Sends what is waiting, as far as the window allows. The last piece also ends the stream.
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

    /// Reads one frame of the body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PumpError>> {
        // A reset by the peer ends the pump even while the body has no frame.
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
                        let fits = self.peer_limit.check(&trailers);
                        let trailers =
                            fits.map_or_else(|status| status::trailers(&status), |()| trailers);
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
