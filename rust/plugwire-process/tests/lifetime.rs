//! A shell that is started, ended in steps, and leaves nothing behind.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plugwire_process::{Command, EndStep, Grace, PrivateDir, Process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStdout;

/// Prints the pid of a child in its process group, and `ready` once its trap is set. The trap ignores SIGTERM if the first
/// argument is `stubborn`.
const SCRIPT: &str = "sleep 1000 & echo $!; echo 'last words' >&2
[ \"$1\" = stubborn ] && trap '' TERM
echo ready; while :; do wait; done";

/// Longer than any step takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

fn shell(kind: &str) -> Command {
    Command::new("/bin/sh")
        .args(["-c", SCRIPT, "sh", kind])
        .envs([("PATH", std::env::var_os("PATH").expect("tests have a path"))])
}

/// Starts the shell and returns it with the pid of its child.
async fn start(command: Command) -> (Process, u32, Lines<BufReader<ChildStdout>>) {
    let (process, stdout) = command.spawn().await.expect("a shell");
    let mut lines = BufReader::new(stdout).lines();
    let child = lines.next_line().await.expect("it prints").expect("a pid");
    assert_eq!(lines.next_line().await.expect("it prints").as_deref(), Some("ready"));
    (process, child.parse().expect("a number"), lines)
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses. A zombie has ended.
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// The group is signalled at once, but the system takes a moment to end its processes.
async fn assert_gone(pid: u32) {
    let gone = async {
        while is_alive(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, gone).await.expect("it is gone");
}

fn private_dir(base: &Path) -> (PrivateDir, PathBuf) {
    let dir = PrivateDir::new(base, None).expect("a directory");
    drop(UnixListener::bind(dir.path().join("socket")).expect("a socket"));
    let path = dir.path().to_owned();
    (dir, path)
}

#[tokio::test]
async fn a_process_ends_in_steps_and_leaves_nothing() {
    for (kind, terminate, expected, signal) in [
        ("polite", LONG, EndStep::Terminated, 15),
        ("stubborn", SHORT, EndStep::Killed, 9),
        ("skipped", Duration::ZERO, EndStep::Killed, 9),
    ] {
        let base = tempfile::tempdir().expect("a directory");
        let (dir, path) = private_dir(base.path());
        let outside = base.path().join("outside");
        drop(UnixListener::bind(&outside).expect("a socket"));
        let (process, child, _lines) = start(shell(kind).private_dir(dir)).await;
        process.remove_socket_at_exit(&outside);
        assert!(is_alive(process.pid()) && is_alive(child) && path.exists());
        assert_eq!((process.exit_status(), process.has_ended()), (None, false));

        let step = process.end(Grace::new(SHORT, terminate)).await.expect("it ends");
        let exit = process.exited().await;
        assert_eq!((step, exit.signal()), (expected, Some(signal)), "{kind}: {exit}");
        assert_eq!(exit.last_words().as_deref(), Some("last words"));
        assert_eq!(process.exit_status(), Some(exit));
        assert_gone(process.pid()).await;
        assert_gone(child).await;
        assert_eq!(fs::read_dir(base.path()).expect("it is there").count(), 0, "{kind}");
    }
}

#[tokio::test]
async fn a_process_that_ends_by_itself_says_how() {
    let command = Command::new("/bin/sh").args(["-c", "echo $$; exit 7"]);
    let (process, stdout) = command.spawn().await.expect("a shell");
    let step = process.end(Grace::new(LONG, LONG)).await.expect("it ends");
    assert_eq!(step, EndStep::ByItself);
    let exit = process.exited_within(LONG).await.expect("it has ended");
    assert_eq!((exit.code(), exit.success()), (Some(7), false), "{exit}");
    let printed = BufReader::new(stdout).lines().next_line().await.expect("a pipe");
    assert_eq!(printed, Some(process.pid().to_string()));
}

#[test]
fn a_process_ends_with_the_runtime_that_started_it() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let base = tempfile::tempdir().expect("a directory");
    let (dir, path) = private_dir(base.path());
    let (process, child, lines) = runtime.block_on(start(shell("stubborn").private_dir(dir)));
    let pid = process.pid();
    drop((process, lines));
    assert!(is_alive(pid) && is_alive(child), "dropping the handle does not end it");
    drop(runtime);
    assert!(!is_alive(pid) && !path.exists());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(assert_gone(child));
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_leaves_nothing() {
    let base = tempfile::tempdir().expect("a directory");
    let (dir, path) = private_dir(base.path());
    let error = Command::new("/nowhere/program").private_dir(dir).spawn().await;
    let error = error.expect_err("there is no such program");
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(!path.exists());
}
