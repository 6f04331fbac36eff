//! Checks that everything that the README shows is true.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use plugwire_conformance::case::{self, Source};
use plugwire_conformance::select::Known;
use plugwire_conformance::subject::Subject;
use plugwire_conformance::{host, plugin};
use serde_json::Value;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(folder().join("README.md")).unwrap()
}

/// Returns the blocks of code of one language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let begin = format!("```{language}\n");
    let blocks = text.split(&begin).skip(1);
    let blocks: Vec<String> =
        blocks.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect();
    assert!(!blocks.is_empty(), "no {language}");
    blocks
}

fn suite(arguments: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_plugwire-conformance");
    let done = Command::new(program).args(arguments).assert().success();
    String::from_utf8(done.get_output().stdout.clone()).unwrap()
}

#[test]
fn every_json_is_json() {
    for block in blocks("json") {
        serde_json::from_str::<Value>(&block).unwrap_or_else(|error| panic!("{error}: {block}"));
    }
}

#[test]
fn every_toml_is_read_by_who_reads_such_files() {
    let (mut cases, mut others) = (0, 0);
    for text in blocks("toml") {
        let source = Source { name: "README.md", text: &text };
        let is_case = text.starts_with("[[case]]");
        if is_case && text.contains("tier =") {
            cases += case::parse::<plugin::scene::Scene>("area", source).unwrap().len();
        } else if is_case {
            cases += case::parse::<host::scene::Scene>("area", source).unwrap().len();
        } else if text.starts_with("[[known]]") {
            source.read::<Known>().unwrap();
            others += 1;
        } else if text.starts_with("[implementation]") {
            Subject::parse(source, Path::new(".")).unwrap();
            others += 1;
        } else {
            source.read::<toml::Table>().unwrap();
        }
    }
    assert_eq!((cases, others), (2, 2));
}

/// The two cases in the README pass with a healthy peer and reject their mutants.
#[test]
fn its_cases_work() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let program = env!("CARGO_BIN_EXE_plugwire-conformance");
    let cases: Vec<String> =
        blocks("toml").into_iter().filter(|text| text.starts_with("[[case]]")).collect();
    for (role, peer, flag, mutant) in [
        ("plugin", "scripted-plugin", "--mutant", "seventh-field-unasked"),
        ("host", "scripted-host", "--flaw", "any-core-version"),
    ] {
        let text = cases.iter().find(|text| text.contains("tier =") == (role == "plugin"));
        let area = folder.path().join(role);
        fs::create_dir(&area).unwrap();
        fs::write(area.join("area.toml"), text.unwrap()).unwrap();
        let judged = |broken: &[&str]| {
            let mut suite = Command::new(program);
            suite.arg(role).arg("--cases").arg(&area);
            if role == "plugin" {
                suite.args(["--cookie", "PLUGWIRE_PROBE=plugwire"]);
            }
            suite.args(["--", program, peer]).args(broken).assert()
        };
        judged(&[]).code(0);
        judged(&[flag, mutant]).code(1);
    }
}

#[test]
fn every_flag_and_every_link_is_there() {
    let commands = ["plugin", "host", "run", "list", "explain", "report", "mutants", "schema"];
    let help: String = commands.iter().map(|command| suite(&[command, "--help"])).collect();
    let text = readme();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let flags: BTreeSet<&str> = words.filter(|word| is_flag(word)).collect();
    // A flag of cargo, and one of the plugin in the example.
    let foreign = ["--path", "--versions"];
    for flag in flags.iter().filter(|flag| !foreign.contains(flag)) {
        assert!(help.contains(flag), "{flag} is no flag");
    }
    assert!(flags.len() > 15, "{flags:?}");
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
        assert!(folder().join(link).exists(), "{link} is not there");
    }
}

/// The README names every step and feature that the program knows.
#[test]
fn every_step_word_and_feature_is_told() {
    let text = readme();
    for name in ["plugin-cases", "host-cases"] {
        let schema: Value = serde_json::from_str(&suite(&["schema", name])).unwrap();
        let mut words = Vec::new();
        for one in schema["$defs"]["Step"]["oneOf"].as_array().unwrap() {
            words.extend(one["required"].as_array().unwrap().iter().filter_map(Value::as_str));
        }
        assert!(words.len() > 8, "{words:?}");
        for word in words {
            assert!(text.contains(&format!("`{word}`")), "{name}: {word}");
        }
    }
    for (role, feature) in plugwire_conformance::subject::FEATURES {
        assert!(text.contains(&format!("`{feature}`")), "{role}: {feature}");
    }
}

/// Excludes the rules of tables.
fn is_flag(word: &str) -> bool {
    word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
}
