//! `cargo xtask test`: everything. One build brings all test programs, which then run side by side, beside the lints, the
//! documentation and the Go peers.

use std::{error::Error, process::ExitCode};

use crate::{
    dependencies, libtest,
    machine::{self, cargo},
    plan::{self, BUILD},
    programs::Program,
    schedule::{self, Job, Lane},
    sdk_go::{self, Release},
    steps::{self, Logs},
};

/// What is left out of a run.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// All that needs Go.
    pub(crate) without_go: bool,
    /// All that takes long.
    pub(crate) quick: bool,
}

/// What `--quick` leaves out, for those who read its output.
const NOT_QUICK: &str = "\
-- left out by --quick: documentation and doc tests, licences, Go's own tests and all but the newest release of
   go-plugin, the conformance suite's runs against real programs, the tests that count what is left over or how much
   memory is used";

/// Test programs of some seconds each, or more, by package and name.
const NOT_QUICK_PROGRAMS: &[(&str, &str)] = &[
    ("plugwire-build", "output"),
    ("plugwire-conformance", "by_flags"),
    ("plugwire-conformance", "readme"),
    ("plugwire-conformance", "suite"),
    ("plugwire-conformance", "trust"),
];

/// The tests against Go peers that `--quick` keeps: all pairings with the newest release.
const QUICK_GO_TESTS: [&str; 2] =
    ["pairing::go_1_8_0_with_the_newest_grpc_and_rust", "pairing::rust_and_rust_as_go_and_go"];

/// Runs all tests. The sum is the last line, so a failure shows in it and in the exit status only.
pub(crate) fn run(options: Options) -> Result<ExitCode, Box<dyn Error>> {
    machine::demand_go("test", options.without_go)?;
    for component in ["rustfmt", "clippy"] {
        machine::add_component(component);
    }
    let logs = plan::logs()?;
    let mut releases = plan::releases(options.without_go)?;
    if options.quick {
        println!("{NOT_QUICK}");
        releases.retain(|release| release.name == sdk_go::NEWEST_GRPC);
    }
    let mut notes = Vec::new();
    let tally = schedule::run(jobs(&logs, options, &releases), plan::limits(), |name, outcome| {
        steps::report(&logs, name, outcome);
        notes.extend_from_slice(&outcome.notes);
    });
    // Once more at the end, where they are not overlooked.
    for note in notes {
        println!("-- {note}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Returns all jobs, in the order in which they would start. In cargo's lane the build comes first, since most other jobs
/// wait for it.
fn jobs(logs: &Logs, options: Options, releases: &[Release]) -> Vec<Job> {
    let mut fmt = cargo();
    fmt.args(["fmt", "--all", "--check"]);
    let mut jobs = vec![steps::step(logs, "fmt", Lane::Cores, fmt)];
    let (own_logs, peers) = (logs.clone(), plan::peer_steps(releases));
    jobs.push(plan::build(logs, move |programs| tests(&own_logs, options, programs, &peers)));
    jobs.extend(plan::peers(logs, releases));
    jobs.push(clippy(logs, "clippy", &["--workspace", "--all-targets"]));
    if !options.quick {
        jobs.extend(thorough(logs));
        jobs.extend(go(logs, releases));
    }
    jobs
}

fn clippy(logs: &Logs, name: &str, packages: &[&str]) -> Job {
    let mut clippy = cargo();
    clippy.arg("clippy").args(packages).args(["--", "-D", "warnings"]);
    steps::step(logs, name, Lane::Cargo, clippy)
}

fn thorough(logs: &Logs) -> Vec<Job> {
    let own_logs = logs.clone();
    let dependencies = Job::new("dependencies", Lane::Cores, move || {
        dependencies::check(&own_logs, "dependencies")
    });
    let mut doc_tests = cargo();
    doc_tests.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
    let mut doc = cargo();
    doc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    let alone = |role: &str| {
        let features = ["-p", "plugwire", "--no-default-features", "--features", role];
        clippy(logs, &format!("clippy {role} alone"), &features)
    };
    vec![
        dependencies,
        alone("host"),
        alone("plugin"),
        steps::tests(logs, "doc tests", Lane::Cargo, doc_tests, libtest::tally).after([BUILD]),
        steps::step(logs, "doc", Lane::Cargo, doc),
    ]
}

/// Vets the Go peers with the oldest and the newest release, and runs their own tests.
fn go(logs: &Logs, releases: &[Release]) -> Vec<Job> {
    let newest = releases.iter().find(|release| release.name == sdk_go::NEWEST_RELEASE);
    let mut jobs = Vec::new();
    if let Some(newest) = newest {
        let mut test = newest.go("test");
        // Not from Go's cache: some pairs are to run every time.
        test.args(["-timeout=60m", "-count=1", "./..."]).env(machine::BUILT, "1");
        let test = steps::tests(logs, "go test", Lane::Waits, test, sdk_go::tally);
        jobs.push(test.after(plan::peer_steps(releases)));
    }
    for release in releases.first().into_iter().chain(newest) {
        let mut vet = release.go("vet");
        vet.arg("./...");
        jobs.push(steps::step(logs, &format!("go vet {}", release.name), Lane::Go, vet));
    }
    jobs
}

fn tests(logs: &Logs, options: Options, programs: Vec<Program>, peers: &[String]) -> Vec<Job> {
    let mut programs = programs;
    programs.retain(|program| !(options.without_go && program.needs_go()));
    if options.quick {
        programs.retain(is_quick);
    }
    programs.sort_by_key(Program::rank);
    let job = |program: &Program| {
        plan::run(logs, program, program.lane(), peers, |command| {
            if options.without_go {
                command.env(machine::WITHOUT_GO, "1");
            }
            if options.quick && program.needs_go() {
                command.args(QUICK_GO_TESTS);
            }
        })
    };
    programs.iter().map(job).collect()
}

fn is_quick(program: &Program) -> bool {
    if program.needs_go() {
        return program.is("plugwire-interop", "go");
    }
    !NOT_QUICK_PROGRAMS.iter().any(|(package, test)| program.is(package, test))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A filter that matches no test would leave Go out without saying so.
    #[test]
    fn the_tests_that_quick_keeps_exist() {
        let interop = machine::root().join("rust/plugwire-interop/tests/go");
        for test in QUICK_GO_TESTS {
            let (module, name) = test.split_once("::").unwrap();
            let source = fs::read_to_string(interop.join(module).with_extension("rs")).unwrap();
            assert!(source.contains(&format!("async fn {name}()")), "{test}");
        }
    }
}
