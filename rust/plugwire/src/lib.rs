//! go-plugin's gRPC protocol for Rust. **Promise: young**: it works and is tested, and its names may still
//! change between minor releases.
//!
//! hashicorp/go-plugin runs plugins as separate processes: the host starts the plugin, the plugin prints
//! one line that says where it listens, and the rest is gRPC. With this crate a Rust program can be either
//! side, opposite Go or Rust: it loads an existing Go plugin, or it is a plugin for an existing Go host.
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
//! `plugwire-build` generates stubs from a `.proto` (without protoc, and without message size limits);
//! tonic's own generator works as well.
//!
//! # Features
//!
//! - `host` (default): the [`host`] module, for programs that start plugins.
//! - `plugin` (default): the [`plugin`] module, for programs that are plugins.
//!
//! A program with one role can turn the other one off, and its dependencies with it:
//! `plugwire = { version = "0.1", default-features = false, features = ["plugin"] }`.
//!
//! # Secure defaults
//!
//! By default, each start uses mutual TLS with a fresh key: the peer's exact certificate is pinned, and its
//! signature verified. The plugin gets a clean environment and a private directory for its sockets. There
//! are no HTTP/2 pings. Every setting that weakens a protection is behind [`host::Launch::dangerous`].
//!
//! # Cancel safety
//!
//! Dropping a call's future or its response stream cancels the call on the other side. Dropping the future
//! of [`host::Launch::start`] kills the process that it started. Dropping the last clone of a
//! [`host::PluginHandle`] shuts the plugin down in the background. Dropping the future of
//! [`plugin::Plugin::serve`] stops serving at once. Methods that differ say so.
//!
//! # Process lifetime
//!
//! A plugin ends with its host, however the host ends. The plugin leads a process group of its own. The
//! group is killed when its leader has exited, when a shutdown takes too long, and when the host's tokio
//! runtime is dropped. If the host itself is killed, a guardian kills the group: a small shell process that
//! is started with the first plugin. On Linux the plugin also gets a parent-death signal. The host has one
//! thread for each plugin, which waits for its exit. [`host::Launch::outlives_host`] opts out. A plugin in
//! Rust also notices by itself that its host is gone, including under Go hosts. `docs/lifetime.md` lists
//! every case, and what cannot be covered.
//!
//! # Requirements
//!
//! Both roles need tokio with I/O and time enabled, and a C compiler at build time (for ring and
//! aws-lc-rs). Tested on Linux x86-64. macOS is untested; Windows is not supported.

#![deny(unsafe_code)]

#[cfg(not(unix))]
compile_error!(
    "plugwire supports Unix only: on Windows, go-plugin listens on TCP and ends processes differently, and \
     plugwire does not implement that yet"
);
#[cfg(not(any(feature = "host", feature = "plugin")))]
compile_error!(
    "plugwire needs a role: enable the feature `host` to start plugins, `plugin` to be one, or both (the \
     default)"
);

pub mod broker;
#[allow(unreachable_pub)]
mod generated;
mod handshake;
#[cfg(feature = "host")]
pub mod host;
pub mod http2;
pub mod net;
mod panic;
#[cfg(feature = "plugin")]
pub mod plugin;
mod services;
mod time;

pub use broker::Broker;
pub use handshake::Handshake;
pub use http2::{Channel, Http2};
/// The contract that both roles share, without I/O.
pub use plugwire_protocol as protocol;
pub use services::{Services, TonicService};
