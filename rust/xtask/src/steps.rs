//! Steps with a heading, a log file and a time; one that fails does not stop the others.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::libtest::{self, Tally};

/// As much of a failed step's log as fits on a screen or two.
const SHOWN_LINES: usize = 60;

/// Runs steps and adds up how they ended.
pub(crate) struct Steps {
    logs: PathBuf,
    tally: Tally,
}

/// How a command ended, and all that it printed.
struct Ended {
    success: bool,
    output: String,
    took: Duration,
}

impl Steps {
    /// `logs` is made if it is missing.
    pub(crate) fn new(logs: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&logs)?;
        Ok(Self { logs, tally: Tally::default() })
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// A step that passes or fails as a whole.
    pub(crate) fn step(&mut self, name: &str, command: &mut Command) -> bool {
        let ended = self.run(name, command);
        let tally = if ended.success {
            Tally { passed: 1, failed: 0 }
        } else {
            Tally { passed: 0, failed: 1 }
        };
        self.tally += tally;
        report(&ended, None, &last_lines(&ended.output));
        ended.success
    }

    /// A step of many tests, which `count` finds in its output and in whether it ended well.
    pub(crate) fn tests(
        &mut self,
        name: &str,
        command: &mut Command,
        count: fn(&str, bool) -> Tally,
    ) {
        let ended = self.run(name, command);
        let tally = count(&ended.output, ended.success);
        self.tally += tally;
        let failures = libtest::failures(&ended.output);
        let shown = if failures.is_empty() { last_lines(&ended.output) } else { failures };
        report(&ended, Some(tally), &shown);
        for line in libtest::not_shown(&ended.output) {
            println!("   {line}");
        }
    }

    /// A step that cannot even begin.
    pub(crate) fn fail(&mut self, name: &str, why: &str) {
        println!("== {name}\n   FAILED: {why}");
        self.tally.failed += 1;
    }

    /// Both outputs go into one file, so that they keep their order.
    fn run(&self, name: &str, command: &mut Command) -> Ended {
        let log = self.logs.join(format!("{}.log", name.replace([' ', '/'], "-")));
        println!("== {name}  ({})", log.display());
        let began = Instant::now();
        let success = File::create(&log)
            .and_then(|file| Ok((file.try_clone()?, file)))
            .and_then(|(out, err)| command.stdin(Stdio::null()).stdout(out).stderr(err).status());
        let took = began.elapsed();
        let output = fs::read(&log).unwrap_or_default();
        let mut output = String::from_utf8_lossy(&output).into_owned();
        let success = match success {
            Ok(status) => status.success(),
            Err(error) => {
                let program = command.get_program().to_string_lossy();
                output.push_str(&format!("cannot run {program}: {error}\n"));
                false
            }
        };
        Ended { success, output, took }
    }
}

fn report(ended: &Ended, tally: Option<Tally>, shown: &str) {
    let counts = match tally {
        Some(Tally { passed, failed }) => format!("{passed} passed, {failed} failed, "),
        None => String::new(),
    };
    let seconds = ended.took.as_secs_f64();
    if ended.success {
        println!("   ok: {counts}{seconds:.1} s");
    } else {
        println!("{shown}   FAILED: {counts}{seconds:.1} s");
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

    #[test]
    fn every_step_runs_and_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mut steps = Steps::new(folder.path().join("logs")).unwrap();
        assert!(!steps.step("not there", &mut Command::new("plugwire-no-such-program")));
        assert!(steps.step("rust c", Command::new("rustc").arg("--version")));
        steps.fail("no way", "because");
        assert_eq!(steps.tally(), Tally { passed: 1, failed: 2 });
        let log = fs::read_to_string(folder.path().join("logs/rust-c.log")).unwrap();
        assert!(log.starts_with("rustc "), "{log}");
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let output: String = (0..100).map(|n| format!("{n}\n")).collect();
        let shown = last_lines(&output);
        assert!(shown.starts_with("40\n") && shown.ends_with("99\n"), "{shown}");
    }
}
