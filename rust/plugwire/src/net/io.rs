//! The byte stream that HTTP/2 runs on.

use tokio::io::{AsyncRead, AsyncWrite};

/// A socket, TLS on one, or one stream of a multiplexed session.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One virtual call for each read or write buys a single compiled HTTP/2 stack for all kinds of streams.
pub(crate) type BoxIo = Box<dyn Io>;
