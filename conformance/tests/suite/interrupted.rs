//! Ctrl-C, and other signals.

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::desk::{Desk, LONGEST};

/// Notes its pid and that of a child without group and mark, and then hangs for ten minutes.
const HANGS: &str =
    "env -i setsid /bin/sh -c 'echo $$ >> DESKpids; exec sleep 600' < /dev/null > /dev/null 2>&1 &
    echo $$ >> DESKpids
    while [ $(wc -l < DESKpids) -lt 2 ]; do :; done
    cp DESKpids DESKdraft; mv DESKdraft DESKready; exec sleep 600";

/// The last line of a run.
const CONCLUSION: &str = "not conformant";

async fn interrupted(desk: &Desk, arguments: &[&str], signal: Signal) {
    let running = desk.suite(arguments).spawn().unwrap();
    let pid = Pid::from_raw(running.id().unwrap().try_into().unwrap()).unwrap();
    desk.appears("ready").await;
    kill_process(pid, signal).unwrap();
    let done = desk.finish(running).await;
    done.says(130, &["interrupted"]);
    assert!(desk.noted().len() >= 2, "{:?}", desk.noted());
}

#[tokio::test]
async fn in_a_case() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let desk = Desk::new();
        let subject = desk.plugin(HANGS);
        let only = ["--only", "handshake/core-version-is-1"];
        interrupted(&desk, &[&["plugin", "--subject", &subject][..], &only].concat(), signal).await;
    }
}

/// Before the first case, while the suite detects features.
#[tokio::test]
async fn in_the_search_for_features() {
    let desk = Desk::new();
    desk.plugin(HANGS);
    let script = desk.word("plugin.sh");
    let run = ["plugin", "--cookie", "K=V", "--", "/bin/sh", &script];
    interrupted(&desk, &run, Signal::TERM).await;
}

#[tokio::test]
async fn with_a_driver() {
    let desk = Desk::new();
    let driver = desk.driver(HANGS);
    let run = ["host", "--only", "handshake/healthy-plugin", "--", "/bin/sh", &driver];
    interrupted(&desk, &run, Signal::INT).await;
}

/// A driver that fails each case at once.
const USELESS: &str = "echo nonsense";

async fn interrupted_at_its_end(desk: &Desk, running: Child) {
    let left: Vec<_> = std::fs::read_dir(desk.path("t")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?} are there when the run is over");
    let pid = Pid::from_raw(running.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    desk.finish(running).await.says(130, &[]);
}

/// More than a pipe holds: without a reader the rest of the output never comes.
#[tokio::test]
async fn while_the_run_is_told() {
    let desk = Desk::new();
    let driver = desk.driver(USELESS);
    let mut running = desk.suite(["host", "--", "/bin/sh", &driver]).spawn().unwrap();
    let mut stdout = running.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).await.unwrap();
    interrupted_at_its_end(&desk, running).await;
    let mut told = Vec::new();
    stdout.read_to_end(&mut told).await.unwrap();
    let told = String::from_utf8_lossy(&told);
    assert!(!told.contains(CONCLUSION), "it was not interrupted: {told}");
}

/// Several runs are put together, and one of them never comes.
#[tokio::test]
async fn while_runs_are_read() {
    let desk = Desk::new();
    let pipe = desk.word("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().await.unwrap().success());
    let report = format!("html={}", desk.word("report.html"));
    let running = desk.suite(["report", &pipe, "--report", &report]).spawn().unwrap();
    // The pipe opens when there is a reader; by then the suite listens for signals.
    let (opened, open) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || opened.send(std::fs::File::options().write(true).open(pipe)));
    let _writer = tokio::time::timeout(LONGEST, open).await.unwrap().unwrap().unwrap();
    let pid = Pid::from_raw(running.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    desk.finish(running).await.says(130, &[]);
    assert!(!desk.path("report.html").exists());
}

/// A report without a reader blocks the suite, but not after a signal.
#[tokio::test]
async fn while_a_report_is_written() {
    let desk = Desk::new();
    let driver = desk.driver(USELESS);
    let pipe = desk.word("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().await.unwrap().success());
    let report = format!("jsonl={pipe}");
    let only = ["host", "--only", "handshake/healthy-plugin", "--report", &report];
    let mut running =
        desk.suite([&only[..], &["--", "/bin/sh", &driver]].concat()).spawn().unwrap();
    let mut stdout = running.stdout.take().unwrap();
    // The verdict is printed before the report is written.
    let mut told = String::new();
    while !told.contains(CONCLUSION) {
        let mut part = vec![0; 4096];
        let size = stdout.read(&mut part).await.unwrap();
        assert_ne!(size, 0, "{told}");
        told.push_str(&String::from_utf8_lossy(&part[..size]));
    }
    interrupted_at_its_end(&desk, running).await;
}
