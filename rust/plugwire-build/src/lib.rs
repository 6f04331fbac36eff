//! **Promise: young.** It works and is tested; names may still change in a minor release.
//!
//! Generates code in the `build.rs` of a crate that uses `plugwire`: tonic's client and server for each service of a
//! `.proto` file, and an encoded descriptor set. The compiler is [protox], so `protoc` is not needed.
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), plugwire_build::Error> {
//!     plugwire_build::compile(&["proto/greeter.proto"], &["proto"])
//! }
//! ```
//!
//! ```text
//! // main.rs or lib.rs: a module for each package
//! mod contracts {
//!     include!(concat!(env!("OUT_DIR"), "/contracts.rs"));
//! }
//! use contracts::greeter::{GreetRequest, greeter_client::GreeterClient};
//!
//! // or a single package, as with tonic itself
//! mod greeter {
//!     tonic::include_proto!("greeter");
//! }
//! ```
//!
//! The generated code depends on `prost`, `tonic` (with its feature `codegen`) and `tonic-prost`, and on `prost-types` if
//! a contract uses the messages of google.protobuf. Prefer `prost` and `tonic` without their default features.
//!
//! # Differences from tonic's own output
//!
//! * **The message limit is raised** to 2 GiB - 1 in client and server, as in go-plugin's hosts. By default, tonic decodes
//!   messages of up to 4 MiB. The setter `max_decoding_message_size` still sets a lower limit.
//! * The client has no `connect`, because a plugin's channel comes from its host.
//! * `bytes` fields are [`Bytes`](prost::bytes::Bytes), which are read without a copy.
//! * Each package has a constant `DESCRIPTORS`: its encoded descriptor set with all imports, for reflection.
//!
//! Each call writes `contracts.rs` anew, so compile all contracts of a crate in one call, or give each call its own
//! [output directory](Contracts::out_dir).

mod contracts;
mod error;
mod generate;
mod limits;

pub use contracts::{Contracts, Generated, compile};
pub use error::Error;
