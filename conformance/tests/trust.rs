//! Checks that every case passes with a healthy peer and rejects its mutants.

use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::Value;

/// Short, each case meets the first of its mutants; long, all of them.
#[test]
fn soak_every_case_rejects_its_mutants() {
    let soak = std::env::var_os("PLUGWIRE_SOAK").is_some();
    // Short, since sockets are made in it.
    let place = tempfile::tempdir_in("/tmp").unwrap();
    let arguments: &[&str] = if soak { &["mutants"] } else { &["mutants", "--one"] };
    let checked = suite(arguments, place.path());
    let output = checked.get_output();
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "the broken peers leave nothing: {left:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // The mutants that are alive, and in the long form how many were tried.
    println!("{said}");
    checked.success();

    // N of N cases pass with a healthy peer; M of M mutants are rejected, 0 are alive
    let line = said.lines().last().unwrap_or_default();
    let numbers: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [passed, cases, rejected, mutants, alive] = numbers[..] else { panic!("{said}") };
    let catalogue = catalogue();
    assert_eq!((passed, cases), (catalogue.len(), catalogue.len()), "{line}");
    let tried = |case: &Value| case["mutants"].as_array().map_or(0, Vec::len);
    let wanted = catalogue.iter().map(|case| if soak { tried(case) } else { tried(case).min(1) });
    assert_eq!((rejected, mutants, alive), (mutants, wanted.sum(), 0), "{line}");
}

/// Returns what the program says of its cases.
fn catalogue() -> Vec<Value> {
    let list: Value =
        serde_json::from_slice(&suite(&["list", "--json"], "/".as_ref()).get_output().stdout)
            .unwrap();
    list["cases"].as_array().cloned().unwrap()
}

/// Runs the suite in this directory, which is also its temporary directory.
fn suite(arguments: &[&str], place: &Path) -> Assert {
    let program = env!("CARGO_BIN_EXE_plugwire-conformance");
    let mut suite = Command::new(program);
    suite.args(arguments).current_dir(place).env("TMPDIR", place).assert()
}
