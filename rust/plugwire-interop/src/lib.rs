//! **Promise: internal.** Proof against real Go peers.
//!
//! The library is what the tests share: [`go`] builds the peers of `sdk-go-compat`, [`probe`] is the probe contract in
//! Rust, [`rust`] knows where our own programs are, [`leaks`] counts what is left, [`snapshot`] compares texts, [`sandbox`] keeps tests apart, [`chance`] lets things happen at
//! random, [`promise`] is patient with busy machines, [`collected`] takes what plugins write, [`broker_probe`] is the contract for the broker and [`brokered`] a Rust host with its plugin there,
//! and [`scenarios`] makes a Rust host play what the Go probe host plays. The tests that need Go are one target
//! (`tests/go`), the others another (`tests/rust`), so that leaving Go out leaves out whole and counted tests.

pub mod broker_probe;
pub mod brokered;
pub mod chance;
pub mod collected;
pub mod generated;
pub mod go;
pub mod leaks;
pub mod own_tls;
pub mod probe;
pub mod promise;
pub mod rust;
pub mod sandbox;
pub mod scenarios;
pub mod scene;
pub mod snapshot;

use plugwire::Handshake;

/// The greeter's cookie, in Go and in Rust.
pub const GREETER: Handshake = Handshake::new("GREETER_PLUGIN", "hello");
/// The probe's.
pub const PROBE: Handshake = Handshake::new("PLUGWIRE_PROBE", "plugwire");
/// The cookie of go-plugin's own examples.
pub const BASIC: Handshake = Handshake::new("BASIC_PLUGIN", "hello");

/// The releases of go-plugin that have both roles, each with the grpc-go that it pins; the last with the newest.
pub const RELEASES: [&str; 5] = ["1.4.8", "1.6.3", "1.7.0", "1.8.0", "1.8.0-newest"];

/// Whether tests with `soak` in their name run in full length (`cargo xtask soak`).
pub fn soaks() -> bool {
    std::env::var_os("PLUGWIRE_SOAK").is_some()
}

/// Whether `cargo xtask test` has built all programs already, ours and the Go peers, so that no test has to look.
pub(crate) fn built() -> bool {
    std::env::var_os("PLUGWIRE_BUILT").is_some()
}

/// Whether Go is left out (`cargo xtask test --without-go`). Tests that look at both languages then look at Rust alone.
pub fn without_go() -> bool {
    std::env::var_os("PLUGWIRE_WITHOUT_GO").is_some()
}

/// Says what a test could not show on this system, past the harness that keeps a passing test's output.
pub fn not_here(why: &str) {
    use std::io::Write;
    let test = std::thread::current();
    let name = test.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "NOT SHOWN HERE: {name}: {why}");
}
