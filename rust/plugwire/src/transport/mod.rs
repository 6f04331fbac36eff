//! Sockets, mutual TLS and HTTP/2: what both roles and the broker stand on.
//!
//! The way of one call: a generated client hands its request to a [`Channel`], which writes it to the HTTP/2
//! connection of its `line`, over an `Io`; on the other side `server` takes it off and hands it to the
//! service. What `h2` is to us stays behind these files.

pub(crate) mod body;
mod calls;
pub(crate) mod channel;
mod clock;
pub(crate) mod folder;
pub(crate) mod limits;
pub(crate) mod line;
pub(crate) mod mux;
pub(crate) mod peers;
pub(crate) mod pulse;
pub(crate) mod server;
pub(crate) mod socket;
mod status;
pub(crate) mod tls;
pub(crate) mod translate;

pub use body::ResponseBody;
pub use channel::{CallFuture, Channel};
pub use limits::Http2;
pub use line::ConnectStep;
pub use socket::Address;
pub use status::Unseen;
pub use tls::Tls;
pub use translate::{Mounted, Translate};

use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream that HTTP/2 can run on: a socket, TLS on one, or one stream of a multiplexed session.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One virtual call per read or write buys a single compiled HTTP/2 stack for all kinds of streams.
pub(crate) type BoxIo = Box<dyn Io>;
