//! HTTP/2 and gRPC framing on the `h2` crate, shared by both roles and the broker.
//!
//! One call takes this way: a generated client hands its request to a [`Channel`], which makes a
//! [`CallFuture`] of it. `call` sends the request on the channel's `connection` over a byte stream of
//! [`net`](crate::net); `pump` writes its body. On the other side, `server` reads the request and
//! `routes` finds the service. Only the files of this directory use the `h2` crate.

mod body;
mod call;
mod calls;
mod channel;
mod config;
mod connection;
mod deadline;
mod guests;
mod inbound;
mod keep_alive;
mod liveness;
mod memory;
mod messages;
mod peer;
mod presence;
mod pump;
mod routes;
mod server;
mod status;

pub use body::ResponseBody;
pub use call::CallFuture;
pub use channel::Channel;
pub use config::Http2;
pub(crate) use config::PeerLimits;
pub use connection::ConnectStep;
#[cfg(feature = "host")]
pub(crate) use connection::Redial;
pub(crate) use connection::Settings;
pub(crate) use guests::{Guest, Guests};
#[cfg(feature = "plugin")]
pub(crate) use liveness::Liveness;
pub(crate) use peer::{Cause, Peer};
#[cfg(feature = "plugin")]
pub(crate) use presence::Presence;
pub(crate) use routes::{Dispatch, Routes};
pub(crate) use server::Server;
pub use status::NotProcessed;
