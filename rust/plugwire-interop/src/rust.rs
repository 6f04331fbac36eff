//! Where our own programs are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::built;
use crate::go::root;

/// A program of this crate: `probe-plugin`.
pub fn program(name: &str) -> PathBuf {
    target().join(name)
}

/// An example of the plugwire crate: `greeter-plugin`, `kv-host`… Built now if it is not up to date.
pub fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(&["--package", "plugwire", "--examples"]));
    target().join("examples").join(name)
}

/// The conformance suite. Built now if it is not up to date.
pub fn suite() -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(&["--package", "plugwire-conformance", "--bins"]));
    target().join("plugwire-conformance")
}

/// Returns a program's path as a word of a shell command: the examples' hosts are given commands.
pub fn in_shell(program: &Path) -> String {
    format!("'{}'", program.display())
}

fn build(what: &[&str]) {
    if built() {
        return;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["build", "--quiet"]).args(what);
    // `cargo test` describes this package in variables that some build scripts watch: with them everything would be
    // built again, and once more by the next `cargo test`.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo runs").success(), "{what:?} does not build");
}

/// The folder that this test's own program was built into.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test is a program");
    test.ancestors().nth(2).expect("target/debug/deps/test").to_owned()
}
