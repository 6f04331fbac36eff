//! Runs the conformance suite with real go-plugin as the oracle, in both roles, and with our
//! implementations as two ordinary subjects.
//!
//! Each run leaves its JSON lines in `target/conformance`, from which `cargo xtask conformance`
//! makes one page.

mod broken;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use plugwire_interop::{go, rust, soaks};
use serde_json::Value;

/// The releases of the oracle.
const RELEASES: [&str; 4] = ["1.4.8", "1.6.3", "1.7.0", "1.8.0"];

/// The result of a run.
struct Judged {
    output: Output,
    /// The verdict of each case.
    verdicts: BTreeMap<String, String>,
    /// The cases that test a MUST.
    musts: BTreeSet<String>,
}

impl Judged {
    #[track_caller]
    fn is_conformant(&self) {
        let said = String::from_utf8_lossy(&self.output.stdout);
        let errors = String::from_utf8_lossy(&self.output.stderr);
        assert_eq!(self.output.status.code(), Some(0), "{said}\n{errors}");
        assert!(!self.verdicts.is_empty(), "{said}\n{errors}");
    }

    /// Asserts that every MUST is met or does not apply: the run would be conformant without its known
    /// list, too.
    #[track_caller]
    fn needs_no_list(&self) {
        let met = |case: &&String| matches!(self.verdicts[*case].as_str(), "pass" | "skip");
        let broken: Vec<_> = self.musts.iter().filter(|case| !met(case)).collect();
        assert!(!self.musts.is_empty() && broken.is_empty(), "not met: {broken:?}");
    }

    /// Returns the cases with this verdict.
    fn with(&self, verdict: &str) -> BTreeSet<&str> {
        let all = self.verdicts.iter().filter(|(_, said)| *said == verdict);
        all.map(|(case, _)| case.as_str()).collect()
    }
}

/// A subject: usually one of `conformance/subjects`, with the program that was built for this test.
struct Subject {
    role: &'static str,
    /// The options that describe the subject to the suite.
    description: Vec<String>,
    command: Vec<PathBuf>,
}

impl Subject {
    fn go(release: &str, role: &'static str) -> Self {
        let (program, arguments): (_, &[&str]) = match role {
            "plugin" => ("probe-plugin", &["--versions", "1,3"]),
            _ => ("conformance-driver", &[]),
        };
        let mut command = vec![go::peer(release, program)];
        command.extend(arguments.iter().map(PathBuf::from));
        // The newest grpc-go does not change what a release of go-plugin is described to do.
        let described = release.trim_end_matches("-newest");
        let description = described_by(&format!("go-plugin-{described}.{role}.toml"));
        Self { role, description, command }
    }

    fn ours(name: &str, role: &'static str, arguments: &[&str]) -> Self {
        let program = if role == "plugin" { "probe-plugin" } else { "conformance-driver" };
        let mut command = vec![rust::program(program)];
        command.extend(arguments.iter().map(PathBuf::from));
        Self { role, description: described_by(&format!("{name}.{role}.toml")), command }
    }

    /// Judges the subject, and stores the run under this name.
    fn judge(&self, name: &str, options: &[&str]) -> Judged {
        let folder = go::root().join("target/conformance");
        fs::create_dir_all(&folder).expect("a directory");
        let report = folder.join(format!("{name}.jsonl"));
        let mut suite = Command::new(rust::suite());
        suite
            .arg(self.role)
            .args(&self.description)
            .args(["--color", "never", "--quiet", "--timeout-scale", "3"])
            // A case mostly waits.
            .args(["--jobs", "12"])
            .arg("--report")
            .arg(format!("jsonl={}", report.display()))
            .args(options)
            .arg("--")
            .args(&self.command);
        let output = suite.stdin(Stdio::null()).output().expect("the suite runs");
        let lines = fs::read_to_string(&report).unwrap_or_default();
        let events = lines.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let cases: Vec<Value> = events.filter(|event: &Value| event["event"] == "case").collect();
        let word = |value: &Value| value.as_str().expect("a text").to_owned();
        let verdicts =
            cases.iter().map(|case| (word(&case["id"]), word(&case["verdict"]))).collect();
        let musts = cases.iter().filter(|case| case["level"] == "must");
        let musts = musts.map(|case| word(&case["id"])).collect();
        Judged { output, verdicts, musts }
    }
}

/// Returns the options for a checked-in description.
fn described_by(file: &str) -> Vec<String> {
    let path = go::root().join("conformance/subjects").join(file);
    vec!["--subject".to_owned(), path.display().to_string()]
}

fn known(release: &str, role: &str) -> String {
    let role = if role == "host" { "host-" } else { "" };
    let list = go::root().join(format!("conformance/known/go-plugin-{role}{release}.toml"));
    list.display().to_string()
}

/// With its known list, strict in both directions, a release passes everything else, including
/// SHOULD and robustness.
#[track_caller]
fn is_as_known(release: &str, role: &'static str) -> Judged {
    assert!(RELEASES.contains(&release));
    let list = known(release, role);
    let options = ["--strict", "--known", &list];
    let judged = Subject::go(release, role).judge(&format!("{role}-go-plugin-{release}"), &options);
    judged.is_conformant();
    judged
}

#[test]
fn go_plugin_1_4_8_is_as_known() {
    is_as_known("1.4.8", "plugin");
}

#[test]
fn go_plugin_1_6_3_is_as_known() {
    is_as_known("1.6.3", "plugin");
}

#[test]
fn go_plugin_1_7_0_is_as_known() {
    is_as_known("1.7.0", "plugin");
}

/// One run, judged twice: the newest release also keeps every MUST.
#[test]
fn go_plugin_1_8_0_is_as_known_and_needs_no_list_for_a_must() {
    is_as_known("1.8.0", "plugin").needs_no_list();
}

#[test]
fn go_host_1_4_8_is_as_known() {
    is_as_known("1.4.8", "host");
}

#[test]
fn go_host_1_6_3_is_as_known() {
    is_as_known("1.6.3", "host");
}

#[test]
fn go_host_1_7_0_is_as_known() {
    is_as_known("1.7.0", "host");
}

#[test]
fn go_host_1_8_0_is_as_known_and_needs_no_list_for_a_must() {
    is_as_known("1.8.0", "host").needs_no_list();
}

/// The release meets every MUST without a known list, also with the newest grpc-go.
#[track_caller]
fn needs_no_list(release: &str, role: &'static str) {
    fs::create_dir_all(go::root().join("target/conformance/unlisted")).expect("a directory");
    let name = format!("unlisted/{role}-{release}");
    Subject::go(release, role).judge(&name, &[]).is_conformant();
}

#[test]
fn stock_go_plugin_with_the_newest_grpc_needs_no_list() {
    needs_no_list("1.8.0-newest", "plugin");
}

#[test]
fn stock_go_host_with_the_newest_grpc_needs_no_list() {
    needs_no_list("1.8.0-newest", "host");
}

/// A stranger's plugin can be judged from its binary and its cookie alone.
#[test]
fn a_binary_and_its_cookie_are_enough() {
    assert_cmd::Command::new(rust::suite())
        .args(["plugin", "--cookie", "GREETER_PLUGIN=hello", "--color", "never", "--quiet"])
        .args(["--timeout-scale", "3", "--tier", "black-box", "--tier", "raw", "--"])
        .arg(go::peer("1.8.0", "greeter-plugin"))
        .assert()
        .success()
        .stdout(predicates::str::contains("every MUST"));
}

/// The areas of cases in which TCP makes a difference: the line, the listeners of the broker, and
/// TLS, which names its peer.
const TCP: [&str; 3] = ["handshake/*", "broker/*", "tls/*"];

/// Our plugin has no known failures, and passes each case on unix sockets or on TCP. On TCP, only the
/// cases that do not apply to unix sockets and those of the areas in [`TCP`] run; a soak runs all.
#[test]
fn soak_our_plugin_passes_everything() {
    let unix = Subject::ours("plugwire", "plugin", &["--versions", "1,3"]);
    let unix = unix.judge("plugin-plugwire", &["--strict"]);
    unix.is_conformant();
    let tcp = Subject::ours("plugwire-tcp", "plugin", &["--versions", "1,3", "--tcp"]);
    let mut options = vec!["--strict"];
    if !soaks() {
        let about_tcp = unix.with("skip").into_iter().chain(TCP);
        options.extend(about_tcp.flat_map(|case| ["--only", case]));
    }
    let tcp = tcp.judge("plugin-plugwire-tcp", &options);
    tcp.is_conformant();
    let mut passed = unix.with("pass");
    passed.extend(tcp.with("pass"));
    let all: BTreeSet<&str> = unix.verdicts.keys().map(String::as_str).collect();
    let missing: Vec<_> = all.difference(&passed).collect();
    assert!(missing.is_empty(), "not passed: {missing:?}");
}

/// Our host has no known failures and supports every feature.
#[test]
fn our_host_passes_everything() {
    let judged = Subject::ours("plugwire", "host", &[]).judge("host-plugwire", &["--strict"]);
    judged.is_conformant();
    assert_eq!(judged.with("pass").len(), judged.verdicts.len(), "{:?}", judged.verdicts);
}

/// Three complete runs, each in a different order, agree on every case while two processes keep
/// both cores busy.
#[test]
#[ignore = "takes long: part of `cargo xtask soak`"]
fn soak_shuffled_runs_on_a_loaded_machine_agree() {
    let load: Vec<Load> = (0..2).map(|_| Load::start()).collect();
    let rounds = 3;
    for (name, subject) in [
        ("plugin-go", Subject::go("1.8.0", "plugin")),
        ("host-go", Subject::go("1.8.0", "host")),
        ("plugin-ours", Subject::ours("plugwire", "plugin", &["--versions", "1,3"])),
        ("host-ours", Subject::ours("plugwire", "host", &[])),
    ] {
        fs::create_dir_all(go::root().join("target/conformance/shuffled")).expect("a directory");
        let runs: Vec<_> = (0..rounds)
            .map(|round| {
                let seed = (round + 1).to_string();
                let list =
                    if name.ends_with("go") { Some(known("1.8.0", subject.role)) } else { None };
                let mut options = vec!["--shuffle", seed.as_str()];
                // Cases that are known to end either way then have one verdict.
                if let Some(list) = &list {
                    options.extend(["--known", list]);
                }
                subject.judge(&format!("shuffled/{name}-{round}"), &options).verdicts
            })
            .collect();
        println!("{name}: {} cases, {rounds} runs", runs[0].len());
        assert!(runs[0].len() > 10, "{:?}", runs[0]);
        assert!(runs.iter().all(|run| *run == runs[0]), "{name}: {runs:#?}");
    }
    drop(load);
}

/// A process that keeps one core busy for as long as this test holds its standard input.
struct Load(Child);

impl Load {
    fn start() -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec 3<&0; (read _ <&3; kill $$) & while :; do :; done"]);
        Self(shell.stdin(Stdio::piped()).spawn().expect("a shell"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Every subject in the directory is judged above.
#[test]
fn no_subject_is_forgotten() {
    let folder: &Path = &go::root().join("conformance/subjects");
    let found: BTreeSet<String> = fs::read_dir(folder)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    let mut wanted: BTreeSet<String> =
        ["plugwire.plugin.toml", "plugwire-tcp.plugin.toml", "plugwire.host.toml"]
            .map(str::to_owned)
            .into();
    for release in RELEASES {
        wanted.extend(["plugin", "host"].map(|role| format!("go-plugin-{release}.{role}.toml")));
    }
    assert_eq!(found, wanted);
}

/// The findings page lists each failure of the newest release; it may also list cases that can end
/// either way.
#[test]
fn every_finding_is_on_its_page() {
    let page = fs::read_to_string(go::root().join("docs/findings.md")).expect("the page");
    let named: BTreeSet<String> = page
        .split('`')
        .filter(|text| text.contains(':') && text.contains('/') && !text.contains(' '))
        .map(str::to_owned)
        .collect();
    let fails = listed("expect = \"fail\"");
    let missing: Vec<_> = fails.difference(&named).collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
    let known: BTreeSet<String> = &fails | &listed("expect = \"flaky\"");
    let strange: Vec<_> = named.difference(&known).collect();
    assert!(strange.is_empty(), "on the page alone: {strange:?}");
}

/// Returns the entries of the newest release's known lists that contain this text, each with its
/// role.
fn listed(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for role in ["plugin", "host"] {
        let list = fs::read_to_string(known("1.8.0", role)).expect("a known list");
        for entry in list.split("[[known]]").filter(|entry| entry.contains(text)) {
            let pattern =
                entry.split("pattern = \"").nth(1).and_then(|rest| rest.split('"').next());
            found.insert(format!("{role}:{}", pattern.expect("a pattern")));
        }
    }
    found
}
