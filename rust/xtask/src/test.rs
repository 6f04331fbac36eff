//! `cargo xtask test`: everything, in the order in which mistakes are cheap to find.

use std::{
    error::Error,
    path::PathBuf,
    process::{Command, ExitCode},
};

use crate::{
    libtest,
    machine::{self, cargo},
    sdk_go,
    steps::Steps,
};

/// Whoever has another release of cargo-deny uses that; this one is installed where there is none.
const CARGO_DENY: &str = "0.20.2";

/// The sum is the last line, so a failure shows in it and in the exit code only.
pub(crate) fn run(without_go: bool) -> Result<ExitCode, Box<dyn Error>> {
    machine::demand_go("test", without_go)?;
    let mut steps = Steps::new(machine::target().join("xtask"))?;
    rust(&mut steps);
    if !without_go {
        peers(&mut steps)?;
    }
    tests(&mut steps, without_go);
    deny(&mut steps);
    if !without_go {
        go(&mut steps)?;
    }
    let tally = steps.tally();
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn rust(steps: &mut Steps) {
    for component in ["rustfmt", "clippy"] {
        add_component(component);
    }
    steps.step("fmt", cargo().args(["fmt", "--all", "--check"]));
    steps.step(
        "clippy",
        cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    );
    steps.step(
        "doc",
        cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"),
    );
    steps.step("build", cargo().args(["build", "--workspace", "--bins"]));
}

/// The tests build what they need. Here it is done before, so that no test has to be quick while that goes on beside it.
fn peers(steps: &mut Steps) -> Result<(), Box<dyn Error>> {
    for release in sdk_go::releases()? {
        steps.step(&format!("go build {}", release.name), &mut release.build());
    }
    Ok(())
}

fn tests(steps: &mut Steps, without_go: bool) {
    for (number, mut test) in machine::cargo_tests(without_go, &[]).into_iter().enumerate() {
        steps.tests(&format!("test {}", number + 1), &mut test, libtest::tally);
    }
}

/// A minimal toolchain has neither rustfmt nor clippy.
fn add_component(component: &str) {
    let verb = component.strip_prefix("rust").unwrap_or(component);
    if !machine::works(cargo().args([verb, "--version"])) {
        println!("{component} is missing: rustup component add {component}");
        // Where this fails the step that needs it fails too, and says why.
        machine::works(Command::new("rustup").args(["component", "add", component]));
    }
}

fn deny(steps: &mut Steps) {
    let Some(mut deny) = cargo_deny() else {
        steps.fail("deny", &format!("cargo-deny {CARGO_DENY} could not be installed"));
        return;
    };
    steps.step("deny", deny.args(["check", "licenses", "bans", "sources"]));
}

/// The one that is installed, or one under the build folder, which is made if need be.
fn cargo_deny() -> Option<Command> {
    if machine::works(cargo().args(["deny", "--version"])) {
        let mut command = cargo();
        command.arg("deny");
        return Some(command);
    }
    let tools = machine::target().join("tools");
    let program: PathBuf = tools.join("bin").join("cargo-deny");
    if !machine::works(Command::new(&program).arg("--version")) {
        println!("cargo-deny is missing: installing {CARGO_DENY} into {}", tools.display());
        let installed = cargo()
            .args(["install", "--locked", "cargo-deny", "--version", CARGO_DENY, "--root"])
            .arg(&tools)
            .status();
        if !installed.is_ok_and(|status| status.success()) {
            return None;
        }
    }
    let mut command = Command::new(program);
    command.current_dir(machine::root());
    Some(command)
}

/// Vets the Go peers with every release. Their own tests build all releases themselves, so one run of them is enough.
fn go(steps: &mut Steps) -> Result<(), Box<dyn Error>> {
    for release in sdk_go::releases()? {
        let name = &release.name;
        steps.step(&format!("go vet {name}"), release.go("vet").arg("./..."));
        if name == sdk_go::NEWEST_RELEASE {
            steps.tests(
                &format!("go test {name}"),
                release.go("test").args(["-timeout=60m", "./..."]),
                sdk_go::tally,
            );
        }
    }
    Ok(())
}
