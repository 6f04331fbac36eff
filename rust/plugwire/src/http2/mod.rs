//! HTTP/2 and gRPC framing on the `h2` crate, shared by both roles and the broker.
//!
//! One call: a generated client hands its request to a [`Channel`], which writes the request to an HTTP/2 `connection`
//! over a byte stream of [`net`](crate::net). On the other side, `server` reads the request and hands it to the service.
//! Only the files of this directory use the `h2` crate.

pub(crate) mod body;
mod calls;
pub(crate) mod channel;
pub(crate) mod config;
pub(crate) mod connection;
mod deadline;
pub(crate) mod presence;
pub(crate) mod liveness;
pub(crate) mod server;
mod status;

pub use body::ResponseBody;
pub use channel::{CallFuture, Channel};
pub use config::Http2;
pub use connection::ConnectStep;
pub use status::NotProcessed;
