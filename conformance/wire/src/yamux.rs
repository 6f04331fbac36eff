//! yamux, as small as a test peer needs it, with every frame within reach (spec, chapter 13).
//!
//! Frames are twelve bytes and, for data, what follows: version 0, a type, flags, the stream's id, a length. A stream is
//! opened and acknowledged at once by a window update, as hashicorp's does it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BufMut, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::socket::Io;
use crate::trace::Trace;

/// Bytes of a stream's data.
pub const DATA: u8 = 0;
/// More room for the sender; also how a stream is opened and acknowledged.
pub const WINDOW_UPDATE: u8 = 1;
/// A ping.
pub const PING: u8 = 2;
/// The session ends.
pub const GO_AWAY: u8 = 3;
/// Opens a stream; of a ping, the question.
pub const SYN: u16 = 1;
/// Acknowledges it; of a ping, the answer.
pub const ACK: u16 = 2;
/// No more data from this side.
pub const FIN: u16 = 4;
/// The stream is broken off.
pub const RST: u16 = 8;

/// What either side may send before more room is given.
const WINDOW: u32 = 256 * 1024;
/// The largest frame that is read: windows allow no larger one.
const LARGEST: u32 = 16 * 1024 * 1024;
/// What is sent in one frame.
const PART: usize = 64 * 1024;

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// 0.
    pub version: u8,
    /// [`DATA`] to [`GO_AWAY`].
    pub kind: u8,
    /// [`SYN`] to [`RST`], added up.
    pub flags: u16,
    /// 0 is the session.
    pub stream: u32,
    /// Bytes that follow, or the window's growth, the ping's number, the reason.
    pub length: u32,
}

impl Frame {
    /// Returns a frame of version 0.
    pub fn new(kind: u8, flags: u16, stream: u32, length: u32) -> Self {
        Self { version: 0, kind, flags, stream, length }
    }

    /// Returns the twelve bytes.
    pub fn encoded(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(12);
        bytes.put_u8(self.version);
        bytes.put_u8(self.kind);
        bytes.put_u16(self.flags);
        bytes.put_u32(self.stream);
        bytes.put_u32(self.length);
        bytes
    }

    fn decoded(mut bytes: &[u8]) -> Self {
        Self {
            version: bytes.get_u8(),
            kind: bytes.get_u8(),
            flags: bytes.get_u16(),
            stream: bytes.get_u32(),
            length: bytes.get_u32(),
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = ["data", "window", "ping", "go-away"].get(usize::from(self.kind));
        write!(f, "{}", kind.unwrap_or(&"?"))?;
        for (flag, name) in [(SYN, "syn"), (ACK, "ack"), (FIN, "fin"), (RST, "rst")] {
            if self.flags & flag != 0 {
                write!(f, " {name}")?;
            }
        }
        write!(f, ", stream {}, length {}", self.stream, self.length)
    }
}

/// Which side of a session this is: the host opens odd streams, the plugin even ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// yamux's client.
    Host,
    /// yamux's server.
    Plugin,
}

/// A session; a clone is the same one. The last to go cuts the connection, streams included.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
    frames: mpsc::UnboundedSender<Vec<u8>>,
    accepted: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Stream>>>,
    tasks: Arc<Tasks>,
}

struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

struct Shared {
    state: Mutex<State>,
    ended: watch::Sender<Option<String>>,
    /// Streams of the peer are acknowledged at once.
    acknowledge: bool,
}

#[derive(Default)]
struct State {
    streams: HashMap<u32, Half>,
    next: u32,
}

/// What is known of one stream.
#[derive(Default)]
struct Half {
    received: BytesMut,
    /// No more comes.
    finished: bool,
    /// Broken off.
    reset: bool,
    acknowledged: bool,
    /// What may be sent.
    room: u32,
    /// What was read and not yet given back as room.
    consumed: u32,
    reader: Option<Waker>,
    writer: Option<Waker>,
    watcher: Option<Waker>,
}

impl Half {
    fn wake(&mut self) {
        let wakers = [self.reader.take(), self.writer.take(), self.watcher.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn end(&self, how: String) {
        for half in self.state().streams.values_mut() {
            half.reset = true;
            half.wake();
        }
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(how);
            first
        });
    }
}

impl Session {
    /// Begins a session in which streams of the peer are acknowledged at once.
    pub fn start(io: Io, side: Side, trace: &Trace) -> Self {
        Self::start_with(io, side, true, trace)
    }

    /// Begins a session; with `acknowledge` false, streams of the peer never are.
    pub fn start_with(io: Io, side: Side, acknowledge: bool, trace: &Trace) -> Self {
        let (read, mut write) = tokio::io::split(io);
        let (frames, mut queue) = mpsc::unbounded_channel::<Vec<u8>>();
        let (accept, accepted) = mpsc::unbounded_channel();
        let next = if side == Side::Host { 1 } else { 2 };
        let shared = Arc::new(Shared {
            state: Mutex::new(State { next, ..State::default() }),
            ended: watch::channel(None).0,
            acknowledge,
        });
        let writing = {
            let shared = shared.clone();
            tokio::spawn(async move {
                while let Some(bytes) = queue.recv().await {
                    if let Err(error) = write.write_all(&bytes).await {
                        return shared.end(error.to_string());
                    }
                }
                let _ = write.shutdown().await;
            })
        };
        let reading = {
            let (shared, frames, trace) = (shared.clone(), frames.clone(), trace.clone());
            tokio::spawn(async move {
                let how = receive(read, &shared, &frames, &accept, &trace).await;
                let how = how.err().map_or("closed".to_owned(), |error| error.to_string());
                trace.event("yamux", format!("the session ended: {how}"));
                shared.end(how);
            })
        };
        let accepted = Arc::new(tokio::sync::Mutex::new(accepted));
        Self { shared, frames, accepted, tasks: Arc::new(Tasks(vec![writing, reading])) }
    }

    /// Opens a stream, and says so to the peer at once.
    pub fn open(&self) -> Stream {
        let id = {
            let mut state = self.shared.state();
            let id = state.next;
            state.next += 2;
            state.streams.insert(id, Half { room: WINDOW, ..Half::default() });
            id
        };
        self.send(Frame::new(WINDOW_UPDATE, SYN, id, 0));
        Stream { id, shared: self.shared.clone(), frames: self.frames.clone() }
    }

    /// Returns the peer's next stream; none when the session has ended. Cancel safe.
    pub async fn accept(&self) -> Option<Stream> {
        let mut ended = self.shared.ended.subscribe();
        let mut accepted = self.accepted.lock().await;
        tokio::select! {
            biased;
            stream = accepted.recv() => stream,
            _ = ended.wait_for(Option::is_some) => None,
        }
    }

    /// Sends a frame without data.
    pub fn send(&self, frame: Frame) {
        self.send_raw(frame.encoded());
    }

    /// Sends bytes as they are.
    pub fn send_raw(&self, bytes: Vec<u8>) {
        // Fails only when the connection is gone, which the reader tells.
        let _ = self.frames.send(bytes);
    }

    /// Cuts the connection, streams included.
    pub fn cut(&self) {
        for task in &self.tasks.0 {
            task.abort();
        }
        self.shared.end("cut by this side".to_owned());
    }

    /// Waits for the end, and says how it came. Cancel safe.
    pub async fn ended(&self) -> String {
        let mut ended = self.shared.ended.subscribe();
        let how = ended.wait_for(Option::is_some).await.ok().and_then(|how| how.clone());
        how.unwrap_or_default()
    }

    /// Returns how it ended, if it has.
    pub fn has_ended(&self) -> Option<String> {
        self.shared.ended.borrow().clone()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("ended", &self.has_ended()).finish_non_exhaustive()
    }
}

async fn receive(
    mut read: ReadHalf<Io>,
    shared: &Arc<Shared>,
    frames: &mpsc::UnboundedSender<Vec<u8>>,
    accept: &mpsc::UnboundedSender<Stream>,
    trace: &Trace,
) -> io::Result<()> {
    let mut head = [0; 12];
    loop {
        match read.read_exact(&mut head).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let frame = Frame::decoded(&head);
        // Data and window updates are too frequent to trace each one.
        if frame.flags != 0 || frame.kind > WINDOW_UPDATE {
            trace.event("yamux", format!("received {frame}"));
        }
        if frame.version != 0 || frame.kind > GO_AWAY {
            return Err(io::Error::other(format!("not yamux: {head:02x?}")));
        }
        let reply = |frame: Frame| {
            let _ = frames.send(frame.encoded());
        };
        match frame.kind {
            PING if frame.flags & SYN != 0 => reply(Frame::new(PING, ACK, 0, frame.length)),
            PING => {}
            GO_AWAY => return Err(io::Error::other(format!("go away, reason {}", frame.length))),
            _ => {
                let data = match frame.kind {
                    DATA if frame.length > LARGEST => {
                        return Err(io::Error::other(format!("a frame of {} bytes", frame.length)));
                    }
                    DATA => {
                        let mut data = vec![0; frame.length as usize];
                        read.read_exact(&mut data).await?;
                        data
                    }
                    _ => Vec::new(),
                };
                if let Some(stream) = take(frame, &data, shared, frames) {
                    if shared.acknowledge {
                        reply(Frame::new(WINDOW_UPDATE, ACK, frame.stream, 0));
                    }
                    let _ = accept.send(stream);
                }
            }
        }
    }
}

/// Books a frame of a stream; a stream that it opens comes back.
fn take(
    frame: Frame,
    data: &[u8],
    shared: &Arc<Shared>,
    frames: &mpsc::UnboundedSender<Vec<u8>>,
) -> Option<Stream> {
    let mut state = shared.state();
    let opened = frame.flags & SYN != 0;
    if opened {
        state
            .streams
            .insert(frame.stream, Half { room: WINDOW, acknowledged: true, ..Half::default() });
    }
    // A stream that is not known was closed here already.
    if let Some(half) = state.streams.get_mut(&frame.stream) {
        half.received.extend_from_slice(data);
        if frame.kind == WINDOW_UPDATE {
            half.room = half.room.saturating_add(frame.length);
        }
        half.acknowledged |= frame.flags & ACK != 0;
        half.finished |= frame.flags & (FIN | RST) != 0;
        half.reset |= frame.flags & RST != 0;
        half.wake();
    }
    opened.then(|| Stream { id: frame.stream, shared: shared.clone(), frames: frames.clone() })
}

/// One stream. Dropping it breaks it off, unless both sides had finished.
pub struct Stream {
    id: u32,
    shared: Arc<Shared>,
    frames: mpsc::UnboundedSender<Vec<u8>>,
}

impl Stream {
    /// Its id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Waits until the peer has acknowledged it, or broken it off: whether it was the former. Cancel safe.
    pub async fn acknowledged(&self) -> bool {
        std::future::poll_fn(|context| {
            let mut state = self.shared.state();
            let Some(half) = state.streams.get_mut(&self.id) else { return Poll::Ready(false) };
            if half.acknowledged || half.reset {
                return Poll::Ready(half.acknowledged);
            }
            half.watcher = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn send(&self, frame: Frame, data: &[u8]) {
        let mut bytes = frame.encoded();
        bytes.extend_from_slice(data);
        let _ = self.frames.send(bytes);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).finish_non_exhaustive()
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the stream was broken off")
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.shared.state();
        let Some(half) = state.streams.get_mut(&self.id) else { return Poll::Ready(Err(gone())) };
        if half.received.is_empty() {
            if half.reset {
                return Poll::Ready(Err(gone()));
            }
            if half.finished {
                return Poll::Ready(Ok(()));
            }
            half.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let size = half.received.len().min(into.remaining());
        into.put_slice(&half.received[..size]);
        half.received.advance(size);
        half.consumed += size as u32;
        if half.consumed >= WINDOW / 2 {
            let grown = std::mem::take(&mut half.consumed);
            self.send(Frame::new(WINDOW_UPDATE, 0, self.id, grown), &[]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.shared.state();
        let half = state.streams.get_mut(&self.id);
        let Some(half) = half.filter(|half| !half.reset) else { return Poll::Ready(Err(gone())) };
        let size = data.len().min(PART).min(half.room as usize);
        if size == 0 && !data.is_empty() {
            half.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        half.room -= size as u32;
        self.send(Frame::new(DATA, 0, self.id, size as u32), &data[..size]);
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send(Frame::new(WINDOW_UPDATE, FIN, self.id, 0), &[]);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let half = self.shared.state().streams.remove(&self.id);
        if half.is_some_and(|half| !half.reset) {
            self.send(Frame::new(WINDOW_UPDATE, RST, self.id, 0), &[]);
        }
    }
}

#[cfg(test)]
mod tests;
