//! The turn of one dial at a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedMutexGuard;

use crate::net::BoxIo;

/// The right to be the only dial between knock and stream.
pub(super) type Turn = OwnedMutexGuard<()>;

/// A stream that holds the dialler's turn until the peer's first byte arrives. The byte shows that the
/// right listener has taken the stream.
pub(super) struct UntilTaken {
    io: BoxIo,
    turn: Option<Turn>,
}

impl UntilTaken {
    pub(super) fn new(io: BoxIo, turn: Turn) -> Self {
        Self { io, turn: Some(turn) }
    }
}

impl AsyncRead for UntilTaken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.turn = None;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UntilTaken {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
