//! What the plugin prints, on its way to the host.
//!
//! Captured descriptors, explicit handles and the `StreamStdio` call meet in one [`Hub`]. With somebody reading, a
//! full hub slows the writers; with nobody reading it keeps the newest output and counts what it drops.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::generated::plugin::grpc_stdio_server::GrpcStdio;
use crate::generated::plugin::{StdioData, stdio_data::Channel};
use crate::http2::liveness::Pulse;

/// What waits at most: unread output while a host reads, the newest output while none does.
const CAPACITY: usize = 256 * 1024;
/// The longest message on the stream. Go's plugins send 1 KiB; hosts take any length.
const LONGEST_MESSAGE: usize = 32 * 1024;
/// How long a full hub waits for a sign that the connection to the host still moves.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// How long a full hub waits, once, for a host's very first `StreamStdio`. Hosts send it with their first call, and the
/// handler of that call may print before the other gets to run.
const FIRST_READER: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Hub {
    state: Mutex<State>,
    /// Wakes capture threads when there is room again.
    room: Condvar,
}

/// What the readers' connections were asked, and have not answered yet.
pub(super) struct Heartbeat(Vec<(Pulse, u64)>);

impl Heartbeat {
    fn ask(readers: &[Pulse]) -> Self {
        Self(readers.iter().map(|pulse| (pulse.clone(), pulse.ask())).collect())
    }

    fn came(&self) -> bool {
        self.0.iter().any(|(pulse, asked)| pulse.beats() != *asked)
    }
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Channel, Bytes)>,
    bytes: usize,
    readers: Vec<Pulse>,
    dropped: u64,
    /// A reader came, or was waited for in vain.
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

/// A task that asks twice is woken once.
fn park(waiting: &mut Vec<Waker>, cx: &Context<'_>) {
    if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
        waiting.push(cx.waker().clone());
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes output from a thread that may be blocked.
    ///
    /// A slow reader blocks it, and through the pipe whoever prints. One writer must not be blocked: a handler that
    /// prints on the very thread that would carry the output to the host. A connection that does not get to run tells
    /// that case from a slow reader; as long as it has not run, nobody waits again.
    pub(super) fn push_blocking(
        &self,
        channel: Channel,
        data: Bytes,
        unanswered: &mut Option<Heartbeat>,
    ) {
        let mut state = self.lock();
        if state.awaits_first_reader() {
            (state, _) = self
                .room
                .wait_timeout_while(state, FIRST_READER, |state| state.awaits_first_reader())
                .unwrap_or_else(PoisonError::into_inner);
            state.first_reader = true;
        }
        while state.must_wait() {
            if unanswered.as_ref().is_some_and(|heartbeat| !heartbeat.came()) {
                break;
            }
            let heartbeat = Heartbeat::ask(&state.readers);
            let (woken, waited) = self
                .room
                .wait_timeout_while(state, HEARTBEAT, |state| state.must_wait())
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if waited.timed_out() && !heartbeat.came() {
                *unanswered = Some(heartbeat);
            }
        }
        state.push(channel, data);
    }

    /// From now on nobody waits for a slow reader: the plugin is about to end.
    pub(super) fn end_waiting(&self) {
        let mut state = self.lock();
        state.ending = true;
        state.waiting_to_write.drain(..).for_each(Waker::wake);
        drop(state);
        self.room.notify_all();
    }

    /// No more output will come; readers end when they have taken what is left.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting_to_read.drain(..).for_each(Waker::wake);
        state.waiting_for_empty.drain(..).for_each(Waker::wake);
    }

    /// Resolves when a reader has taken everything, or nobody reads. The caller sets the deadline.
    pub(super) async fn emptied(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if state.readers.is_empty() || state.queue.is_empty() {
                return Poll::Ready(());
            }
            park(&mut state.waiting_for_empty, cx);
            Poll::Pending
        })
        .await;
    }

    /// Says in the host's log what was dropped since the last time.
    pub(super) fn report_dropped(&self) {
        let dropped = std::mem::take(&mut self.lock().dropped);
        if dropped > 0 {
            super::log::warn(&format!(
                "{dropped} bytes of output were dropped: no host was reading"
            ));
        }
    }

    pub(super) fn subscribe(self: &Arc<Self>, pulse: Pulse) -> Output {
        let mut state = self.lock();
        state.first_reader = true;
        state.readers.push(pulse.clone());
        drop(state);
        self.room.notify_all();
        Output { hub: self.clone(), pulse }
    }
}

/// One reader's stream. Every byte goes to one reader only.
pub(super) struct Output {
    hub: Arc<Hub>,
    /// Of the connection that it goes out by.
    pulse: Pulse,
}

impl Drop for Output {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        if let Some(own) = state.readers.iter().position(|pulse| pulse.is(&self.pulse)) {
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
        let mut state = self.hub.lock();
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
        let pulse = request.extensions().get::<Pulse>().cloned().unwrap_or_default();
        let output = self.subscribe(pulse);
        // Nothing is dropped from here on, so this is all of it.
        self.report_dropped();
        Ok(Response::new(output))
    }
}

/// Writes to one channel of the host's stdio stream, past the process's own descriptors.
///
/// A write waits while the host reads slowly. While no host reads, the newest 256 KiB are kept. After the plugin has
/// ended writes are taken and lost, as writes to a closed terminal are.
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
        let mut state = self.hub.lock();
        if state.must_wait() {
            park(&mut state.waiting_to_write, cx);
            return Poll::Pending;
        }
        let taken = buf.len().min(LONGEST_MESSAGE);
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
