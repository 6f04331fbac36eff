//! go-plugin's contract without I/O: everything that a host and a plugin exchange outside their gRPC
//! connection, as pure functions from bytes to values and back.
//!
//! **Promise: stable.** Within a major version, nothing public is removed or changes its meaning.
//! The crate reads no files, no clock and no environment variables, starts no processes, and never
//! panics on input from a peer. Each error is a value that can be compared, carries the offending
//! text in a printable form, and has a code that does not change.
//!
//! | Module | Contents |
//! |---|---|
//! | [`handshake`] | the line in which a plugin announces its address |
//! | [`environment`] | the variables that a host sets and a plugin reads |
//! | [`negotiation`] | which app protocol version a plugin serves |
//! | [`certificate`] | certificates for mutual TLS, in the line and in a variable |
//! | [`reattach`] | the record from which a host finds a running plugin |
//! | [`hclog`] | log lines, and everything else on a plugin's standard error |
//! | [`evidence`] | text from a peer, escaped so that it can be printed |
//!
//! A plugin announces itself, and its host reads the line:
//!
//! ```
//! use plugwire_protocol::handshake::{Expectation, HandshakeLine, Network};
//!
//! let announced = HandshakeLine::new(5, Network::Unix, "/tmp/plugin123");
//! assert_eq!(announced.to_line()?, b"1|5|unix|/tmp/plugin123|grpc|");
//!
//! let expected = Expectation::new(&[4, 5]);
//! let understood = HandshakeLine::parse(b"1|5|unix|/tmp/plugin123|grpc|\n", &expected)?;
//! assert_eq!(understood, announced);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod certificate;
pub mod environment;
pub mod evidence;
pub mod handshake;
pub mod hclog;
pub mod negotiation;
pub mod reattach;
