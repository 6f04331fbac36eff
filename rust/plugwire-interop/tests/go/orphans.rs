//! A Rust plugin notices that its host is gone, under every host and behind any shell. Spec:
//! SHD-11.

use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use plugwire::host::Attach;
use plugwire::protocol::reattach::{self, Reattach};
use plugwire_interop::leaks::eventually;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{RELEASES, rust};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(30);
/// How long these plugins keep running without a host.
const ALONE: Duration = Duration::from_millis(300);
const ALONE_MS: &str = "300";

/// The Go host exits without ending its plugin, and knows only the shell in between.
#[tokio::test]
async fn a_plugin_ends_with_a_go_host_that_leaves_it_also_behind_a_shell() {
    for release in RELEASES {
        for shell in [false, true] {
            let sandbox = Sandbox::new();
            let plugin = rust::program("probe-plugin");
            let mut command = vec![plugin.as_os_str(), "--orphan-ms".as_ref(), ALONE_MS.as_ref()];
            if shell {
                let between = ["/bin/sh", "-c", r#""$0" "$@"; exit"#];
                command.splice(0..0, between.map(|word| word.as_ref()));
            }
            let report = sandbox.go_host(release, &["start", "--leave"], &command).await;
            let pinged = &report["start"]["record"];
            assert!(pinged.is_object(), "the plugin was left running: {report:#}");
            let gone = eventually(LIMIT, || sandbox.processes().is_empty()).await;
            assert!(gone, "{release}, shell {shell}: the plugin keeps running");
            sandbox.assert_empty().await;
        }
    }
}

/// A plugin that was started by hand, as a host that reads only the line would start it.
struct Started {
    plugin: Child,
    lines: Lines<BufReader<ChildStdout>>,
    record: Reattach,
}

/// `sh` stands in between if the plugin is not to be a child of this process.
async fn started(sandbox: &Sandbox, sh: bool) -> Started {
    let plugin = rust::program("probe-plugin");
    let mut command = match sh {
        false => sandbox.command(&plugin),
        true => sandbox.command("/bin/sh"),
    };
    if sh {
        command.args(["-c", r#""$0" "$@"; exit"#]).arg(plugin);
    }
    command.env("PLUGWIRE_PROBE", "plugwire").args(["--orphan-ms", ALONE_MS]);
    let mut plugin = command.stdout(Stdio::piped()).spawn().expect("the plugin runs");
    let mut lines = BufReader::new(plugin.stdout.take().expect("piped")).lines();
    let line = timeout(LIMIT, lines.next_line()).await.expect("in time").expect("text");
    let address = line.expect("a line").split('|').nth(3).expect("an address").to_owned();
    let record = record(plugin.id().expect("the plugin runs"), &address);
    Started { plugin, lines, record }
}

/// A host that stops reading is no reason for the plugin to exit: neither while it is connected, nor
/// while it is idle and its channel is closed, as gRPC closes one that is not used.
#[tokio::test]
async fn an_idle_host_that_closed_the_pipe_keeps_its_plugin() {
    let sandbox = Sandbox::new();
    let Started { mut plugin, lines, record } = started(&sandbox, false).await;
    // The pipe is still open, so the missing host is no reason to exit either. The elapsed time
    // itself is what is tested.
    sleep(ALONE * 4).await;
    let host = Attach::new(record.clone()).connect().await.expect("the plugin waits");
    drop(lines);
    sleep(ALONE * 4).await;
    host.ping().await.expect("the plugin runs");
    drop(host);
    sleep(ALONE * 4).await;
    let host = Attach::new(record).connect().await.expect("the plugin runs");
    host.ping().await.expect("the plugin runs");
    drop(host);
    plugin.kill().await.expect("it is a child");
    sandbox.kill_all();
}

/// A process that only attached to the plugin is a host, too: the plugin stays while it runs, idle or
/// not, and ends after it.
#[tokio::test]
async fn an_idle_host_that_attached_keeps_the_plugin() {
    let sandbox = Sandbox::new();
    for sh in [false, true] {
        let Started { mut plugin, lines, record } = started(&sandbox, sh).await;
        let mut host = AttachedHost::start(&sandbox, &record, &[]).await;
        drop(lines);
        assert_eq!(host.close().await, "closed");
        sleep(ALONE * 4).await;
        assert!(plugin.try_wait().expect("it is a child").is_none(), "behind a shell: {sh}");
        host.exit().await;
        let status = timeout(LIMIT, plugin.wait()).await.expect("it exits").expect("a child");
        assert!(status.success(), "behind a shell: {sh}: {status}");
    }
    sandbox.assert_empty().await;
}

/// A host in its own process.
struct AttachedHost {
    process: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl AttachedHost {
    /// Attaches to the plugin and calls it.
    async fn start(sandbox: &Sandbox, record: &Reattach, options: &[&str]) -> Self {
        let mut command = sandbox.command(rust::program("attached-host"));
        command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the host runs");
        let stdin = process.stdin.take().expect("piped");
        let stdout = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut host = Self { process, stdin, stdout };
        assert_eq!(host.say(&record.to_json("probe")).await, "called");
        host
    }

    /// Says a line, and returns the answer.
    async fn say(&mut self, line: &str) -> String {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.expect("the host reads");
        let answer = timeout(LIMIT, self.stdout.next_line()).await.expect("in time");
        answer.expect("text").expect("an answer")
    }

    /// Lets the host close its connection.
    async fn close(&mut self) -> String {
        self.say("close").await
    }

    async fn exit(mut self) {
        drop(self.stdin);
        let status = timeout(LIMIT, self.process.wait()).await.expect("in time");
        assert!(status.expect("it is a child").success());
    }
}

fn record(pid: u32, address: &str) -> Reattach {
    let record = json!({ "probe": {
        "Protocol": "grpc", "ProtocolVersion": 1, "Pid": pid, "Test": false,
        "Addr": { "Network": "unix", "String": address },
    }});
    reattach::parse_map(&record.to_string()).expect("a record")["probe"].clone()
}

/// Starts a plugin whose host is gone. The plugin's standard error is a full pipe; `used` gets its
/// address.
async fn alone(sandbox: &Sandbox, options: &[&str]) -> (Child, PathBuf, PipeReader) {
    left(sandbox, options, async |_| {}).await
}

/// Starts a plugin whose host is gone after it used the plugin.
async fn left(
    sandbox: &Sandbox,
    options: &[&str],
    used: impl AsyncFnOnce(&str),
) -> (Child, PathBuf, PipeReader) {
    let (unread, mut stderr) = pipe().expect("a pipe");
    let mut command = sandbox.command(rust::program("probe-plugin"));
    command.env("PLUGWIRE_PROBE", "plugwire").args(["--orphan-ms", ALONE_MS]).args(options);
    command.stderr(stderr.try_clone().expect("a descriptor")).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    drop(command);
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = timeout(LIMIT, lines.next_line()).await.expect("in time").expect("text");
    let address = line.expect("a line").split('|').nth(3).expect("an address").to_owned();
    // Until the pipe does not take another byte.
    let takes_more = |stderr: &PipeWriter| {
        let mut fds = [PollFd::new(stderr, PollFlags::OUT)];
        poll(&mut fds, Some(&Timespec::default())).expect("the poll works") > 0
    };
    while takes_more(&stderr) {
        stderr.write_all(&[b'x'; 4096]).expect("the pipe has room");
    }
    used(&address).await;
    (child, address.into(), unread)
}

/// The process that should empty the pipe may be the one that hangs. The plugin does not wait to
/// write its last messages.
#[tokio::test]
async fn a_full_standard_error_does_not_keep_a_plugin_from_ending() {
    let sandbox = Sandbox::new();
    for options in [&[][..], &["--capture-stderr"][..]] {
        let (mut child, _, _unread) = alone(&sandbox, options).await;
        let status = timeout(LIMIT, child.wait())
            .await
            .expect("the plugin exits")
            .expect("the plugin is a child");
        assert!(status.success(), "{options:?}: {status}");
    }
    sandbox.assert_empty().await;
}

/// A hanging handler does not keep it from ending either.
#[tokio::test]
async fn a_full_standard_error_and_a_hanging_handler_do_not_keep_a_plugin_from_ending() {
    let sandbox = Sandbox::new();
    for options in [&["--exit-ms", "300"][..], &["--exit-ms", "300", "--capture-stderr"]] {
        let hang = async |address: &str| {
            let host = AttachedHost::start(&sandbox, &record(0, address), &["--hang"]).await;
            host.exit().await;
        };
        let (mut child, _, _unread) = left(&sandbox, options, hang).await;
        let status = timeout(LIMIT, child.wait())
            .await
            .expect("the plugin exits")
            .expect("the plugin is a child");
        assert_eq!(status.code(), Some(1), "{options:?}: the plugin did not end on its own");
    }
    sandbox.assert_empty().await;
}

/// Only a connection that speaks the protocol counts as a host.
#[tokio::test]
async fn connections_that_do_not_speak_the_protocol_do_not_keep_a_plugin_from_ending() {
    let sandbox = Sandbox::new();
    let (mut child, address, _unread) = alone(&sandbox, &[]).await;
    let knocking = async {
        let mut last = None;
        loop {
            // Connecting fails once the plugin no longer listens. The previous connection stays
            // open until the next one is made.
            last = UnixStream::connect(&address).await.ok().or(last);
            sleep(ALONE / 10).await;
        }
    };
    let status = tokio::select! {
        status = timeout(LIMIT, child.wait()) => status.expect("the plugin exits").expect("the plugin is a child"),
        () = knocking => unreachable!("this loop never ends"),
    };
    assert!(status.success(), "{status}");
    sandbox.assert_empty().await;
}
