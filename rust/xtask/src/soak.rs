//! `cargo xtask soak`: a test whose name contains `soak` has a short form, which `cargo xtask test` runs, and a long one.

use std::{error::Error, fs};

use crate::{
    machine::{self, SOAK},
    plan,
    programs::Program,
    schedule::{self, Job, Lane},
    sdk_go,
    steps::{self, Logs},
};

/// Runs the long forms, at most as many programs at a time as there are cores.
pub(crate) fn run(without_go: bool) -> Result<(), Box<dyn Error>> {
    machine::demand_go("soak", without_go)?;
    let logs = plan::logs()?;
    let releases = plan::releases(without_go)?;
    let (own_logs, peers) = (logs.clone(), plan::peer_steps(&releases));
    let mut jobs = vec![plan::build(&logs, move |programs| {
        let mut programs = programs;
        programs.retain(|program| !(without_go && program.needs_go()));
        programs.iter().map(|program| job(&own_logs, program, without_go, &peers)).collect()
    })];
    jobs.extend(plan::peers(&logs, &releases));
    if let Some(newest) = releases.iter().find(|it| it.name == sdk_go::NEWEST_RELEASE) {
        let mut test = newest.go("test");
        test.args(["-timeout=120m", "-count=1", "./interop"]);
        test.env(SOAK, "1").env(machine::BUILT, "1");
        let test = steps::tests(&logs, "soak go test", Lane::Cores, test, sdk_go::tally);
        jobs.push(test.after(plan::peer_steps(&releases)));
    }
    let mut soaked = 0;
    let tally = schedule::run(jobs, plan::limits(), |name, outcome| {
        steps::report(&logs, name, outcome);
        if name.starts_with("test ") && outcome.tally.passed + outcome.tally.failed > 0 {
            soaked += 1;
            // What the tests counted.
            println!("{}", fs::read_to_string(logs.file(name)).unwrap_or_default());
        }
    });
    println!("{} passed, {} failed", tally.passed, tally.failed);
    match () {
        () if tally.failed > 0 => Err("a soak test failed".into()),
        () if soaked == 0 => Err("there is no test whose name contains `soak`".into()),
        () => Ok(()),
    }
}

fn job(logs: &Logs, program: &Program, without_go: bool, peers: &[String]) -> Job {
    plan::run(logs, program, Lane::Cores, peers, |command| {
        command.args(["soak", "--nocapture", "--include-ignored"]).env(SOAK, "1");
        if without_go {
            command.env(machine::WITHOUT_GO, "1");
        }
    })
}
