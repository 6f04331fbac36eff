//! What the plugin prints, on its way to the host.
//!
//! Captured descriptors, explicit writers and the `StreamStdio` call meet in one [`Hub`]. While a host
//! reads, a full hub blocks the writers. While no host reads, it keeps the newest output and counts what it
//! drops.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::io::AsyncWrite;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::log;
use crate::generated::plugin::grpc_stdio_server::GrpcStdio;
use crate::generated::plugin::{StdioData, stdio_data::Channel};
use crate::http2::Liveness;

/// How much the hub holds: unread output while a host reads, the newest output while none does.
const CAPACITY: usize = 256 * 1024;
/// The longest message on the stream. Go's plugins send 1 KiB; hosts accept any length.
const MAX_MESSAGE: usize = 32 * 1024;
/// How long a full hub waits for a sign that the connection to the host is making progress.
const PROBE_TIMEOUT: Duration = Duration::from_millis(100);
/// How long a full hub waits, once, for a host's first `StreamStdio`. Hosts send it together with their
/// first call, whose handler may print before `StreamStdio` gets to run.
const FIRST_READER: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Hub {
    state: Mutex<State>,
    /// Wakes capture threads when there is room again.
    room: Condvar,
}

/// A probe of the readers' connections: whether any of them has run since.
pub(super) struct Probe(Vec<(Liveness, u64)>);

impl Probe {
    fn send(readers: &[Liveness]) -> Self {
        Self(readers.iter().map(|reader| (reader.clone(), reader.probe())).collect())
    }

    fn is_answered(&self) -> bool {
        self.0.iter().any(|(reader, before)| reader.answers() != *before)
    }
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Channel, Bytes)>,
    bytes: usize,
    /// The connections of the readers.
    readers: Vec<Liveness>,
    dropped: u64,
    /// A reader has come, or the wait for it has timed out.
    first_reader: bool,
    ending: bool,
    closed: bool,
    waiting_to_read: Vec<Waker>,
    waiting_to_write: Vec<Waker>,
    waiting_for_empty: Vec<Waker>,
}

impl State {
    fn must_wait(&self) -> bool {
        !self.readers.is_empty() && self.bytes >= CAPACITY && !self.ending
    }

    fn awaits_first_reader(&self) -> bool {
        !self.first_reader && self.bytes >= CAPACITY && !self.ending
    }

    fn push(&mut self, channel: Channel, data: Bytes) {
        self.bytes += data.len();
        self.queue.push_back((channel, data));
        if self.readers.is_empty() {
            self.drop_oldest();
        }
        self.waiting_to_read.drain(..).for_each(Waker::wake);
    }

    fn drop_oldest(&mut self) {
        while self.bytes > CAPACITY {
            let Some((_, data)) = self.queue.front_mut() else { return };
            let cut = data.len().min(self.bytes - CAPACITY);
            let _ = data.split_to(cut);
            if data.is_empty() {
                self.queue.pop_front();
            }
            self.bytes -= cut;
            self.dropped += cut as u64;
        }
    }

    fn pop(&mut self) -> Option<(Channel, Bytes)> {
        let (channel, data) = self.queue.pop_front()?;
        self.bytes -= data.len();
        self.waiting_to_write.drain(..).for_each(Waker::wake);
        Some((channel, data))
    }
}

/// Registers a task to be woken, once even if it asks twice.
fn park(waiting: &mut Vec<Waker>, cx: &Context<'_>) {
    if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
        waiting.push(cx.waker().clone());
    }
}

impl Hub {
    /// Takes output from a thread that may block.
    ///
    /// A slow reader blocks that thread and, through the pipe, the code that prints. One kind of writer
    /// must not block: a handler that prints on the very thread that would carry the output to the host.
    /// In that case the connection does not get to run, which tells it apart from a slow reader. Until the
    /// connection has run, no writer waits again.
    pub(super) fn push_blocking(
        &self,
        channel: Channel,
        data: Bytes,
        unanswered: &mut Option<Probe>,
    ) {
        let mut state = self.state.lock();
        if state.awaits_first_reader() {
            let waits = |state: &mut State| state.awaits_first_reader();
            self.room.wait_while_for(&mut state, waits, FIRST_READER);
            state.first_reader = true;
        }
        while state.must_wait() {
            if unanswered.as_ref().is_some_and(|probe| !probe.is_answered()) {
                break;
            }
            let probe = Probe::send(&state.readers);
            let waits = |state: &mut State| state.must_wait();
            let waited = self.room.wait_while_for(&mut state, waits, PROBE_TIMEOUT);
            // Room may have come at the very moment of the time-out: then nothing is unanswered.
            if waited.timed_out() && state.must_wait() && !probe.is_answered() {
                *unanswered = Some(probe);
            }
        }
        state.push(channel, data);
    }

    /// Stops blocking writers: the plugin is about to end.
    pub(super) fn end_waiting(&self) {
        let mut state = self.state.lock();
        state.ending = true;
        state.waiting_to_write.drain(..).for_each(Waker::wake);
        drop(state);
        self.room.notify_all();
    }

    /// Ends the readers once they have read the rest: no more output will come.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.waiting_to_read.drain(..).for_each(Waker::wake);
        state.waiting_for_empty.drain(..).for_each(Waker::wake);
    }

    /// Waits until everything has been read, or there is no reader. The caller sets the deadline.
    pub(super) async fn emptied(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.state.lock();
            if state.readers.is_empty() || state.queue.is_empty() {
                return Poll::Ready(());
            }
            park(&mut state.waiting_for_empty, cx);
            Poll::Pending
        })
        .await;
    }

    /// Writes to the host's log how much was dropped since the last report.
    pub(super) fn report_dropped(&self) {
        let dropped = std::mem::take(&mut self.state.lock().dropped);
        if dropped > 0 {
            log::warn(&format!("{dropped} bytes of output were dropped: no host was reading"));
        }
    }

    fn subscribe(self: &Arc<Self>, connection: Liveness) -> Output {
        let mut state = self.state.lock();
        state.first_reader = true;
        state.readers.push(connection.clone());
        drop(state);
        self.room.notify_all();
        Output { hub: self.clone(), connection }
    }
}

/// One reader's stream. Each byte goes to one reader only.
pub(super) struct Output {
    hub: Arc<Hub>,
    /// The connection that carries this stream.
    connection: Liveness,
}

impl Drop for Output {
    fn drop(&mut self) {
        let mut state = self.hub.state.lock();
        if let Some(own) = state.readers.iter().position(|reader| reader.is(&self.connection)) {
            state.readers.swap_remove(own);
        }
        if state.readers.is_empty() {
            state.drop_oldest();
            state.waiting_to_write.drain(..).for_each(Waker::wake);
            state.waiting_for_empty.drain(..).for_each(Waker::wake);
        }
        drop(state);
        self.hub.room.notify_all();
    }
}

impl Stream for Output {
    type Item = Result<StdioData, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.hub.state.lock();
        let Some((channel, data)) = state.pop() else {
            state.waiting_for_empty.drain(..).for_each(Waker::wake);
            if state.closed {
                return Poll::Ready(None);
            }
            park(&mut state.waiting_to_read, cx);
            return Poll::Pending;
        };
        drop(state);
        self.hub.room.notify_all();
        Poll::Ready(Some(Ok(StdioData { channel: channel.into(), data })))
    }
}

/// Spec: STD-1.
#[tonic::async_trait]
impl GrpcStdio for Arc<Hub> {
    type StreamStdioStream = Output;

    async fn stream_stdio(&self, request: Request<()>) -> Result<Response<Output>, Status> {
        let connection = request.extensions().get::<Liveness>().cloned().unwrap_or_default();
        let output = self.subscribe(connection);
        // Nothing is dropped while there is a reader, so this number is final.
        self.report_dropped();
        Ok(Response::new(output))
    }
}

/// Writes to one channel of the host's stdio stream, and bypasses the process's own descriptors.
///
/// A write waits while the host reads slowly. While no host reads, the newest 256 KiB are kept. After the
/// plugin has ended, writes succeed and their data is dropped.
#[derive(Clone)]
pub struct StdioWriter {
    hub: Arc<Hub>,
    channel: Channel,
}

impl StdioWriter {
    pub(super) fn stdout(hub: &Arc<Hub>) -> Self {
        Self { hub: hub.clone(), channel: Channel::Stdout }
    }

    pub(super) fn stderr(hub: &Arc<Hub>) -> Self {
        Self { hub: hub.clone(), channel: Channel::Stderr }
    }
}

impl AsyncWrite for StdioWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.hub.state.lock();
        if state.must_wait() {
            park(&mut state.waiting_to_write, cx);
            return Poll::Pending;
        }
        let taken = buf.len().min(MAX_MESSAGE);
        if taken > 0 && !state.closed {
            state.push(self.channel, Bytes::copy_from_slice(&buf[..taken]));
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for StdioWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioWriter").field("channel", &self.channel).finish_non_exhaustive()
    }
}
