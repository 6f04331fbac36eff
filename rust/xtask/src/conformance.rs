//! `cargo xtask conformance`: shows real go-plugin and ours, judged by the conformance suite, on one page. The tests judge
//! them, and each run leaves its JSON lines, which the suite puts beside each other.

use std::{
    error::Error,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{machine, plan, schedule, sdk_go, steps};

/// The columns, from left to right. A subject's file is `ROLE-SUBJECT.jsonl`.
const SUBJECTS: [&str; 6] = [
    "go-plugin-1.4.8",
    "go-plugin-1.6.3",
    "go-plugin-1.7.0",
    "go-plugin-1.8.0",
    "plugwire",
    "plugwire-tcp",
];

/// Judges all subjects with the tests of plugwire-interop, and makes one page of their runs.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    machine::demand_go("conformance", false)?;
    let directory = machine::root().join("target/conformance");
    // What an earlier run left must not pass for this run's.
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    println!("building the Go peers, and judging each in both roles; this takes some minutes");
    let logs = plan::logs()?;
    let releases = sdk_go::releases()?;
    let (own_logs, peers) = (logs.clone(), plan::peer_steps(&releases));
    let mut jobs = vec![plan::build(&logs, move |mut programs| {
        programs.retain(|program| program.is("plugwire-interop", "conformance"));
        // All cases on TCP, too.
        let whole = |command: &mut Command| {
            command.env(machine::SOAK, "1");
        };
        programs.iter().map(|it| plan::run(&own_logs, it, it.lane(), &peers, whole)).collect()
    })];
    jobs.extend(plan::peers(&logs, &releases));
    let tally = schedule::run(jobs, plan::limits(), |name, outcome| {
        steps::report(&logs, name, outcome);
    });
    page(&directory)?;
    times()?;
    match tally.failed {
        0 => Ok(()),
        _ => Err("a subject is not as it should be; the page shows what".into()),
    }
}

fn page(directory: &Path) -> Result<(), Box<dyn Error>> {
    let of_role =
        |role: &str| SUBJECTS.map(|subject| directory.join(format!("{role}-{subject}.jsonl")));
    let runs: Vec<PathBuf> =
        ["plugin", "host"].into_iter().flat_map(of_role).filter(|file| file.exists()).collect();
    if runs.is_empty() {
        return Err("no subject was judged".into());
    }
    let mut report = Command::new(suite());
    report.arg("report");
    for kind in [("html", "matrix.html"), ("markdown", "matrix.md")] {
        report.arg("--report").arg(format!("{}={}", kind.0, directory.join(kind.1).display()));
    }
    if !report.args(&runs).status()?.success() {
        return Err("the page could not be made".into());
    }
    println!("the matrix: {}", directory.join("matrix.html").display());
    Ok(())
}

/// Measures how long a user waits: for the black-box cases with an unknown binary and its cookie, and for all cases with our
/// own two programs. Each run is alone and uses the suite's defaults.
fn times() -> Result<(), Box<dyn Error>> {
    let target = machine::target();
    let greeter = target.join("go-peers/1.8.0/peers/greeter-plugin");
    let cookie =
        ["plugin", "--cookie", "GREETER_PLUGIN=hello", "--tier", "black-box"].map(Into::into);
    let black_box = timed("Go's greeter, black box", &cookie, &[greeter.as_path()])?;
    let subjects = machine::root().join("conformance/subjects");
    let mut ours = Duration::ZERO;
    for (role, program) in [("plugin", "probe-plugin"), ("host", "conformance-driver")] {
        let description = subjects.join(format!("plugwire.{role}.toml"));
        let options = [OsString::from(role), "--subject".into(), description.into()];
        let program = target.join("debug").join(program);
        let mut command = vec![program.as_path()];
        if role == "plugin" {
            command.extend(["--versions", "1,3"].map(Path::new));
        }
        ours += timed(&format!("our {role}, everything"), &options, &command)?;
    }
    println!(
        "black box {:.1} s; ours in both roles {:.1} s",
        black_box.as_secs_f64(),
        ours.as_secs_f64()
    );
    Ok(())
}

/// Returns the suite's own program, which the build has made.
fn suite() -> PathBuf {
    machine::target().join("debug/plugwire-conformance")
}

/// Runs the suite with these options and returns how long it took.
fn timed(name: &str, options: &[OsString], command: &[&Path]) -> Result<Duration, Box<dyn Error>> {
    let began = Instant::now();
    let run =
        Command::new(suite()).args(options).arg("--quiet").arg("--").args(command).output()?;
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&run.stdout);
    let sum = said.lines().rev().find(|line| line.contains(" cases: ")).unwrap_or("no verdict");
    println!("{name}: {sum}");
    match run.status.success() {
        true => Ok(took),
        false => Err(format!("{name}: {}\n{said}", run.status).into()),
    }
}
