//! go-plugin's gRPC protocol for Rust. **Promise: young**: it works and is proved, and its names may still change between
//! minor releases.
//!
//! hashicorp/go-plugin runs plugins as processes of their own: the host starts the plugin, the plugin prints one line that
//! says where it listens, and the rest is gRPC. With this crate a Rust program is either side of that, opposite Go or
//! Rust: it loads an existing Go plugin, or it is a plugin for an existing Go host.
//!
//! ```text
//!   host                                            plugin
//!   ────                                            ──────
//!   host::Launch::start ── process, environment ──▶ plugin::Plugin::serve
//!                      ◀── the handshake line ─────
//!   PluginHandle::channel ═══ mutual TLS, HTTP/2 ═══▶ Services
//!   Broker              ◀══ further connections ══▶ Broker
//! ```
//!
//! # A plugin
//!
//! ```no_run
//! use plugwire::{Handshake, plugin::Plugin};
//!
//! const GREETER: Handshake = Handshake::new("GREETER_PLUGIN", "hello");
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> std::process::ExitCode {
//!     Plugin::new(GREETER)
//!         .version(1, |services, _broker| services /* .add(GreeterServer::new(English)) */)
//!         .serve()
//!         .await
//! }
//! ```
//!
//! # A host
//!
//! ```no_run
//! use plugwire::{Handshake, host::Launch};
//!
//! const GREETER: Handshake = Handshake::new("GREETER_PLUGIN", "hello");
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let plugin = Launch::new(GREETER, "./greeter").version(1).start().await?;
//! let channel = plugin.channel(); // for tonic's generated clients: GreeterClient::new(channel)
//! plugin.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Stubs come from a `.proto` by `plugwire-build` (no protoc, no message limits) or by tonic's own generator.
//!
//! # What is on by default
//!
//! Mutual TLS with a fresh key for each start, the peer's exact certificate pinned and its signature verified; a clean
//! environment for the plugin; a private folder for its sockets; no HTTP/2 pings. What gives up a protection
//! is behind [`host::Launch::dangerous`]. The crate has no features to choose.
//!
//! # Cancel safety
//!
//! Dropping a call's future or its response stream cancels the call at the other side. Dropping
//! [`host::Launch::start`]'s future kills what it started. Dropping the last clone of a [`host::PluginHandle`] shuts the
//! plugin down in the background. Dropping [`plugin::Plugin::serve`]'s future stops serving at once.
//! Each method that differs says so.
//!
//! # Process lifetime
//!
//! A plugin ends with its host, however the host ends. It is the leader of a process group of its own, and the group is
//! killed when its leader has ended, when a shutdown takes too long, and when the host's tokio runtime goes away. Should
//! the host be killed outright, a guardian does it: one small shell process, started with the first plugin. On Linux
//! the plugin also gets a parent-death signal. Each plugin has a thread in the host, which waits for it.
//! [`host::Launch::outlives_host`] opts out. A plugin in Rust notices by itself that its host is gone, also under Go
//! hosts. `docs/lifetime.md` has every case, and what is out of reach.
//!
//! # Limits
//!
//! Both roles need tokio with I/O and time enabled, and a C compiler at build time (ring and aws-lc-rs). Unix only;
//! proved on Linux.

#![deny(unsafe_code)]

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
pub mod http2;
pub mod net;
mod panic;
pub mod plugin;
mod services;

pub use broker::Broker;
pub use handshake::Handshake;
pub use http2::{Channel, Http2};
/// The contract that both roles share, without I/O.
pub use plugwire_protocol as protocol;
pub use services::Services;
