//! **Promise: internal.** What the example programs share: the generated contracts, the handshakes, and a [runner] that
//! starts plugins in Linux namespaces.
//!
//! Each program in `src/bin` is complete and short; `README.md` shows how to run it and what it prints.
//!
//! [runner]: namespace::Namespace

use plugwire::Handshake;

// One module for each proto package: `greeter`, and `proto` with the key-value store of go-plugin's `examples/grpc`.
include!(concat!(env!("OUT_DIR"), "/contracts.rs"));

/// The contract of go-plugin's `examples/bidirectional`.
pub mod counter {
    include!(concat!(env!("OUT_DIR"), "/counter/contracts.rs"));
}

pub mod namespace;

/// The handshake of the greeter.
pub const GREETER: Handshake = Handshake::new("GREETER_PLUGIN", "hello");
/// The handshake of go-plugin's own examples.
pub const BASIC: Handshake = Handshake::new("BASIC_PLUGIN", "hello");
