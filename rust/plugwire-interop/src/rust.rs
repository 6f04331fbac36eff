//! Finds our own programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::built;
use crate::go::root;

/// Returns the path of a program of this crate, such as `probe-plugin`.
pub fn program(name: &str) -> PathBuf {
    target().join(name)
}

/// Returns the path of a program of the examples crate, such as `greeter-plugin` or `kv-host`.
/// Builds the examples first if they are out of date.
pub fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(&["--package", "plugwire-examples", "--bins"]));
    program(name)
}

/// Returns the path of the conformance suite. Builds it first if it is out of date.
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
    // `cargo test` describes this package in variables that some build scripts watch: if they were
    // set here, everything would be built again, and once more by the next `cargo test`.
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

/// Returns the directory that holds this test's own program.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test's program");
    test.ancestors().nth(2).expect("target/debug/deps/test").to_owned()
}
