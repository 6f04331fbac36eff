//! `cargo xtask soak`: a test whose name contains `soak` has a short form, which `cargo test` runs, and a long one.

use std::{
    error::Error,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use crate::{
    libtest::{self, Tally},
    machine,
};

pub(crate) fn run(without_go: bool) -> Result<(), Box<dyn Error>> {
    machine::demand_go("soak", without_go)?;
    let mut tally = Tally::default();
    let mut all_ended_well = true;
    for mut test in machine::cargo_tests(without_go, &["soak", "--", "--nocapture"]) {
        all_ended_well &= show(&mut test, &mut tally)?;
    }
    if !all_ended_well {
        return Err("a soak test failed".into());
    }
    if tally.passed == 0 {
        return Err("there is no test whose name contains `soak`".into());
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(())
}

/// Runs it with its output shown as it comes; whether it ended well.
fn show(test: &mut Command, tally: &mut Tally) -> Result<bool, Box<dyn Error>> {
    let mut child = test.env(machine::SOAK, "1").stdout(Stdio::piped()).spawn()?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            if let Some(result) = libtest::result(&line) {
                *tally += result;
            }
        }
    }
    Ok(child.wait()?.success())
}
