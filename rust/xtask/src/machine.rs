//! Where things are on this machine, and what is missing on it.

use std::{
    env,
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

/// Tells tests that everything they run is built already (`plugwire_interop::built`).
pub(crate) const BUILT: &str = "PLUGWIRE_BUILT";
/// Tells the tests that have a long form to take it.
pub(crate) const SOAK: &str = "PLUGWIRE_SOAK";
/// Tells tests that look at both languages to look at Rust alone.
pub(crate) const WITHOUT_GO: &str = "PLUGWIRE_WITHOUT_GO";
/// The test harness's own setting.
pub(crate) const TEST_THREADS: &str = "RUST_TEST_THREADS";

/// Returns the checkout's root directory.
pub(crate) fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root.pop();
    root
}

/// Returns cargo's build directory.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// Returns how many cores there are for this process.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Returns a cargo command in the checkout's root directory, with the environment of a user's own command.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(cargo_path());
    command.current_dir(root());
    as_a_user(&mut command);
    command
}

/// Returns the cargo that runs this program.
pub(crate) fn cargo_path() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}

/// Removes what `cargo run` puts into the environment: it describes this package in variables that some build scripts
/// watch, and would run again for. Only this program decides which tests take their long form, so that variable goes, too.
pub(crate) fn as_a_user(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command.env_remove(SOAK).env_remove(BUILT);
}

/// Whether the command can be run and succeeds. Its output is discarded.
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

/// Whether there is a C compiler: ring and aws-lc-rs are built from C.
pub(crate) fn has_c_compiler() -> bool {
    match env::var_os("CC") {
        Some(compiler) => works(Command::new(compiler).arg("--version")),
        None => {
            ["cc", "gcc", "clang"].iter().any(|name| works(Command::new(name).arg("--version")))
        }
    }
}

/// Fails if the task needs Go and there is none.
pub(crate) fn demand_go(task: &str, without_go: bool) -> Result<(), String> {
    if without_go || has_go() {
        return Ok(());
    }
    Err(format!(
        "`go` is not on the PATH, and compatibility is proved against real Go peers: \
         install Go, or run `cargo xtask {task} --without-go` to leave those proofs out"
    ))
}

/// Installs a component of the toolchain if it is missing: a minimal toolchain has neither rustfmt nor clippy.
pub(crate) fn add_component(component: &str) {
    let verb = component.strip_prefix("rust").unwrap_or(component);
    if !works(cargo().args([verb, "--version"])) {
        println!("-- {component} is missing: rustup component add {component}");
        // If this fails, the step that needs the component fails, too, and says why.
        works(Command::new("rustup").args(["component", "add", component]));
    }
}
