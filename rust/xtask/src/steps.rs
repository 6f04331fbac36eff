//! Jobs that run one command: its output goes to a log file, and a line says how it ended.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use wait_timeout::ChildExt as _;

use crate::{
    libtest::{self, Tally},
    machine::SOAK,
    schedule::{Job, Lane, Outcome},
};

/// How long a step may take. The longest of a cold run takes a tenth of it; a step of `cargo xtask soak` gets [`SOAK_LIMIT`].
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// How long a step with the long forms may take.
const SOAK_LIMIT: Duration = Duration::from_secs(4 * 60 * 60);

/// As much of a failed step's log as fits on a screen or two.
const SHOWN_LINES: usize = 60;

/// The directory with a log file for each step.
#[derive(Clone, Debug)]
pub(crate) struct Logs(PathBuf);

/// How a command ended, and what it printed.
pub(crate) struct Ended {
    pub(crate) success: bool,
    /// What is in the log file.
    pub(crate) output: String,
    /// Standard output, if it was kept apart from the log.
    pub(crate) stdout: String,
    pub(crate) took: Duration,
}

impl Logs {
    /// Creates the directory if it is missing.
    pub(crate) fn new(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }

    /// Returns the path of a step's log file.
    pub(crate) fn file(&self, step: &str) -> PathBuf {
        self.0.join(format!("{}.log", step.replace([' ', '/'], "-")))
    }

    /// Runs a command with both of its outputs in the step's log file, where they keep their order.
    pub(crate) fn run(&self, step: &str, command: &mut Command) -> Ended {
        let log = self.file(step);
        let began = Instant::now();
        let status = File::create(&log).and_then(|file| Ok((file.try_clone()?, file))).and_then(
            |(out, err)| {
                wait(command.stdin(Stdio::null()).stdout(out).stderr(err).spawn()?, limit(command))
            },
        );
        ended(command, &log, began, status.map(|status| (status.success(), String::new())))
    }

    /// Runs a command with only its standard error in the log file, and returns its standard output.
    pub(crate) fn read(&self, step: &str, command: &mut Command) -> Ended {
        let log = self.file(step);
        let began = Instant::now();
        let read = File::create(&log).and_then(|file| {
            let mut child =
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).spawn()?;
            let pipe = child.stdout.take();
            let reader = thread::spawn(move || {
                let mut stdout = String::new();
                pipe.map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut stdout)).map(|_| stdout)
            });
            let success = wait(child, limit(command))?.success();
            Ok((success, reader.join().expect("the reader does not panic")?))
        });
        ended(command, &log, began, read)
    }
}

/// Returns how long a command may take: the variable that asks for the long forms is in its environment.
fn limit(command: &Command) -> Duration {
    let long = command.get_envs().any(|(name, value)| name == SOAK && value.is_some());
    if long { SOAK_LIMIT } else { LIMIT }
}

/// Waits for a process, and kills it after the limit, so that one that hangs is a failure with a log.
fn wait(mut child: Child, limit: Duration) -> io::Result<ExitStatus> {
    if let Some(status) = child.wait_timeout(limit)? {
        return Ok(status);
    }
    child.kill()?;
    child.wait()?;
    Err(io::Error::other(format!("it was killed, because it took more than {limit:?}")))
}

fn ended(
    command: &Command,
    log: &Path,
    began: Instant,
    ended: io::Result<(bool, String)>,
) -> Ended {
    let took = began.elapsed();
    let output = fs::read(log).unwrap_or_default();
    let mut output = String::from_utf8_lossy(&output).into_owned();
    let (success, stdout) = ended.unwrap_or_else(|error| {
        let program = command.get_program().to_string_lossy();
        output.push_str(&format!("{program} has no exit status: {error}\n"));
        (false, String::new())
    });
    Ended { success, output, stdout, took }
}

/// Makes a job of a command that passes or fails as a whole.
pub(crate) fn step(logs: &Logs, name: &str, lane: Lane, mut command: Command) -> Job {
    let (logs, step) = (logs.clone(), name.to_owned());
    Job::new(name, lane, move || whole(logs.run(&step, &mut command)))
}

/// Makes a job of a command that runs many tests. `count` finds them in its output and in whether it succeeded.
pub(crate) fn tests(
    logs: &Logs,
    name: &str,
    lane: Lane,
    mut command: Command,
    count: fn(&str, bool) -> Tally,
) -> Job {
    let (logs, step) = (logs.clone(), name.to_owned());
    Job::new(name, lane, move || {
        let ended = logs.run(&step, &mut command);
        let tally = count(&ended.output, ended.success);
        let failures = libtest::failures(&ended.output);
        let shown = match () {
            () if tally.failed == 0 => String::new(),
            () if failures.is_empty() => last_lines(&ended.output),
            () => failures,
        };
        let notes = libtest::not_shown(&ended.output).map(str::to_owned).collect();
        let success = tally.failed == 0;
        Outcome { success, tally, took: ended.took, shown, notes, ..Outcome::default() }
    })
}

/// Turns the end of a command into one passed or failed step.
pub(crate) fn whole(ended: Ended) -> Outcome {
    let tally = Tally { passed: ended.success.into(), failed: (!ended.success).into() };
    let shown = if ended.success { String::new() } else { last_lines(&ended.output) };
    Outcome { success: ended.success, tally, took: ended.took, shown, ..Outcome::default() }
}

/// Prints how a job ended. Programs without tests pass silently.
pub(crate) fn report(logs: &Logs, name: &str, outcome: &Outcome) {
    let Outcome { tally: Tally { passed, failed }, took, shown, notes, .. } = outcome;
    if passed + failed == 0 && notes.is_empty() {
        return;
    }
    let seconds = took.as_secs_f64();
    println!("== {name}  ({})", logs.file(name).display());
    if *failed == 0 {
        println!("   ok: {passed} passed, {seconds:.1} s");
    } else {
        println!("{shown}   FAILED: {passed} passed, {failed} failed, {seconds:.1} s");
    }
    for note in notes {
        println!("   {note}");
    }
}

fn last_lines(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let skipped = lines.len().saturating_sub(SHOWN_LINES);
    lines[skipped..].iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{self, Limits};

    #[test]
    fn every_step_runs_and_counts() {
        let directory = tempfile::tempdir().unwrap();
        let logs = Logs::new(directory.path().join("logs")).unwrap();
        let mut version = Command::new("rustc");
        version.arg("--version");
        let jobs = vec![
            step(&logs, "not there", Lane::Cores, Command::new("plugwire-no-such-program")),
            step(&logs, "rust c", Lane::Cores, version),
        ];
        let mut shown = String::new();
        let tally = schedule::run(jobs, Limits::default(), |_, ended| shown += &ended.shown);
        assert_eq!(tally, Tally { passed: 1, failed: 1 });
        assert!(shown.contains("plugwire-no-such-program has no exit status"), "{shown}");
        let log = fs::read_to_string(directory.path().join("logs/rust-c.log")).unwrap();
        assert!(log.starts_with("rustc "), "{log}");
    }

    #[test]
    fn a_test_program_that_is_killed_is_a_failure() {
        let directory = tempfile::tempdir().unwrap();
        let logs = Logs::new(directory.path().to_owned()).unwrap();
        let mut killed = Command::new("sh");
        killed.args(["-c", "echo 'running 2 tests'; echo 'test one ... ok'; kill -9 $$"]);
        let jobs = vec![tests(&logs, "killed", Lane::Waits, killed, libtest::tally_of_program)];
        let mut shown = String::new();
        let tally = schedule::run(jobs, Limits::default(), |_, ended| shown += &ended.shown);
        assert_eq!(tally, Tally { passed: 0, failed: 1 });
        assert!(shown.contains("test one ... ok"), "{shown}");
    }

    #[test]
    fn standard_output_can_be_kept_out_of_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let logs = Logs::new(directory.path().to_owned()).unwrap();
        let mut both = Command::new("sh");
        both.args(["-c", "echo data; echo words >&2"]);
        let ended = logs.read("both", &mut both);
        assert!(ended.success);
        assert_eq!((ended.stdout.as_str(), ended.output.as_str()), ("data\n", "words\n"));
    }

    #[test]
    fn a_step_that_hangs_is_killed() {
        let mut hangs = Command::new("sleep");
        let child = hangs.arg("1000").spawn().unwrap();
        let error = wait(child, Duration::from_millis(10)).unwrap_err();
        assert!(error.to_string().contains("more than 10ms"), "{error}");
        assert_eq!(limit(&hangs), LIMIT);
        assert_eq!(limit(hangs.env(SOAK, "1")), SOAK_LIMIT);
        assert_eq!(limit(hangs.env_remove(SOAK)), LIMIT);
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let output: String = (0..100).map(|n| format!("{n}\n")).collect();
        let shown = last_lines(&output);
        assert!(shown.starts_with("40\n") && shown.ends_with("99\n"), "{shown}");
    }
}
