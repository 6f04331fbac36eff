//! **Promise: internal.** go-plugin's gRPC protocol once more, for the conformance suite alone: on raw `h2`, `rustls` and
//! sockets, with every byte within reach, and able to do it wrong.
//!
//! It shares nothing with the library that the suite judges, not even a parser: a mistake on both sides would agree with
//! itself. It follows `docs/spec.md`. What it sees goes into a [`trace::Trace`].
//!
//! The way up from the bytes: [`socket`], [`tls`], [`yamux`], then gRPC's two ends, [`caller`] and [`answerer`], with the
//! [`messages`] that they carry. Beside them the texts: [`mod@line`], [`environment`], [`identity`]. [`process`] starts
//! programs and leaves none behind.

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
