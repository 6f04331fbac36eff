//! The first frame of a plugin: HTTP/2 begins with SETTINGS, and only they prove that the peer
//! speaks it (GRPC-12).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use plugwire_conformance_wire::caller::Caller;
use plugwire_conformance_wire::socket::Io;
use plugwire_conformance_wire::trace::Trace;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// The length of a frame's head, and where its type stands in there.
const HEAD: usize = 9;
const TYPE: usize = 3;
const SETTINGS: u8 = 4;

/// Begins HTTP/2, and waits until the other side has begun as well. Fails with what came instead.
pub(super) async fn connect(
    io: Io,
    authority: &str,
    name: &str,
    trace: &Trace,
) -> Result<Caller, String> {
    let (tell, greeting) = oneshot::channel();
    let io = Box::new(Listening { io, head: Vec::new(), tell: Some(tell) });
    let caller = Caller::connect(io, authority, name, trace).await.map_err(|e| e.to_string())?;
    let head = tokio::select! {
        biased;
        Ok(head) = greeting => head,
        how = caller.ended() => return Err(format!("the connection ended: {how}")),
    };
    match head[TYPE] {
        SETTINGS => Ok(caller),
        _ => Err(format!("not HTTP/2: {head:02x?}")),
    }
}

/// A connection that reports its first bytes.
struct Listening {
    io: Io,
    head: Vec<u8>,
    tell: Option<oneshot::Sender<Vec<u8>>>,
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, into))?;
        if self.tell.is_some() {
            let missing = HEAD - self.head.len();
            self.head.extend(into.filled()[before..].iter().take(missing));
        }
        if self.head.len() == HEAD
            && let Some(tell) = self.tell.take()
        {
            // The receiver is gone if the connection was given up.
            let _ = tell.send(std::mem::take(&mut self.head));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Listening {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
