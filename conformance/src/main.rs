//! The program `plugwire-conformance`.
fn main() {}
