//! Selection, order and repetition of cases, and `list` and `explain`.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::process::Command;

use crate::desk::{Desk, Done, program};

/// Returns a plugin with one mistake: its protocol is `netrpc`. It lives until it is killed.
fn plugin(desk: &Desk) -> String {
    desk.plugin("echo '1|1|unix|/x|netrpc|'; exec sleep 600")
}

/// Cases that start a plugin and read its line.
const SHORT: [&str; 4] = [
    "handshake/core-version-is-1",
    "handshake/network-and-protocol-are-known",
    "handshake/offered-version-is-announced",
    "handshake/six-fields-unless-mux-requested",
];

/// Returns each verdict, by case, as JSON lines say.
fn verdicts(desk: &Desk, file: &str) -> BTreeSet<(String, String)> {
    let text = desk.read(file);
    let cases = text.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let case = if line["case"].is_object() { &line["case"] } else { &line };
        Some((case["id"].as_str()?.to_owned(), case["verdict"].as_str()?.to_owned()))
    });
    cases.collect()
}

async fn run(desk: &Desk, subject: &str, flags: &[&str]) -> Done {
    let mut words = vec!["plugin", "--subject", subject];
    words.extend(SHORT.iter().flat_map(|case| ["--only", *case]));
    words.extend(flags);
    desk.run(words).await
}

#[tokio::test]
async fn shuffled_runs_say_their_seed_and_find_the_same() {
    let desk = Desk::new();
    let subject = plugin(&desk);
    run(&desk, &subject, &["--report", "jsonl=plain"]).await.says(1, &["4 cases: 3 pass, 1 fail"]);
    let shuffled = ["--shuffle", "7", "--jobs", "1", "--report", "jsonl=seven"];
    run(&desk, &subject, &shuffled).await.says(1, &["shuffled with seed 7"]);
    let new = run(&desk, &subject, &["--report", "jsonl=new", "--shuffle"]).await;
    let seed = new.stderr.split("shuffled with seed ").nth(1).and_then(|rest| rest.lines().next());
    assert!(seed.is_some_and(|seed| seed.parse::<u64>().is_ok()), "{new}");
    let plain = verdicts(&desk, "plain");
    assert_eq!(plain.len(), 4);
    assert_eq!(plain, verdicts(&desk, "seven"));
    assert_eq!(plain, verdicts(&desk, "new"));
}

#[tokio::test]
async fn the_counts_add_up() {
    let desk = Desk::new();
    let subject = plugin(&desk);
    // Some pass, some fail, and those with a need are skipped.
    let mut words = vec!["plugin", "--subject", &subject, "--only", "broker/*", "--only", "mux/*"];
    words.extend(SHORT.iter().flat_map(|case| ["--only", *case]));
    let done = desk.run(words).await;
    let last = done.stdout.lines().find(|line| line.contains(" cases: ")).unwrap();
    let (all, rest) = last.split_once(" cases: ").unwrap();
    let parts = rest.split(", ").filter_map(|part| part.split(' ').next()?.parse::<usize>().ok());
    assert_eq!(parts.sum::<usize>(), all.trim().parse::<usize>().unwrap(), "{last}");
    assert!(last.contains(" pass") && last.contains(" fail") && last.contains(" skip"), "{last}");
}

#[tokio::test]
async fn repeated_runs_end_at_the_first_that_fails() {
    let desk = Desk::new();
    let right = desk.plugin("echo '1|1|unix|/x|grpc|'; exec sleep 600");
    let only = ["plugin", "--subject", &right, "--only", SHORT[0]];
    let done = desk.run([&only[..], &["--repeat", "3", "--until-fail"]].concat()).await;
    done.says(0, &[]);
    assert_eq!(done.stdout.matches("1 case: 1 pass").count(), 3, "{done}");
    // This plugin fails at its second start.
    let late = desk
        .plugin("test -e DESKseen && core=2; touch DESKseen; echo \"${core:-1}|1|unix|/x|grpc|\"");
    let only = ["plugin", "--subject", &late, "--only", SHORT[0]];
    let done = desk.run([&only[..], &["--repeat", "5", "--until-fail"]].concat()).await;
    done.says(1, &["1 case: 1 fail"]);
    assert_eq!(done.stdout.matches("1 case: 1 ").count(), 2, "{done}");
}

#[tokio::test]
async fn one_case_is_shown_whole_and_its_folder_kept_on_request() {
    let desk = Desk::new();
    let subject = plugin(&desk);
    let run = ["run", SHORT[0], "--subject", &subject];
    desk.run(run).await.says(0, &["step 1: start", "1|1|unix|/x|netrpc|"]);
    // Kept in a directory that is not checked for leftovers.
    let kept = desk.path("kept");
    std::fs::create_dir(&kept).unwrap();
    let keeping =
        desk.suite([&run[..], &["--keep"]].concat()).env("TMPDIR", &kept).spawn().unwrap();
    let done = desk.finish(keeping).await;
    let folders: Vec<_> =
        std::fs::read_dir(&kept).unwrap().flatten().map(|one| one.path()).collect();
    assert_eq!(folders.len(), 1);
    done.says(0, &[&folders[0].display().to_string()]);
}

/// Returns the directory that a run kept, in the desk's `kept`.
async fn kept_by(desk: &Desk, run: &[&str]) -> std::path::PathBuf {
    let kept = desk.path("kept");
    std::fs::create_dir_all(&kept).unwrap();
    let mut suite = desk.suite([&["run", "--keep"], run].concat());
    desk.finish(suite.env("TMPDIR", &kept).spawn().unwrap()).await;
    let mut folders: Vec<_> = std::fs::read_dir(&kept).unwrap().flatten().collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders.remove(0).path()
}

/// Starts the plugin only from its script: it prints its line, with the directory and the variables
/// of its case.
#[tokio::test]
async fn a_kept_plugin_is_started_again_by_hand() {
    let desk = Desk::new();
    let subject = desk.plugin(
        "echo \"1|1|unix|$PWD/$PLUGIN_PROTOCOL_VERSIONS-$K-${PLUGIN_CLIENT_CERT-none}|grpc|\"",
    );
    let folder = kept_by(&desk, &[SHORT[0], "--subject", &subject]).await;
    let mut script = Command::new(folder.join("replay.sh"));
    script.env("PLUGIN_CLIENT_CERT", "not the case's").env_remove("K");
    let output = script.output().await.unwrap();
    let line = format!("1|1|unix|{}/w/1-V-none|grpc|\n", folder.display());
    assert_eq!(String::from_utf8_lossy(&output.stdout), line, "{output:?}");
}

/// The driver gets its task once more, and the scripted plugin is where the task says.
#[tokio::test]
async fn a_kept_driver_is_started_again_by_hand() {
    let desk = Desk::new();
    let suite = program().display().to_string();
    let case = "host:handshake/healthy-plugin";
    let folder = kept_by(&desk, &[case, "--", &suite, "scripted-host"]).await;
    let output = Command::new(folder.join("replay.sh")).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    let answers = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let answers: Vec<_> =
        answers.map(|answer| (answer["op"].clone(), answer["ok"].clone())).collect();
    let wanted = ["start", "ping", "call", "kill"].map(|op| (op.into(), true.into()));
    assert_eq!(answers, wanted, "{said}");
}

#[tokio::test]
async fn cases_are_listed_and_explained() {
    let desk = Desk::new();
    let list = desk.run(["list"]).await;
    list.says(0, &SHORT);
    let json = desk.run(["list", "--json"]).await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let cases = json["cases"].as_array().unwrap();
    list.says(0, &[&format!("{} cases", cases.len())]);
    let of_role = |role: &str| cases.iter().filter(|case| case["role"] == role).count();
    assert!(of_role("plugin") >= 60 && of_role("host") >= 50, "{}", cases.len());
    assert_eq!(of_role("plugin") + of_role("host"), cases.len());
    let hosts = desk.run(["list", "host"]).await;
    hosts.says(0, &[&format!("{} cases", of_role("host"))]);
    let said = ["HS-10", "core-version-2", "steps = ["];
    desk.run(["explain", SHORT[0]]).await.says(0, &said);
    desk.run(["explain", "host:handshake/healthy-plugin"]).await.says(0, &["[[case]]"]);
    for name in ["plugin-cases", "host-cases", "subject", "known"] {
        let schema = desk.run(["schema", name]).await;
        assert!(serde_json::from_str::<Value>(&schema.stdout).unwrap().is_object(), "{name}");
    }
}
