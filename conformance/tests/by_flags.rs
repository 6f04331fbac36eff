//! Runs with only a plugin and its cookie, without a description of its features. No broken plugin
//! may pass as one that lacks a feature.

use std::collections::{BTreeMap, VecDeque};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use parking_lot::Mutex;
use predicates::str::contains;
use serde_json::Value;

/// A plugin without the seventh field is one from before multiplexing.
const OLDER: &str = "no-seventh-field";

/// Short, every fourth mutant; long, all of them.
#[test]
fn soak_no_mutant_passes_for_one_that_lacks_a_feature() {
    let every = if std::env::var_os("PLUGWIRE_SOAK").is_some() { 1 } else { 4 };
    let mutants: VecDeque<_> = cases_by_mutant().into_iter().step_by(every).collect();
    let alive = played(mutants, |mutant, cases| {
        by_flags(mutant, cases).try_code(1).err().map(|run| format!("{mutant}: {run}"))
    });
    assert!(alive.is_empty(), "{}", alive.join("\n"));
}

/// The mutants whose cases auto-detection once skipped.
#[test]
fn what_every_plugin_has_is_missed() {
    let by_mutant = cases_by_mutant();
    for mutant in [
        "no-tls",
        "no-certificate-in-line",
        "stdio-absent",
        "broker-absent",
        "reflection-without-v1alpha",
    ] {
        by_flags(mutant, &by_mutant[mutant]).append_context("mutant", mutant).code(1);
    }
}

#[test]
fn a_plugin_from_before_multiplexing_is_none_that_is_broken() {
    let cases =
        ["handshake/core-version-is-1".to_owned(), "mux/one-session-carries-all".to_owned()];
    by_flags(OLDER, &cases).success().stdout(contains("2 cases: 1 pass, 1 skip"));
}

/// Returns the cases of a mutant that any plugin can be tried with. What a plugin on TCP does is for a plugin on TCP.
fn cases_by_mutant() -> BTreeMap<String, Vec<String>> {
    let list: Value =
        serde_json::from_slice(&suite(&["list", "--json"]).success().get_output().stdout).unwrap();
    let mut cases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for case in list["cases"].as_array().unwrap() {
        let tcp = case["needs"].as_array().unwrap().contains(&"tcp".into());
        // A MAY never fails a run.
        if !tcp && case["level"] != "may" && (case["tier"] == "black-box" || case["tier"] == "raw")
        {
            for mutant in case["mutants"].as_array().unwrap() {
                let id = case["id"].as_str().unwrap().to_owned();
                cases.entry(mutant.as_str().unwrap().to_owned()).or_default().push(id);
            }
        }
    }
    cases.remove(OLDER).unwrap();
    assert!(cases.len() > 80);
    cases
}

/// A run mostly waits, so more runs are started than there are cores.
fn played(
    mutants: VecDeque<(String, Vec<String>)>,
    play: impl Fn(&str, &[String]) -> Option<String> + Sync,
) -> Vec<String> {
    let (waiting, alive) = (Mutex::new(mutants), Mutex::new(Vec::new()));
    let next = || waiting.lock().pop_front();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some((mutant, cases)) = next() {
                    let found = play(&mutant, &cases);
                    alive.lock().extend(found);
                }
            });
        }
    });
    alive.into_inner()
}

fn by_flags(mutant: &str, cases: &[String]) -> Assert {
    let mut words = vec!["plugin", "--strict", "--cookie", "PLUGWIRE_PROBE=plugwire"];
    words.extend(["--app-version", "1", "--app-version", "3"]);
    words.extend(["--timeout-scale", "3"]);
    words.extend(cases.iter().flat_map(|case| ["--only", case.as_str()]));
    words.extend(["--", env!("CARGO_BIN_EXE_plugwire-conformance"), "scripted-plugin"]);
    words.extend(["--versions", "1,3", "--mutant", mutant]);
    suite(&words)
}

fn suite(arguments: &[&str]) -> Assert {
    Command::new(env!("CARGO_BIN_EXE_plugwire-conformance")).args(arguments).assert()
}
