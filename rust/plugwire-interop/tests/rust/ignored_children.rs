//! Hosts that ignore SIGCHLD or inherited that setting: the system then keeps no exit status for
//! them.

use std::process::Output;

use assert_cmd::assert::OutputAssertExt;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{not_here, rust};
use predicates::prelude::*;

/// Starts a program with the signal ignored, where this system's `env` can do that.
const IGNORING: [&str; 2] = ["env", "--ignore-signal=CHLD"];
const LOST: &str = "its exit status is lost: this host ignores SIGCHLD";

/// Runs a host with this plugin until it exits.
async fn host(sandbox: &Sandbox, options: &[&str], plugin: &[&str]) -> Option<Output> {
    let [env, ignore] = IGNORING;
    let can = sandbox.command(env).args([ignore, "true"]).output().await;
    if !can.is_ok_and(|output| output.status.success()) {
        not_here("no `env --ignore-signal`");
        return None;
    }
    let mut host = sandbox.command(env);
    host.arg(ignore).arg(rust::program("mortal-host")).args(["--lives", "1"]).args(options);
    host.arg("--").args(plugin).arg(rust::program("probe-plugin"));
    Some(sandbox.run(&mut host).await)
}

const WITH_A_CHILD: [&str; 3] = ["/bin/sh", "-c", r#"sleep 600 & exec "$0" "$@""#];

fn said<'a>(output: &'a Output, word: &str) -> &'a str {
    let text = std::str::from_utf8(&output.stdout).expect("text");
    let line = text.lines().find(|line| line.starts_with(word));
    line.unwrap_or_else(|| panic!("no `{word}`: {output:?}"))
}

#[tokio::test]
async fn a_shutdown_ends_and_reports_that_the_status_is_lost() {
    let sandbox = Sandbox::new();
    let Some(output) = host(&sandbox, &[], &WITH_A_CHILD).await else { return };
    assert!(output.status.success(), "{output:?}");
    let ended = said(&output, "ended");
    assert!(ended.starts_with("ended Asked: gone after ") && ended.contains(LOST), "{ended}");
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn a_crash_fails_the_call_and_takes_the_group_along() {
    let sandbox = Sandbox::new();
    let Some(output) = host(&sandbox, &["--die", "abort"], &WITH_A_CHILD).await else { return };
    assert!(output.status.success(), "{output:?}");
    assert!(said(&output, "died").contains(LOST), "{output:?}");
    sandbox.assert_empty().await;
}

/// A plugin that had to be killed is not reported to have exited on its own, although the status
/// that would tell is lost.
#[tokio::test]
async fn a_killed_plugin_without_a_line_is_not_reported_as_exited() {
    let sandbox = Sandbox::new();
    for (script, code) in [("echo junk", "Unrecognized"), ("exec >&-", "Exited")] {
        let script = format!("{script}; exec sleep 600");
        let Some(output) = host(&sandbox, &[], &["/bin/sh", "-c", &script]).await else { return };
        let contains = predicate::str::contains;
        output.assert().stderr(contains(code).and(contains("exit: None")));
    }
    sandbox.assert_empty().await;
}

/// The child that failed to execute the program cannot be waited for.
#[tokio::test]
async fn a_program_that_cannot_be_executed_is_an_error_and_no_panic() {
    let sandbox = Sandbox::new();
    let Some(output) = host(&sandbox, &[], &["/nowhere/plugin"]).await else { return };
    let contains = predicate::str::contains;
    output.assert().code(1).stderr(contains("NotFound").and(contains("panicked").not()));
    sandbox.assert_empty().await;
}
