//! Written by `cargo xtask codegen` from the files in proto/, not by hand.

#[allow(warnings, missing_docs, unreachable_pub, missing_debug_implementations)]
#[allow(clippy::all, clippy::pedantic, rustdoc::all)]
pub mod proto {
    include!("proto.rs");
}
