//! Directories for sockets whose paths are not text, or that the handshake line cannot carry.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use plugwire::host::Attach;
use plugwire::protocol::reattach::parse_map;
use plugwire_interop::brokered::Brokered;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{PROBE, go, rust};
use serde_json::Value;

fn plugins() -> [PathBuf; 2] {
    [go::peer("1.8.0", "probe-plugin"), rust::program("probe-plugin")]
}

/// Creates a directory whose name is not UTF-8.
fn not_utf8(sandbox: &Sandbox) -> PathBuf {
    let directory = sandbox.folder().join(OsStr::from_bytes(b"\xff\xfe"));
    std::fs::create_dir(&directory).expect("a directory");
    directory
}

/// HS-14, ENV-8, RAT-1: the environment, the line and the record carry the bytes, with plugins in both languages.
#[tokio::test]
async fn a_directory_that_is_not_utf8() {
    for program in plugins() {
        let sandbox = Sandbox::new();
        let base = not_utf8(&sandbox);
        let launch = sandbox.launch(PROBE, &program).version(1).socket_dir(&base);
        let plugin = launch.dangerous().plaintext().start().await.expect("a start");
        let record = plugin.record();
        let socket: &std::path::Path = record.address.as_ref();
        assert!(socket.starts_with(&base) && socket.exists(), "{record:?}");

        let json = record.to_json("probe");
        let read = parse_map(&json).expect("a record").remove("probe").expect("it is in it");
        assert_eq!(read, record);
        let again = Attach::new(read).connect().await.expect("the record is right");
        again.ping().await.expect("the plugin answers");
        drop(again);
        plugin.shutdown().await.expect("the shutdown works");
        sandbox.assert_empty().await;
    }
}

/// BRK-3: the broker's messages are text, so a brokered connection has no address there, and the error says so. A
/// multiplexed one needs none.
#[tokio::test]
async fn brokered_connections_in_a_directory_that_is_not_utf8() {
    let program = rust::program("probe-plugin");
    let sandbox = Sandbox::new();
    let base = not_utf8(&sandbox);
    let launch = || sandbox.launch(PROBE, &program).version(1).socket_dir(&base);

    let plugin = launch().start().await.expect("a start");
    let error = plugin.broker().listen(7).await.expect_err("it cannot be announced");
    assert_eq!(error.code(), "broker.socket");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("not UTF-8") && cause.contains("\\xff\\xfe"), "{cause}");
    plugin.shutdown().await.expect("the shutdown works");

    let pair = Brokered::around(launch().multiplex().start().await.expect("a start"));
    let id = pair.offer(Duration::ZERO).await;
    pair.host_dials(id).await.expect("a connection");
    pair.plugin.shutdown().await.expect("the shutdown works");
    sandbox.assert_empty().await;
}

/// TMPDIR is not UTF-8, and a Go host starts a Rust plugin there, which has no other directory for its socket.
#[tokio::test]
async fn a_go_host_where_the_temporary_directory_is_not_utf8() {
    let sandbox = Sandbox::new();
    let mut host = sandbox.command(go::peer("1.8.0", "probe-host"));
    host.env("TMPDIR", not_utf8(&sandbox));
    host.args(["echo", "--"]).arg(rust::program("probe-plugin"));
    let output = sandbox.run(&mut host).await;
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["ended"], true, "{report:#}");
    let socket = report["start"]["address"].as_str().expect("a path");
    assert!(socket.contains("/\u{fffd}\u{fffd}/plugin"), "{socket}");
    sandbox.assert_empty().await;
}

/// HS-19: a directory that the line cannot carry is refused before anything is started in it.
#[tokio::test]
async fn a_directory_that_the_line_cannot_carry() {
    for name in ["a|b", "a\nb"] {
        let sandbox = Sandbox::new();
        let base = sandbox.folder().join(name);
        std::fs::create_dir(&base).expect("a directory");
        let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).version(1);
        let error = launch.socket_dir(&base).start().await.expect_err("it cannot be announced");
        assert_eq!(error.code(), "start.machine");
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains("cannot carry `|` or a line break"), "{cause}");
        sandbox.assert_empty().await;
    }
}
