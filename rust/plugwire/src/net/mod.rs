//! Addresses, listeners, mutual TLS and multiplexing: the byte streams that HTTP/2 runs on.

pub(crate) mod mux;
pub(crate) mod socket;
pub(crate) mod tls;
pub(crate) mod translate;

pub use socket::Address;
pub use tls::Tls;
pub use translate::{AddrTranslator, Mounted};

use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream that HTTP/2 can run on: a socket, TLS on one, or one stream of a multiplexed session.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One virtual call per read or write buys a single compiled HTTP/2 stack for all kinds of streams.
pub(crate) type BoxIo = Box<dyn Io>;
