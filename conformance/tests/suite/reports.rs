//! Report files: complete or not at all.

use serde_json::Value;

use crate::desk::{Desk, program};

const RIGHT: &str = "handshake/core-version-is-1";
const WRONG: &str = "handshake/network-and-protocol-are-known";

fn plugin(desk: &Desk) -> String {
    desk.plugin("echo '1|1|unix|/x|netrpc|'; exec sleep 600")
}

/// The limit simulates a full disk: a write beyond it fails, and ignoring the result would leave
/// half a file.
#[tokio::test]
async fn a_full_disk_is_said_and_an_older_report_stays() {
    let desk = Desk::new();
    let subject = plugin(&desk);
    for kind in ["html", "jsonl", "junit", "markdown"] {
        let older = format!("older report {}", "x".repeat(64));
        desk.write("report", &older);
        let report = format!("{kind}={}", desk.word("report"));
        // With SIGXFSZ ignored, a write beyond the limit is an error. 0 blocks are too little for any report.
        let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"];
        let limited = [&limited[..], &[program().to_str().unwrap()]].concat();
        let run = ["plugin", "--subject", &subject, "--only", RIGHT, "--report", &report];
        let done = desk.finish(desk.wrapped(&limited, run).spawn().unwrap()).await;
        done.says(3, &["1 pass", "cannot write", "report: File too large"]);
        assert_eq!(desk.read("report"), older, "{kind}");
        let drafts: Vec<_> = std::fs::read_dir(desk.path("")).unwrap().flatten().collect();
        assert!(drafts.iter().all(|file| !file.file_name().to_string_lossy().starts_with(".tmp")));
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_said() {
    let desk = Desk::new();
    let subject = plugin(&desk);
    // A missing directory is reported before the run, a path that is not a file after it.
    for (place, status, words) in
        [("nowhere/report", 2, "does not exist"), ("t", 3, "cannot write")]
    {
        let report = format!("junit={}", desk.word(place));
        let run = ["plugin", "--subject", &subject, "--only", RIGHT, "--report", &report];
        desk.run(run).await.says(status, &[words, place]);
    }
}

#[tokio::test]
async fn several_runs_become_one_page() {
    let desk = Desk::new();
    let subject = plugin(&desk);
    for (name, file) in [("first-subject", "a.jsonl"), ("second-subject", "b.jsonl")] {
        let report = format!("jsonl={}", desk.word(file));
        let only = ["--only", RIGHT, "--only", WRONG, "--name", name, "--report", &report];
        let run = [&["plugin", "--subject", &subject][..], &only].concat();
        desk.run(run).await.says(1, &["1 pass, 1 fail"]);
    }
    let html = format!("html={}", desk.word("page.html"));
    let markdown = format!("markdown={}", desk.word("matrix.md"));
    let run = ["report", "a.jsonl", "b.jsonl", "--report", &html, "--report", &markdown];
    desk.run(run).await.says(0, &[]);
    for file in ["page.html", "matrix.md"] {
        let text = desk.read(file);
        for part in ["first-subject", "second-subject", WRONG.rsplit('/').next().unwrap()] {
            assert!(text.contains(part), "{part} in {file}");
        }
    }
    desk.write("broken.jsonl", "{\"event\":\n");
    desk.run(["report", "broken.jsonl", "--report", &html]).await.says(2, &["broken.jsonl"]);
    desk.run(["report", "nowhere.jsonl", "--report", &html]).await.says(2, &["nowhere.jsonl"]);
}

#[tokio::test]
async fn json_lines_say_what_the_terminal_says() {
    let desk = Desk::new();
    let subject = plugin(&desk);
    let run = ["plugin", "--subject", &subject, "--only", RIGHT, "--only", WRONG];
    let done = desk.run([&run[..], &["--report", "jsonl=run.jsonl"]].concat()).await;
    done.says(1, &["2 cases: 1 pass, 1 fail"]);
    let text = desk.read("run.jsonl");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let verdict = |id: &str| {
        let line = lines.iter().find(|line| line["id"] == id || line["case"]["id"] == id);
        let line = line.unwrap_or_else(|| panic!("{id} in {text}"));
        [&line["verdict"], &line["case"]["verdict"]].into_iter().find_map(Value::as_str)
    };
    assert_eq!((verdict(RIGHT), verdict(WRONG)), (Some("pass"), Some("fail")));
}

#[tokio::test]
async fn output_that_goes_nowhere_is_an_error_and_takes_no_report_with_it() {
    let desk = Desk::new();
    let subject = plugin(&desk);
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let run = ["plugin", "--subject", &subject, "--only", RIGHT, "--report", "jsonl=run.jsonl"];
    let running = desk.suite(run).stdout(full()).spawn().unwrap();
    desk.finish(running).await.says(3, &["cannot write to standard output: No space left"]);
    assert!(desk.read("run.jsonl").contains("\"pass\""));
    let running = desk.suite(["list"]).stdout(full()).spawn().unwrap();
    desk.finish(running).await.says(3, &["No space left"]);
}

#[tokio::test]
async fn whoever_stops_reading_has_had_enough() {
    let desk = Desk::new();
    let subject = plugin(&desk);
    let run = ["plugin", "--subject", &subject, "--only", RIGHT, "--report", "jsonl=run.jsonl"];
    for arguments in [&["list"][..], &["explain", RIGHT], &["mutants", "--list", "host"], &run] {
        let mut running = desk.suite(arguments).spawn().unwrap();
        drop(running.stdout.take());
        drop(running.stderr.take());
        desk.finish(running).await.says(0, &[]);
    }
    assert!(desk.read("run.jsonl").contains("\"pass\""));
}
