//! The test programs that cargo builds, and how each is run: cargo runs them one after another, and this task side by
//! side.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    machine::{self, TEST_THREADS},
    schedule::Lane,
};

/// The package whose tests put Go peers and ours together.
const INTEROP: &str = "plugwire-interop";
/// Its test target that needs no Go.
const WITHOUT_GO: &str = "rust";

/// The programs that take longest, by package and test target.
const LONGEST: &[(&str, &str)] = &[
    (INTEROP, "conformance"),
    ("plugwire-conformance", "suite"),
    (INTEROP, "go"),
    ("plugwire-conformance", "trust"),
    ("plugwire-conformance", "by_flags"),
    (INTEROP, "rust"),
];

/// A program with the tests of one target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Program {
    pub(crate) package: String,
    pub(crate) target: String,
    kind: Kind,
    executable: PathBuf,
    manifest: PathBuf,
    /// The package's own programs, by name. Cargo tells tests where these are.
    binaries: Vec<(String, PathBuf)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// An integration test.
    Test,
    /// The unit tests of a library, a program or an example.
    Unit,
}

/// Returns the test programs in the messages of `cargo test --no-run --message-format=json`.
pub(crate) fn parse(messages: &str) -> Vec<Program> {
    let artifacts: Vec<Value> = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|message: &Value| message["reason"] == "compiler-artifact")
        .collect();
    artifacts
        .iter()
        .filter(|artifact| artifact["profile"]["test"] == true)
        .filter_map(|artifact| program(artifact, &artifacts))
        .collect()
}

fn program(artifact: &Value, all: &[Value]) -> Option<Program> {
    let id = artifact["package_id"].as_str()?;
    let kind = if is_a(artifact, "test") { Kind::Test } else { Kind::Unit };
    let siblings = all.iter().filter(|other| {
        other["package_id"] == id && is_a(other, "bin") && other["profile"]["test"] == false
    });
    let binary = |bin: &Value| {
        let name = bin["target"]["name"].as_str()?.to_owned();
        Some((name, bin["executable"].as_str()?.into()))
    };
    Some(Program {
        package: package_name(id).to_owned(),
        target: artifact["target"]["name"].as_str()?.to_owned(),
        kind,
        executable: artifact["executable"].as_str()?.into(),
        manifest: artifact["manifest_path"].as_str()?.into(),
        binaries: siblings.filter_map(binary).collect(),
    })
}

fn is_a(artifact: &Value, kind: &str) -> bool {
    artifact["target"]["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|it| it == kind))
}

/// Returns the name in a package id: `path+file:///checkout/rust/xtask#0.1.0`, or `…/path#name@0.1.0` if the directory
/// has another name.
fn package_name(id: &str) -> &str {
    let (path, version) = id.rsplit_once('#').unwrap_or((id, ""));
    match version.rsplit_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next().unwrap_or(path),
    }
}

impl Program {
    /// Returns the name of the step that runs it.
    pub(crate) fn step(&self) -> String {
        match self.kind {
            Kind::Test => format!("test {} {}", self.package, self.target),
            Kind::Unit => format!("test {} unit {}", self.package, self.target),
        }
    }

    /// Whether it is this package's integration test of this name.
    pub(crate) fn is(&self, package: &str, test: &str) -> bool {
        self.kind == Kind::Test && self.package == package && self.target == test
    }

    /// Whether its tests drive Go peers.
    pub(crate) fn needs_go(&self) -> bool {
        self.kind == Kind::Test && self.package == INTEROP && self.target != WITHOUT_GO
    }

    /// Whether its tests mostly wait for processes that they start. All others compute.
    fn waits(&self) -> bool {
        let starts_processes = [INTEROP, "plugwire-conformance", "plugwire-conformance-peers"];
        self.kind == Kind::Test && starts_processes.contains(&self.package.as_str())
    }

    /// Returns its place in the order of starts: the programs that take longest come first.
    pub(crate) fn rank(&self) -> usize {
        let at = LONGEST.iter().position(|(package, test)| self.is(package, test));
        at.unwrap_or(LONGEST.len())
    }

    /// Returns the lane that it runs in.
    pub(crate) fn lane(&self) -> Lane {
        if self.waits() { Lane::Waits } else { Lane::Cores }
    }

    /// Returns the command that runs its tests in the environment that `cargo test` would give them.
    pub(crate) fn command(&self) -> Command {
        let directory = self.manifest.parent().unwrap_or(Path::new("."));
        let mut command = Command::new(&self.executable);
        machine::as_a_user(&mut command);
        command
            .current_dir(directory)
            .env("CARGO", machine::cargo_path())
            .env("CARGO_MANIFEST_DIR", directory)
            .env("CARGO_MANIFEST_PATH", &self.manifest)
            .env("CARGO_PKG_NAME", &self.package)
            .env(machine::BUILT, "1");
        for (name, path) in &self.binaries {
            command.env(format!("CARGO_BIN_EXE_{name}"), path);
        }
        if env::var_os(TEST_THREADS).is_none() {
            command.env(TEST_THREADS, (self.threads_per_core() * machine::cores()).to_string());
        }
        command
    }

    /// How many tests run at the same time in it. Each test of the conformance targets runs many cases at a time itself, so
    /// that more would only overload the machine.
    fn threads_per_core(&self) -> usize {
        match self.package.as_str() {
            INTEROP if self.target == "conformance" => 1,
            INTEROP if self.waits() => 4,
            _ if self.waits() => 2,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    /// What cargo prints for a library with a dependency, a program and an integration test, shortened.
    const MESSAGES: &str = r#"
{"reason":"compiler-artifact","package_id":"registry+https://github.com/rust-lang/crates.io-index#libc@0.2.1","manifest_path":"/home/libc/Cargo.toml","target":{"kind":["lib"],"name":"libc"},"profile":{"test":false},"executable":null,"fresh":true}
{"reason":"build-script-executed","package_id":"path+file:///w/rust/plugwire-interop#0.1.0"}
{"reason":"compiler-artifact","package_id":"path+file:///w/rust/plugwire-interop#0.1.0","manifest_path":"/w/rust/plugwire-interop/Cargo.toml","target":{"kind":["bin"],"name":"probe-plugin"},"profile":{"test":false},"executable":"/w/target/debug/probe-plugin","fresh":true}
not json, a line of another program
{"reason":"compiler-artifact","package_id":"path+file:///w/rust/plugwire-interop#0.1.0","manifest_path":"/w/rust/plugwire-interop/Cargo.toml","target":{"kind":["lib"],"name":"plugwire_interop"},"profile":{"test":true},"executable":"/w/target/debug/deps/plugwire_interop-1","fresh":true}
{"reason":"compiler-artifact","package_id":"path+file:///w/rust/plugwire-interop#0.1.0","manifest_path":"/w/rust/plugwire-interop/Cargo.toml","target":{"kind":["test"],"name":"rust"},"profile":{"test":true},"executable":"/w/target/debug/deps/rust-2","fresh":true}
{"reason":"compiler-artifact","package_id":"path+file:///w/rust/plugwire-interop#0.1.0","manifest_path":"/w/rust/plugwire-interop/Cargo.toml","target":{"kind":["test"],"name":"go"},"profile":{"test":true},"executable":"/w/target/debug/deps/go-3","fresh":true}
{"reason":"build-finished","success":true}
"#;

    #[test]
    fn finds_the_programs_that_hold_tests() {
        let steps: Vec<_> = parse(MESSAGES).iter().map(Program::step).collect();
        assert_eq!(
            steps,
            [
                "test plugwire-interop unit plugwire_interop",
                "test plugwire-interop rust",
                "test plugwire-interop go"
            ]
        );
    }

    #[test]
    fn knows_what_needs_go_and_what_waits() {
        let programs = parse(MESSAGES);
        let needs_go: Vec<_> = programs.iter().map(Program::needs_go).collect();
        assert_eq!(needs_go, [false, false, true]);
        let lanes: Vec<_> = programs.iter().map(Program::lane).collect();
        assert_eq!(lanes, [Lane::Cores, Lane::Waits, Lane::Waits]);
        assert!(programs[1].is("plugwire-interop", "rust"));
        assert!(!programs[1].is("plugwire-interop", "go"));
    }

    #[test]
    fn a_program_gets_what_cargo_would_give_it() {
        let command = parse(MESSAGES)[1].command();
        assert_eq!(command.get_current_dir(), Some(Path::new("/w/rust/plugwire-interop")));
        let variable = |name: &str| {
            let mut all = command.get_envs().filter(|(key, _)| *key == OsStr::new(name));
            all.next().and_then(|(_, value)| value?.to_str())
        };
        assert_eq!(variable("CARGO_MANIFEST_DIR"), Some("/w/rust/plugwire-interop"));
        assert_eq!(variable("CARGO_PKG_NAME"), Some("plugwire-interop"));
        assert_eq!(variable("CARGO_BIN_EXE_probe-plugin"), Some("/w/target/debug/probe-plugin"));
        assert_eq!(variable(machine::BUILT), Some("1"));
    }

    #[test]
    fn names_packages() {
        assert_eq!(package_name("path+file:///w/rust/xtask#0.1.0"), "xtask");
        assert_eq!(package_name("path+file:///w/conformance/wire#suite-wire@0.1.0"), "suite-wire");
        assert_eq!(package_name("path+file:///tmp/pl%C3%A4g%20wire/xtask#0.1.0"), "xtask");
    }

    #[test]
    fn a_failed_build_has_no_programs() {
        assert_eq!(parse(r#"{"reason":"build-finished","success":false}"#), []);
        assert_eq!(parse(""), []);
    }
}
