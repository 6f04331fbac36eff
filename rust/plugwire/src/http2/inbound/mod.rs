//! What comes from the peer, before h2 sees it.
//!
//! h2 is stricter, and keeps more, than a peer of gRPC's can be asked to live with. So the frames are
//! looked at on their way: an authority that h2 would refuse is replaced ([`authority`]), headers that
//! come in many frames are put into few, and what the peer makes this side hold is counted. All other
//! bytes pass as they are.

mod authority;
mod frames;
mod turn;

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;
use tonic::Status;

use self::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEAD, HEADERS, Head, RST_STREAM, SETTINGS,
    fragment,
};
pub(super) use self::turn::Turn;
use super::config::Http2;
use super::memory::Ledger;
use crate::net::BoxIo;

/// How much is read at a time: at first, as long as the peer sends more, and in the middle of a long
/// frame. Most connections are never busy.
const FIRST_READ: usize = 1024;
const BUSY_READ: usize = 16 * 1024;
const BULK_READ: usize = 64 * 1024;
/// How many frames h2 reads before other tasks can run. The reader of a call takes more in its turn.
const TURN_FRAMES: usize = 512;
/// What a client sends first (RFC 9113, section 3.4). What else comes is left to h2.
const PREFACE: usize = 24;
/// SETTINGS_MAX_HEADER_LIST_SIZE.
const MAX_HEADER_LIST_SIZE: u16 = 6;
/// A SETTINGS frame that is longer passes without a look.
const MAX_SETTINGS: usize = 1024;
/// The fewest bytes of headers in a frame, on average, in a block of many frames.
const SMALLEST_CONTINUATION: usize = 1024;

/// A byte stream whose frames are looked at as they are read.
pub(super) struct Inbound {
    io: BoxIo,
    /// Whether the peer makes the calls.
    serves: bool,
    ledger: Ledger,
    peer_limit: PeerLimit,
    turn: Turn,
    /// What was read and is not yet with h2.
    input: BytesMut,
    /// How much of the input may pass as it is.
    cleared: usize,
    /// How many more bytes pass without a look: the rest of a frame.
    passing: usize,
    /// Frames that replace others. They come before the input.
    output: BytesMut,
    /// Headers whose last frame has not come.
    block: Option<Block>,
    read_size: usize,
    /// How much h2 has read since other tasks could run.
    turn_read: usize,
    turn_frames: usize,
    /// The newest call of the peer's.
    last_stream: u32,
    max_frame: usize,
    max_continuations: usize,
}

/// The longest headers that the peer accepts.
#[derive(Clone, Debug)]
pub(super) struct PeerLimit(Arc<AtomicU32>);

/// grpc-go's limit. It does not announce it, and ends the connection over much longer headers.
const UNTOLD_LIMIT: u32 = 16 * 1024 * 1024;

impl Default for PeerLimit {
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(UNTOLD_LIMIT)))
    }
}

impl PeerLimit {
    /// Fails if headers, or trailers, are longer than the peer accepts: it would end the connection.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Status> {
        let limit = self.0.load(Ordering::Relaxed);
        // RFC 9113, section 6.5.2, says how it is counted.
        let size =
            |(name, value): (&HeaderName, &HeaderValue)| 32 + name.as_str().len() + value.len();
        let size: usize = headers.iter().map(size).sum();
        if size <= limit as usize {
            return Ok(());
        }
        Err(Status::internal(format!(
            "metadata or status of {size} bytes, and the peer accepts {limit} (Http2::max_headers, if it \
             is plugwire; grpc-go: MaxHeaderListSize)"
        )))
    }
}

/// A header block that comes in several frames.
struct Block {
    stream: u32,
    /// The flags of its first frame, once that has gone on.
    first: Option<u8>,
    fragment: BytesMut,
    continuations: usize,
}

impl Inbound {
    /// Looks at what comes from a peer that makes calls.
    pub(super) fn serving(io: BoxIo, http2: &Http2, ledger: Ledger) -> Self {
        Self { serves: true, passing: PREFACE, ..Self::new(io, http2, ledger) }
    }

    /// Looks at what comes from a peer that answers calls.
    pub(super) fn calling(io: BoxIo, http2: &Http2, ledger: Ledger) -> Self {
        Self::new(io, http2, ledger)
    }

    fn new(io: BoxIo, http2: &Http2, ledger: Ledger) -> Self {
        Self {
            io,
            serves: false,
            ledger,
            peer_limit: PeerLimit::default(),
            turn: Turn::default(),
            input: BytesMut::new(),
            cleared: 0,
            passing: 0,
            output: BytesMut::new(),
            block: None,
            read_size: FIRST_READ,
            turn_read: 0,
            turn_frames: 0,
            last_stream: 0,
            max_frame: http2.max_frame as usize,
            max_continuations: http2.max_headers as usize / SMALLEST_CONTINUATION + 16,
        }
    }

    /// Returns what the side that takes calls has to renew whenever there is none.
    pub(super) fn turn(&self) -> Turn {
        self.turn.clone()
    }

    pub(super) fn peer_limit(&self) -> PeerLimit {
        self.peer_limit.clone()
    }

    /// Looks at what was read, as far as it goes.
    fn look(&mut self) -> io::Result<()> {
        loop {
            let passed = self.passing.min(self.input.len() - self.cleared);
            self.cleared += passed;
            self.passing -= passed;
            let Some(head) = Head::parse(&self.input[self.cleared..]) else { return Ok(()) };
            let whole = HEAD + head.len;
            self.turn_frames += 1;
            if self.block.is_some() && (head.kind != CONTINUATION || head.len > self.max_frame) {
                return Err(invalid("another frame in the middle of headers"));
            }
            let is_here = self.input.len() - self.cleared >= whole;
            match head.kind {
                // h2 refuses a longer frame, and one between the frames of a block.
                HEADERS | CONTINUATION if head.len <= self.max_frame => {
                    if !is_here || !self.headers(head)? {
                        return Ok(());
                    }
                    continue;
                }
                DATA => self.ledger.arrived(head.stream, head.len).map_err(io::Error::other)?,
                RST_STREAM if self.serves => self.ledger.close(head.stream),
                SETTINGS if head.len <= MAX_SETTINGS => {
                    if !is_here {
                        return Ok(());
                    }
                    self.settings(head);
                }
                _ => {}
            }
            self.passing = whole;
        }
    }

    /// Looks at a frame of headers, which is in the input whole. Returns false if something has to go on
    /// to h2 before the next frame is looked at.
    fn headers(&mut self, head: Head) -> io::Result<bool> {
        let whole = HEAD + head.len;
        let payload = &self.input[self.cleared + HEAD..self.cleared + whole];
        let Some(block) = &mut self.block else {
            if self.serves && head.kind == HEADERS && head.stream > self.last_stream {
                self.ledger.open(head.stream).map_err(io::Error::other)?;
                self.last_stream = head.stream;
                self.turn.opened();
            }
            let range = fragment(head, payload).filter(|_| head.kind == HEADERS);
            let changes = |range: &Range<usize>| {
                !head.has(END_HEADERS)
                    || self.serves && authority::mend(&payload[range.clone()]).is_some()
            };
            let Some(range) = range.filter(changes) else {
                // What is malformed passes, too: h2 says what is wrong with it.
                self.passing = whole;
                return Ok(true);
            };
            if self.cleared > 0 {
                return Ok(false);
            }
            self.block = Some(Block {
                stream: head.stream,
                first: Some(head.flags & END_STREAM),
                fragment: BytesMut::from(&payload[range]),
                continuations: 0,
            });
            self.input.advance(whole);
            return Ok(self.put_block(head));
        };
        if head.stream != block.stream {
            return Err(invalid("another stream's frame in the middle of headers"));
        }
        block.continuations += 1;
        if block.continuations > self.max_continuations {
            return Err(invalid("headers in too many frames"));
        }
        block.fragment.extend_from_slice(payload);
        self.input.advance(whole);
        Ok(self.put_block(head))
    }

    /// Hands on what there is of a block after this frame, in frames as long as h2 takes them. Returns
    /// whether there was not enough for one.
    fn put_block(&mut self, head: Head) -> bool {
        let is_last = head.has(END_HEADERS);
        let Some(mut block) = self.block.take() else { return true };
        if !is_last && block.fragment.len() < self.max_frame {
            self.block = Some(block);
            return true;
        }
        if self.serves
            && block.first.is_some()
            && let Some(mended) = authority::mend(&block.fragment)
        {
            block.fragment = mended;
        }
        loop {
            let piece = block.fragment.split_to(block.fragment.len().min(self.max_frame));
            let ends = is_last && block.fragment.is_empty();
            let (kind, flags) = match block.first.take() {
                Some(flags) => (HEADERS, flags),
                None => (CONTINUATION, 0),
            };
            let flags = if ends { flags | END_HEADERS } else { flags };
            write(&mut self.output, kind, flags, block.stream, &piece);
            if ends {
                return false;
            }
            if !is_last && block.fragment.len() < self.max_frame {
                self.block = Some(block);
                return false;
            }
        }
    }

    fn settings(&self, head: Head) {
        if head.has(ACK) {
            return;
        }
        let payload = &self.input[self.cleared + HEAD..][..head.len];
        for mut setting in payload.chunks_exact(6) {
            if setting.get_u16() == MAX_HEADER_LIST_SIZE {
                self.peer_limit.0.store(setting.get_u32(), Ordering::Relaxed);
            }
        }
    }
}

fn write(out: &mut BytesMut, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.reserve(HEAD + payload.len());
    Head { len: payload.len(), kind, flags, stream }.write(out);
    out.put_slice(payload);
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl AsyncRead for Inbound {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.turn_read >= BULK_READ || this.turn_frames >= TURN_FRAMES {
            // A connection that is never idle must not keep other tasks waiting, the readers of its calls
            // among them: what they have not read stays in memory.
            (this.turn_read, this.turn_frames) = (0, 0);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if !this.output.is_empty() {
                let len = this.output.len().min(buf.remaining());
                buf.put_slice(&this.output.split_to(len));
                this.turn_read += len;
                return Poll::Ready(Ok(()));
            }
            if this.cleared > 0 {
                let len = this.cleared.min(buf.remaining());
                buf.put_slice(&this.input.split_to(len));
                this.cleared -= len;
                this.turn_read += len;
                return Poll::Ready(Ok(()));
            }
            ready!(this.turn.poll_more(cx));
            this.look()?;
            if this.cleared > 0 || !this.output.is_empty() {
                continue;
            }
            let is_bulk = this.passing > BUSY_READ;
            this.input.reserve(if is_bulk { BULK_READ } else { this.read_size });
            let read = poll_read_buf(Pin::new(&mut this.io), cx, &mut this.input);
            if read.is_pending() {
                (this.turn_read, this.turn_frames) = (0, 0);
            }
            let read = ready!(read)?;
            if read >= this.read_size {
                this.read_size = BUSY_READ.min(4 * this.read_size);
            }
            if read == 0 {
                // What is left is the beginning of a frame: h2 has to learn that more was to come.
                buf.put_slice(&this.input.split_to(this.input.len().min(buf.remaining())));
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Inbound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
