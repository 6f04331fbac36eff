//! The jobs that the tasks share: building the test programs and the Go peers, and running the programs.

use std::error::Error;

use crate::{
    libtest,
    machine::{self, cargo},
    programs::{self, Program},
    schedule::{Job, Lane, Limits, Outcome},
    sdk_go,
    steps::{self, Logs},
};

/// The step that builds all Rust programs.
pub(crate) const BUILD: &str = "build";

/// Returns the directory with the logs of all tasks.
pub(crate) fn logs() -> std::io::Result<Logs> {
    Logs::new(machine::target().join("xtask"))
}

/// Returns how much runs side by side on this machine.
pub(crate) fn limits() -> Limits {
    let cores = machine::cores();
    Limits { cores, waits: 2 * cores }
}

/// Builds every library, program, example and test of the workspace in one go, and then runs the jobs that `then` makes
/// of the test programs.
pub(crate) fn build(
    logs: &Logs,
    then: impl FnOnce(Vec<Program>) -> Vec<Job> + Send + 'static,
) -> Job {
    let logs = logs.clone();
    let job = Job::new(BUILD, Lane::Cargo, move || {
        let mut build = cargo();
        build.args(["test", "--workspace", "--no-run"]);
        build.arg("--message-format=json-render-diagnostics");
        let ended = logs.read(BUILD, &mut build);
        let programs = programs::parse(&ended.stdout);
        let next = if ended.success { then(programs) } else { Vec::new() };
        Outcome { next, ..steps::whole(ended) }
    });
    if machine::target().join("debug/deps").exists() {
        return job;
    }
    job.announce("building some 300 crates and all test programs for the first time")
}

/// Builds the Go peers of all releases where the tests look for them, so that no test has to be quick while that goes
/// on beside it.
pub(crate) fn peers(logs: &Logs, releases: &[sdk_go::Release]) -> Vec<Job> {
    let job = |release: &sdk_go::Release| {
        let job = steps::step(logs, &peer_step(release), Lane::Go, release.build());
        if release.is_built() {
            return job;
        }
        job.announce(format!("building the Go peers on go-plugin {}", release.name))
    };
    releases.iter().map(job).collect()
}

/// Returns the names of the steps that [`peers`] makes.
pub(crate) fn peer_steps(releases: &[sdk_go::Release]) -> Vec<String> {
    releases.iter().map(peer_step).collect()
}

fn peer_step(release: &sdk_go::Release) -> String {
    format!("go build {}", release.name)
}

/// Makes the job that runs one test program, after a change to its command. Programs that drive Go peers wait for the
/// steps in `peers`.
pub(crate) fn run(
    logs: &Logs,
    program: &Program,
    lane: Lane,
    peers: &[String],
    change: impl FnOnce(&mut std::process::Command),
) -> Job {
    let mut command = program.command();
    change(&mut command);
    let job = steps::tests(logs, &program.step(), lane, command, libtest::tally_of_program);
    if program.needs_go() { job.after(peers) } else { job }
}

/// Returns the releases of go-plugin to build, none if Go is left out.
pub(crate) fn releases(without_go: bool) -> Result<Vec<sdk_go::Release>, Box<dyn Error>> {
    if without_go {
        println!("-- left out: every test that needs Go");
        return Ok(Vec::new());
    }
    sdk_go::releases()
}
