//! **Promise: internal.** Tests plugwire against real Go peers.
//!
//! The library holds what the tests share: [`go`] builds the peers of `sdk-go-compat`, [`probe`] is
//! the probe contract in Rust, [`rust`] finds our own programs, [`leaks`] counts what is left
//! behind, [`snapshot`] compares texts, [`sandbox`] isolates tests, [`chance`] makes things happen
//! at random times, [`promise`] allows for busy machines, [`collected`] takes what plugins write,
//! [`broker_probe`] is the contract for the broker, [`brokered`] a Rust host with a plugin for it,
//! and [`scenarios`] makes a Rust host perform what the Go probe host performs.
//!
//! The tests that need Go are one target (`tests/go`), the others another (`tests/rust`), so that a
//! run without Go leaves out whole, counted tests.

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

/// The handshake of the greeter, in Go and in Rust.
pub const GREETER: Handshake = Handshake::new("GREETER_PLUGIN", "hello");
/// The handshake of the probe.
pub const PROBE: Handshake = Handshake::new("PLUGWIRE_PROBE", "plugwire");
/// The handshake of go-plugin's own examples.
pub const BASIC: Handshake = Handshake::new("BASIC_PLUGIN", "hello");

/// The releases of go-plugin that are tested in both roles, each with the grpc-go it pins; the last
/// entry uses the newest grpc-go.
pub const RELEASES: [&str; 5] = ["1.4.8", "1.6.3", "1.7.0", "1.8.0", "1.8.0-newest"];

/// Returns whether tests with `soak` in their name run at full length (`cargo xtask soak`).
pub fn soaks() -> bool {
    std::env::var_os("PLUGWIRE_SOAK").is_some()
}

/// Returns whether Go is left out (`cargo xtask test --without-go`). Tests of both languages then
/// test Rust alone.
pub fn without_go() -> bool {
    std::env::var_os("PLUGWIRE_WITHOUT_GO").is_some()
}

/// Reports what a test could not show on this system. Writes directly to standard error, because
/// the test harness hides the output of a passing test.
pub fn not_here(why: &str) {
    use std::io::Write;
    let test = std::thread::current();
    let name = test.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "NOT SHOWN HERE: {name}: {why}");
}
