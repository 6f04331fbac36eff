//! Generates Rust code from the contracts in `proto/`, as the build script of any crate that uses plugwire does.

use std::error::Error;
use std::path::Path;

use plugwire_build::Contracts;

fn main() -> Result<(), Box<dyn Error>> {
    plugwire_build::compile(
        &["../proto/greeter/greeter.proto", "../proto/kv/kv.proto"],
        &["../proto"],
    )?;
    // The counter's package is called `proto`, like the key-value store's, and both define a `GetRequest`.
    let counter = Path::new(&std::env::var("OUT_DIR")?).join("counter");
    Contracts::new()
        .proto("../proto/counter/counter.proto")
        .include("../proto")
        .out_dir(counter)
        .compile()?;
    Ok(())
}
