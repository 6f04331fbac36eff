//! go-plugin's gRPC protocol for Rust.

#[cfg(not(unix))]
compile_error!(
    "plugwire runs on Unix only: on Windows go-plugin listens on TCP and ends processes in other ways, and \
     nobody has built and proved that here yet"
);

pub mod broker;
#[allow(unreachable_pub)]
mod generated;
mod handshake;
pub mod host;
pub mod plugin;
mod services;
pub mod transport;

pub use broker::Broker;
pub use handshake::Handshake;
/// The contract that both roles share, without I/O.
pub use plugwire_protocol as protocol;
pub use services::Services;
pub use transport::{Channel, Http2};
