//! Where our own programs are.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::go::root;

/// A program of this crate: `probe-plugin`.
pub fn program(name: &str) -> PathBuf {
    target().join(name)
}

/// An example of the plugwire crate: `greeter-plugin`, `kv-host`… Built now if it is not up to date.
pub fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root()).args(["build", "--quiet", "--package", "plugwire", "--examples"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo runs").success(), "the examples do not build");
    });
    target().join("examples").join(name)
}

/// The folder that this test's own program was built into.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test is a program");
    test.ancestors().nth(2).expect("target/debug/deps/test").to_owned()
}
