//! **Promise: young.** It works and is tested; names may still change in a minor release.
//!
//! For the `build.rs` of a crate that uses `plugwire`: a `.proto` goes in, tonic's client and server and an encoded
//! descriptor set come out. The compiler is [protox], so `protoc` need not be installed.
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), plugwire_build::Error> {
//!     plugwire_build::compile(&["proto/greeter.proto"], &["proto"])
//! }
//! ```
//!
//! ```text
//! // main.rs or lib.rs: every package as a module
//! mod contracts {
//!     include!(concat!(env!("OUT_DIR"), "/contracts.rs"));
//! }
//! use contracts::greeter::{GreetRequest, greeter_client::GreeterClient};
//!
//! // or one package alone, as with tonic itself
//! mod greeter {
//!     tonic::include_proto!("greeter");
//! }
//! ```
//!
//! The generated code needs `prost`, `tonic` (its feature `codegen`) and `tonic-prost` as dependencies, and
//! `prost-types` where a contract uses google.protobuf's messages. `prost` and `tonic` are best taken without their
//! default features.
//!
//! # What differs from tonic's own output
//!
//! * **The message limit is lifted** to 2 GiB - 1 in both stubs, as in go-plugin's hosts. tonic's own default is 4 MiB for
//!   what it decodes. The setter `max_decoding_message_size` still sets a lower one.
//! * The client has no `connect`: a plugin's channel comes from its host.
//! * `bytes` fields are [`Bytes`](prost::bytes::Bytes), which are read without a copy.
//! * Each package has a constant `DESCRIPTORS`: its encoded descriptor set with all imports, for reflection.
//!
//! One call writes `contracts.rs`, so that a crate compiles all its contracts in one.

mod contracts;
mod error;
mod generate;
mod limits;

pub use contracts::{Contracts, Generated, compile};
pub use error::Error;
