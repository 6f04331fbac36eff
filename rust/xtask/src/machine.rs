//! Where things are on this machine, and what is missing on it.

use std::{
    env,
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Tells the tests that have a long form to take it.
pub(crate) const SOAK: &str = "PLUGWIRE_SOAK";
/// The test harness's own setting.
const TEST_THREADS: &str = "RUST_TEST_THREADS";

/// The checkout's root folder.
pub(crate) fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root.pop();
    root
}

/// Cargo's build folder.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// A cargo command in the checkout's root folder, with the environment that a user's own command would have:
/// `cargo run` describes this package in variables that some build scripts watch, and would run again for. Which tests
/// take their long form is said by this program alone.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command.env_remove(SOAK);
    command
}

/// Whether the command can be run and ends well. Its output is thrown away.
pub(crate) fn works(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

pub(crate) fn has_go() -> bool {
    works(Command::new("go").arg("version"))
}

/// ring and aws-lc-rs are built from C.
pub(crate) fn has_c_compiler() -> bool {
    match env::var_os("CC") {
        Some(compiler) => works(Command::new(compiler).arg("--version")),
        None => {
            ["cc", "gcc", "clang"].iter().any(|name| works(Command::new(name).arg("--version")))
        }
    }
}

/// Fails where Go is due and missing.
pub(crate) fn demand_go(task: &str, without_go: bool) -> Result<(), String> {
    if without_go || has_go() {
        return Ok(());
    }
    Err(format!(
        "`go` is not on the PATH, and compatibility is proved against real Go peers: \
         install Go, or run `cargo xtask {task} --without-go` to leave those proofs out"
    ))
}

/// The runs of `cargo test` that make up all tests. Without Go they leave out whole test targets, all those of
/// plugwire-interop but one: what is left out is then not counted as passed.
pub(crate) fn cargo_tests(without_go: bool, options: &[&str]) -> Vec<Command> {
    let test = |selection: &[&str]| {
        let mut command = cargo();
        command.args(["test", "--no-fail-fast"]).args(selection).args(options);
        if env::var_os(TEST_THREADS).is_none() {
            // Most of a test is waiting for other processes.
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            command.env(TEST_THREADS, (2 * cores).to_string());
        }
        command
    };
    if without_go {
        println!("left out: every test that needs Go");
        let interop = ["--package", "plugwire-interop", "--lib", "--bins", "--test", "rust"];
        vec![test(&["--workspace", "--exclude", "plugwire-interop"]), test(&interop)]
    } else {
        vec![test(&["--workspace"])]
    }
}
