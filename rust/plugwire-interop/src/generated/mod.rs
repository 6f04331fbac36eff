//! Written by `cargo xtask codegen` from the files in proto/, not by hand.

#[allow(warnings, missing_docs, unreachable_pub, missing_debug_implementations)]
#[allow(clippy::all, clippy::pedantic, rustdoc::all)]
pub mod greeter {
    include!("greeter.rs");
}
#[allow(warnings, missing_docs, unreachable_pub, missing_debug_implementations)]
#[allow(clippy::all, clippy::pedantic, rustdoc::all)]
pub mod grpc {
    pub mod health {
        pub mod v1 {
            include!("grpc.health.v1.rs");
        }
    }
}
#[allow(warnings, missing_docs, unreachable_pub, missing_debug_implementations)]
#[allow(clippy::all, clippy::pedantic, rustdoc::all)]
pub mod plugwire {
    pub mod probe {
        pub mod v1 {
            include!("plugwire.probe.v1.rs");
        }
    }
}
#[allow(warnings, missing_docs, unreachable_pub, missing_debug_implementations)]
#[allow(clippy::all, clippy::pedantic, rustdoc::all)]
pub mod proto {
    include!("proto.rs");
}
