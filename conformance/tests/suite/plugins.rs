//! Programs that do not start, are not plugins, flood, hang, fork, resist or attack.

use crate::desk::Desk;

const LINE: &str = "handshake/core-version-is-1";
const FIRST: &str = "handshake/accepts-connection-immediately-after-line";

#[tokio::test]
async fn what_does_not_start_is_said_with_the_reason() {
    let desk = Desk::new();
    let missing = ["plugin", "--cookie", "K=V", "--only", LINE, "--", "./nowhere"];
    desk.run(missing).await.says(2, &["there is no", "/nowhere"]);
    let nobody = desk.described(&["plugwire-has-no-such-program"]);
    desk.judge(&nobody, &[LINE]).await.says(3, &["No such file or directory", "no verdict"]);
    let plain = desk.program("plain", "#!/bin/sh\n", 0o644).await;
    desk.judge(&desk.described(&[&plain]), &[LINE]).await.says(3, &["Permission denied"]);
    let garbage = desk.program("garbage", "\u{7f}ELF\u{1}\u{1} of nothing\n", 0o755).await;
    desk.judge(&desk.described(&[&garbage]), &[LINE]).await.says(3, &["Exec format error"]);
}

#[tokio::test]
async fn what_is_no_plugin_is_not_conformant() {
    let desk = Desk::new();
    let hello = desk.plugin("echo hello; exit 0");
    desk.judge(&hello, &[LINE]).await.says(1, &["\"hello\"", "not conformant"]);
    let silent = desk.plugin("exit 5");
    desk.judge(&silent, &[LINE]).await.says(1, &["exit status 5", "not conformant"]);
}

#[tokio::test]
async fn floods_are_neither_kept_nor_waited_for() {
    let desk = Desk::new();
    let report = format!("jsonl={}", desk.word("run.jsonl"));
    let lines = desk.plugin("exec yes");
    let run = ["plugin", "--subject", &lines, "--only", LINE, "--report", &report];
    desk.run(run).await.says(1, &["\"y\""]);
    // Without a line feed the time limit of the step ends it.
    let zeros = desk.plugin("exec cat /dev/zero");
    let run = ["plugin", "--subject", &zeros, "--only", LINE, "--report", &report];
    desk.run(run).await.says(1, &["a line on standard output within 5s"]);
    let size = desk.read("run.jsonl").len();
    assert!((1..1 << 20).contains(&size), "a report of {size} bytes");
}

#[tokio::test]
async fn what_never_prints_a_line_is_ended() {
    let desk = Desk::new();
    // It ignores SIGTERM and SIGINT, and its child holds its pipes.
    let deaf = desk.plugin("trap '' TERM INT HUP; sleep 600 & while :; do sleep 600; done");
    desk.judge(&deaf, &[LINE]).await.says(1, &["a line on standard output within 5s"]);
}

/// A healthy plugin that exits on no request.
#[tokio::test]
async fn what_ignores_shutdown_and_sigterm_is_ended() {
    let desk = Desk::new();
    let suite = crate::desk::program().display().to_string();
    // Shutdown has no answer, and at SIGTERM the plugin ends, but not the shell that stands before it.
    let script = "trap '' TERM INT HUP; 'SUITE' scripted-plugin --mutant shutdown-hangs; while :; do sleep 600; done";
    desk.plugin(&script.replace("SUITE", &suite));
    let text = desk.read("plugin.toml");
    let text = text.replace("\"K\"", "\"PLUGWIRE_PROBE\"").replace("\"V\"", "\"plugwire\"");
    let subject = desk.write("stubborn.toml", &text);
    let done = desk
        .judge(&subject, &["handshake/core-version-is-1", "shutdown/shutdown-exits-within-2s"])
        .await;
    done.says(
        1,
        &["2 cases: 1 pass, 1 fail", "shutdown/shutdown-exits-within-2s", "actual it lives"],
    );
}

#[tokio::test]
async fn no_child_gets_away_neither_by_its_own_session_nor_without_the_mark() {
    let desk = Desk::new();
    let subject = desk.plugin(
        "note='echo $$ >> DESKpids; exec sleep 600'
        sleep 600 & echo $! >> DESKpids
        setsid sh -c \"$note\" < /dev/null > /dev/null 2>&1 &
        env -i setsid /bin/sh -c \"$note\" < /dev/null > /dev/null 2>&1 &
        env -i setsid /bin/sh -c \"(env -i /bin/sh -c '$note') & $note\" < /dev/null > /dev/null 2>&1 &
        while [ $(wc -l < DESKpids) -lt 5 ]; do :; done
        echo hello",
    );
    desk.judge(&subject, &[LINE]).await.says(1, &["\"hello\""]);
    assert_eq!(desk.noted().len(), 5, "children that were to get away");
}

/// A child without any trace of its case, and without a parent from the beginning.
const DAEMON: &str = "(cd /; env -i setsid /bin/sh -c 'echo $$ >> DESKpids; exec sleep 600' < /dev/null > /dev/null 2>&1 &)
    while [ $(wc -l < DESKpids) -lt CHILDREN ]; do :; done
    echo hello";

#[tokio::test]
async fn whose_a_daemon_is_shows_while_there_is_one_case_only() {
    let desk = Desk::new();
    desk.write("pids", "");
    let subject = desk.plugin(&DAEMON.replace("CHILDREN", "1"));
    desk.judge(&subject, &[LINE]).await.says(1, &["1 processes were left and killed"]);
    assert_eq!(desk.noted().len(), 1);
}

/// Both cases run until both have a daemon, so the suite cannot tell which belongs to which.
#[tokio::test]
async fn a_daemon_that_may_be_several_cases_is_an_error_of_the_run() {
    let desk = Desk::new();
    desk.write("pids", "");
    let subject = desk.plugin(&DAEMON.replace("CHILDREN", "2"));
    let run = ["plugin", "--subject", &subject, "--jobs", "2", "--only", LINE, "--only", FIRST];
    let done = desk.run([&run[..], &["--report", "jsonl=run.jsonl"]].concat()).await;
    done.says(3, &["2 fail", "no verdict: 2 processes outlived a case", "--jobs 1"]);
    assert!(!done.stdout.contains("were left"), "{done}");
    assert!(desk.read("run.jsonl").contains("\"strays\":2"));
}

#[tokio::test]
async fn a_pattern_of_the_mutants_names_cases_of_either_role() {
    let desk = Desk::new();
    let (here, there) = ("handshake/core-version-is-1", "handshake/healthy-plugin");
    let done = desk.run(["mutants", "--one", "--only", here, "--only", there]).await;
    done.says(0, &["2 of 2 cases pass"]);
    desk.run(["mutants", "--only", "nowhere/*"]).await.says(2, &["no case matches"]);
}

/// Files in its working directory are removed with the case.
#[tokio::test]
async fn its_working_directory_is_its_cases() {
    let desk = Desk::new();
    let script = desk.write("sub/script.sh", "pwd > $1; echo dropped > file; ls >> $1; echo hello");
    desk.write("pwd", "");
    // Both arguments are relative to where the suite was started.
    let command = ["--", "/bin/sh", "sub/script.sh", "./pwd"];
    let run = [&["plugin", "--cookie", "K=V", "--only", LINE][..], &command].concat();
    desk.run(run).await.says(1, &["\"hello\"", &script]);
    let said = desk.read("pwd");
    let [folder, file] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert!(folder.starts_with(&desk.word("t/pwc")), "{said}");
    assert_eq!(file, "file", "it was not empty");
    assert!(!desk.path("file").exists());
}

#[tokio::test]
async fn a_mutant_that_listens_in_its_working_directory_leaves_no_socket() {
    let desk = Desk::new();
    let case = "env/temporary-folder-otherwise";
    let done = desk.run(["mutants", "--role", "plugin", "--only", case]).await;
    done.says(0, &["0 are alive"]);
}

#[tokio::test]
async fn control_characters_and_markup_stay_what_they_are() {
    let desk = Desk::new();
    let subject = desk.plugin(
        r#"printf '\033]0;title\007\033[2J</script><script>alert(1)</script>]]>\r\n\377\000' >&2; echo hello"#,
    );
    let reports = ["html", "junit", "markdown", "jsonl"].map(|kind| {
        ["--report".to_owned(), format!("{kind}={}", desk.word(&format!("report.{kind}")))]
    });
    let mut run = ["plugin", "--subject", &subject, "--only", LINE].map(str::to_owned).to_vec();
    run.extend(reports.into_iter().flatten());
    let done = desk.run(run).await;
    done.says(1, &["\"hello\""]);
    assert!(done.stdout.contains("alert(1)"), "it is shown at all: {done}");
    assert!(!done.stdout.contains(['\u{1b}', '\u{7}', '\u{0}']), "{done}");
    for kind in ["html", "junit", "markdown", "jsonl"] {
        let report = desk.read(&format!("report.{kind}"));
        assert!(!report.is_empty() && !report.contains(['\u{1b}', '\u{0}']), "{kind}");
        assert!(kind == "jsonl" || !report.contains("<script>alert"), "{kind}: {report}");
    }
}

#[tokio::test]
async fn what_fills_its_folder_leaves_nothing() {
    let desk = Desk::new();
    let subject = desk.plugin(
        "cd $TMPDIR; mkdir -p a/b/c; for i in $(seq 500); do echo > a/b/file$i; done
        mkfifo pipe; ln -s / root; ln -s DESKkept link; chmod 000 a/b; chmod 000 a; chmod 500 .
        echo hello",
    );
    desk.write("kept/file", "still here");
    desk.judge(&subject, &[LINE]).await.says(1, &["\"hello\""]);
    assert_eq!(desk.read("kept/file"), "still here");
}

#[tokio::test]
async fn an_address_elsewhere_is_a_failure_in_time() {
    let desk = Desk::new();
    for address in [
        "tcp|192.0.2.1:9",
        "tcp|nowhere.invalid:9",
        "tcp|127.0.0.1",
        "unix|/nowhere/at/all",
        "udp|x",
    ] {
        let subject = desk.plugin(&format!("echo '1|1|{address}|grpc|'; exec sleep 600"));
        desk.judge(&subject, &[FIRST]).await.says(1, &[FIRST, "not conformant"]);
    }
}
