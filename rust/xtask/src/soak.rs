//! `cargo xtask soak`: a test whose name contains `soak` has a short form, which `cargo test` runs, and a long one.

use std::{
    error::Error,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use crate::{
    libtest::{self, Tally},
    machine::{self, cargo},
};

pub(crate) fn run(without_go: bool) -> Result<(), Box<dyn Error>> {
    machine::demand_go("soak", without_go)?;
    let mut child = cargo(without_go)
        .args(["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests"])
        .args(["soak", "--", "--nocapture"])
        .env(machine::SOAK, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            if let Some(result) = libtest::result(&line) {
                tally += result;
            }
        }
    }
    if !child.wait()?.success() {
        return Err("a soak test failed".into());
    }
    if tally.passed == 0 {
        return Err("there is no test whose name contains `soak`".into());
    }
    Ok(())
}
