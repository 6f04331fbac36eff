//! go-plugin's contract without I/O: what a host and a plugin say to each other before and beside
//! their gRPC connection, as pure functions from bytes to values and back.
//!
//! This crate is **stable**: within a major version nothing public is removed or changes its
//! meaning. It reads no file, no clock and no environment, starts nothing and never panics on what
//! a peer sends. Each error is a value that can be compared, carries the offending text
//! in a form that may be printed, and has a code that does not change.
//!
//! | Module | What it is about |
//! |---|---|
//! | [`handshake`] | the line with which a plugin says where it listens |
//! | [`environment`] | the variables that a host sets and a plugin reads |
//! | [`negotiation`] | which app protocol version a plugin serves |
//! | [`certificate`] | certificates of mutual TLS, in the line and in a variable |
//! | [`reattach`] | the record of a plugin that somebody else started |
//! | [`hclog`] | log lines, and everything else on a plugin's standard error |
//! | [`evidence`] | a peer's text, made fit to be shown |
//!
//! A plugin announces itself, and its host understands:
//!
//! ```
//! use plugwire_protocol::handshake::{Expectation, HandshakeLine, MultiplexWish, Network};
//!
//! let announced = HandshakeLine {
//!     core_version: 1,
//!     app_version: 5,
//!     network: Network::Unix,
//!     address: "/tmp/plugin123".to_owned(),
//!     certificate: None,
//!     multiplex: None,
//! };
//! assert_eq!(announced.to_line(), "1|5|unix|/tmp/plugin123|grpc|");
//!
//! let expected = Expectation { app_versions: &[4, 5], multiplex: MultiplexWish::No };
//! let understood = HandshakeLine::parse(b"1|5|unix|/tmp/plugin123|grpc|\n", &expected)?;
//! assert_eq!(understood, announced);
//! # Ok::<(), plugwire_protocol::handshake::HandshakeError>(())
//! ```

#![forbid(unsafe_code)]

pub mod certificate;
pub mod environment;
pub mod evidence;
pub mod handshake;
pub mod hclog;
pub mod negotiation;
pub mod reattach;
