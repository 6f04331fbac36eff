//! Keeps a peer from opening calls faster than they are taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// How many calls may be opened before those that are waiting are taken.
const TURN: usize = 256;

/// h2 reads as long as there is something, before it hands out the calls that were opened: a peer that
/// opens calls and takes them back would never be slowed down. So reading stops after some calls, until
/// none is waiting. A clone is the same turn.
#[derive(Clone, Default)]
pub(in crate::http2) struct Turn(Arc<State>);

struct State {
    left: AtomicUsize,
    reader: AtomicWaker,
}

impl Default for State {
    fn default() -> Self {
        Self { left: AtomicUsize::new(TURN), reader: AtomicWaker::new() }
    }
}

impl Turn {
    /// Is ready while more may be read.
    pub(super) fn poll_more(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.left.load(Ordering::Acquire) > 0 {
            return Poll::Ready(());
        }
        self.0.reader.register(cx.waker());
        match self.0.left.load(Ordering::Acquire) {
            0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    /// Counts a call.
    pub(super) fn opened(&self) {
        let left = self.0.left.load(Ordering::Relaxed);
        self.0.left.store(left.saturating_sub(1), Ordering::Release);
    }

    /// Begins a new turn: all calls were taken.
    pub(in crate::http2) fn renew(&self) {
        if self.0.left.swap(TURN, Ordering::AcqRel) == 0 {
            self.0.reader.wake();
        }
    }
}
