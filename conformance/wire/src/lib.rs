//! **Promise: internal.** A second implementation of go-plugin's gRPC protocol, for the conformance
//! suite only: on raw `h2`, `rustls` and sockets, with access to every byte, and able to violate
//! the protocol.
//!
//! It shares nothing with the library that the suite judges, not even a parser: the same mistake on
//! both sides would go unnoticed. It follows `docs/spec.md`. What it sees goes into a
//! [`trace::Trace`].
//!
//! From the bytes up: [`socket`], [`tls`], [`yamux`], then gRPC's two ends, [`caller`] and
//! [`answerer`], the [`messages`] that they carry, and the [`broker`]'s stream. Beside them the
//! texts: [`mod@line`], [`environment`], [`identity`], [`hclog`]. [`process`] starts programs and
//! leaves none behind.

pub mod answerer;
pub mod broker;
pub mod caller;
pub mod environment;
pub mod grpc;
pub mod hclog;
pub mod identity;
pub mod line;
pub mod messages;
pub mod process;
pub mod socket;
pub mod tls;
pub mod trace;
pub mod yamux;
