//! `cargo xtask conformance`: the suite's own judges, in one page. The tests judge real go-plugin and ours; each run leaves its
//! JSON lines, and the suite puts them beside each other.

use std::{error::Error, fs, path::PathBuf, process::Command};

use crate::machine::{self, cargo};

/// The columns, in the order in which one reads them; a subject's file is `ROLE-SUBJECT.jsonl`.
const SUBJECTS: [&str; 6] = [
    "go-plugin-1.4.8",
    "go-plugin-1.6.3",
    "go-plugin-1.7.0",
    "go-plugin-1.8.0",
    "plugwire",
    "plugwire-tcp",
];

pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    machine::demand_go("conformance", false)?;
    let folder = machine::root().join("target/conformance");
    // What an earlier run left must not pass for this one's.
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    println!("building the Go peers, and judging each in both roles; this takes some minutes");
    let mut tests = cargo();
    tests.args(["test", "--package", "plugwire-interop", "--test", "conformance"]);
    let judged = tests.status()?.success();
    page(&folder)?;
    match judged {
        true => Ok(()),
        false => Err("a subject is not as it should be; the page shows what".into()),
    }
}

fn page(folder: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let of_role =
        |role: &str| SUBJECTS.map(|subject| folder.join(format!("{role}-{subject}.jsonl")));
    let runs: Vec<PathBuf> =
        ["plugin", "host"].into_iter().flat_map(of_role).filter(|file| file.exists()).collect();
    if runs.is_empty() {
        return Err("no subject was judged".into());
    }
    let mut report: Command = cargo();
    report.args(["run", "--quiet", "--package", "plugwire-conformance", "--", "report"]);
    for kind in [("html", "matrix.html"), ("markdown", "matrix.md")] {
        report.arg("--report").arg(format!("{}={}", kind.0, folder.join(kind.1).display()));
    }
    if !report.args(&runs).status()?.success() {
        return Err("the page could not be made".into());
    }
    println!("the matrix: {}", folder.join("matrix.html").display());
    Ok(())
}
