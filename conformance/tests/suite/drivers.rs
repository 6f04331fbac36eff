//! Drivers that violate the contract.

use crate::desk::{Desk, Done};

const HEALTHY: &str = "handshake/healthy-plugin";

async fn drive(desk: &Desk, script: &str, flags: &[&str]) -> Done {
    let driver = desk.driver(script);
    let mut run = vec!["host", "--only", HEALTHY];
    run.extend(flags);
    run.extend(["--", "/bin/sh", &driver]);
    desk.run(run).await
}

#[tokio::test]
async fn nonsense_is_quoted() {
    let desk = Desk::new();
    drive(&desk, "echo nonsense", &[]).await.says(1, &["\"nonsense\" is no JSON"]);
    drive(&desk, "printf 'half a line'", &[]).await.says(1, &["half a line", "is no line"]);
    let other = r#"echo '{"op":"ping","ok":true}'"#;
    drive(&desk, other, &[]).await.says(1, &["\"start\" was next"]);
    let unknown = r#"echo '{"op":"start","ok":false,"error":{"kind":"bad luck"}}'"#;
    drive(&desk, unknown, &[]).await.says(1, &["is no kind of error"]);
}

#[tokio::test]
async fn on_a_slow_machine_every_time_of_its_task_is_longer() {
    let desk = Desk::new();
    let driver = desk.driver("cat > DESKtask; echo nonsense");
    let case = ["host", "--only", "calls/cancellation", "--timeout-scale", "3"];
    desk.run([&case[..], &["--", "/bin/sh", &driver]].concat()).await.says(1, &["nonsense"]);
    let task: serde_json::Value = serde_json::from_str(&desk.read("task")).unwrap();
    let call = &task["steps"][1];
    let times =
        [&task["plugin"]["start_timeout_ms"], &call["timeout_ms"], &call["cancel_after_ms"]];
    assert_eq!(times, [30_000, 60_000, 3_000]);
}

#[tokio::test]
async fn a_flood_is_ended() {
    let desk = Desk::new();
    drive(&desk, "exec cat /dev/zero", &[]).await.says(1, &["more than 4 MiB"]);
    drive(&desk, "exec yes", &[]).await.says(1, &["\"y\" is no JSON"]);
}

#[tokio::test]
async fn one_that_never_answers_is_ended_when_the_time_is_over() {
    let desk = Desk::new();
    let deaf = "trap '' TERM INT; while :; do sleep 600; done";
    drive(&desk, deaf, &[]).await.says(1, &["timeout", "an end within 10s"]);
}

#[tokio::test]
async fn an_early_end_is_a_crash() {
    let desk = Desk::new();
    drive(&desk, "exit 7", &[]).await.says(1, &["crash", "exit status 7"]);
    drive(&desk, "kill -9 $$", &[]).await.says(1, &["crash", "signal 9"]);
}

#[tokio::test]
async fn unimplemented_counts_only_where_it_is_said() {
    let desk = Desk::new();
    let said = r#"echo '{"op":"start","unimplemented":"everything"}'; exit 89"#;
    drive(&desk, said, &[]).await.says(1, &["1 unimplemented", "everything", "not conformant"]);
    // To allow it proves nothing.
    let done = drive(&desk, said, &["--allow-unimplemented"]).await;
    done.says(4, &["1 unimplemented", "nothing is proved"]);
    // Contract: it ends with 89, too.
    let only_said = r#"echo '{"op":"start","unimplemented":"everything"}'"#;
    let done = drive(&desk, only_said, &["--allow-unimplemented"]).await;
    done.says(1, &["exit status 89 after", "exit status 0"]);
    drive(&desk, "exit 89", &[]).await.says(1, &["exit status 89", "1 crash"]);
}

#[tokio::test]
async fn closing_the_output_is_no_answer() {
    let desk = Desk::new();
    let closed = "exec 1>&-; exec sleep 600";
    drive(&desk, closed, &[]).await.says(1, &["it closed its output, and lives on"]);
}

#[tokio::test]
async fn its_children_end_with_it() {
    let desk = Desk::new();
    let forks = "setsid sh -c 'echo $$ >> DESKpids; exec sleep 600' < /dev/null > /dev/null 2>&1 &
        while ! [ -s DESKpids ]; do :; done
        echo nonsense";
    drive(&desk, forks, &[]).await.says(1, &["\"nonsense\" is no JSON"]);
    assert_eq!(desk.noted().len(), 1);
}

#[tokio::test]
async fn one_that_does_not_start_is_an_error_of_the_run() {
    let desk = Desk::new();
    let missing = ["host", "--only", HEALTHY, "--", "plugwire-has-no-such-program"];
    desk.run(missing).await.says(3, &["No such file or directory", "no verdict"]);
    let missing = ["host", "--only", HEALTHY, "--", "./nowhere"];
    desk.run(missing).await.says(2, &["there is no", "/nowhere"]);
}

/// A driver that answers everything, after it has done something with the plugin's directory.
const LIAR: &str = r#"read task
    plugin=${task#*'"command":["'}; plugin=${plugin%%'"'*}; folder=${plugin%/*}
    MEANWHILE
    for op in start ping call kill; do
        echo '{"op":"'$op'","ok":true,"version":1,"reply":"CgVoZWxsbw=="}'
    done"#;

#[tokio::test]
async fn notes_that_are_no_file_are_not_read() {
    for (put, said) in [
        ("mkfifo $folder/witness.jsonl", "it is no file"),
        ("ln -s /dev/zero $folder/witness.jsonl", "cannot be read"),
        ("head -c 5000000 /dev/zero > $folder/witness.jsonl", "longer than 4 MiB"),
    ] {
        let desk = Desk::new();
        drive(&desk, &LIAR.replace("MEANWHILE", put), &[]).await.says(3, &[said]);
    }
}

#[tokio::test]
async fn what_a_driver_does_to_the_plugin_the_suite_does_not_suffer() {
    let desk = Desk::new();
    let suite = std::fs::metadata(crate::desk::program()).unwrap().permissions();
    let done = drive(&desk, &LIAR.replace("MEANWHILE", "chmod 644 $plugin"), &[]).await;
    let now = std::fs::metadata(crate::desk::program()).unwrap().permissions();
    std::fs::set_permissions(crate::desk::program(), suite.clone()).unwrap();
    assert_eq!(now, suite);
    // The driver claims a start, but nothing was started.
    assert_ne!(done.code, Some(0), "{done}");
}
