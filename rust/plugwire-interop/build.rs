//! Generates Rust code from the contracts in `proto/` that the tests speak.

use std::path::Path;

use plugwire_build::{Contracts, Error};

const PROTOS: [&str; 6] = [
    "greeter/greeter.proto",
    "grpc/health/v1/health.proto",
    "kv/kv.proto",
    "probe/broker_probe.proto",
    "probe/probe.proto",
    "streaming/streamer.proto",
];

fn main() -> Result<(), Error> {
    let root = Path::new("../../proto");
    PROTOS
        .iter()
        .fold(Contracts::new().include(root), |contracts, name| contracts.proto(root.join(name)))
        .compile()
}
