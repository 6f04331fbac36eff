//! Attaching to plugins that another process started. Spec: RAT-1 to RAT-8.

use std::process::Stdio;
use std::time::Duration;

use plugwire::host::Attach;
use plugwire::plugin::Plugin;
use plugwire::protocol::reattach::{self, Reattach};
use plugwire_interop::leaks::{eventually, is_alive};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::{self, comparable};
use plugwire_interop::{PROBE, RELEASES, go, probe, rust};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

fn only(records: &str) -> Reattach {
    let records = reattach::parse_map(records).unwrap_or_else(|error| panic!("{records}: {error}"));
    records.into_values().next().expect("one")
}

/// Test mode: the plugin serves one host after another, and exits when its test ends.
#[tokio::test]
async fn a_rust_host_attaches_to_go_plugins_in_test_mode() {
    for release in RELEASES {
        let sandbox = Sandbox::new();
        let mut command = sandbox.command(go::peer(release, "probe-plugin"));
        command.args(["--test-mode", "--versions", "4"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the plugin runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = timeout(LIMIT, lines.next_line()).await.expect("a line").expect("text");
        let record = only(&line.expect("one"));
        assert!(record.test, "{record:?}");
        assert_eq!((record.protocol_version, record.pid), (4, child.id().expect("it lives")));
        for _ in 0..2 {
            let plugin = Attach::new(record.clone()).connect().await.expect("a connection");
            assert_eq!((plugin.version(), plugin.pid()), (4, Some(record.pid)));
            assert_eq!(plugin.record(), record);
            plugin.ping().await.expect("the plugin answers");
            let seen = scenarios::echo(&plugin, 1000).await;
            assert_eq!(seen["payload_intact"], true, "{release}: {seen}");
            plugin.shutdown().await.expect("the plugin is released");
            assert!(is_alive(record.pid), "{release}: only its test may end the plugin");
        }
        drop(child.stdin.take());
        let status =
            timeout(LIMIT, child.wait()).await.expect("in time").expect("the plugin exits");
        assert!(status.success(), "{release}: {status}");
        sandbox.assert_empty().await;
    }
}

/// A plugin outlives the Go host that started it; a Rust host attaches and ends it.
#[tokio::test]
async fn a_rust_host_attaches_to_plugins_that_a_go_host_left() {
    for release in RELEASES {
        for program in [go::peer(release, "probe-plugin"), rust::program("probe-plugin")] {
            let sandbox = Sandbox::new();
            let report =
                sandbox.go_host(release, &["start", "--leave"], &[program.as_os_str()]).await;
            let record = serde_json::json!({ "probe": report["start"]["record"] });
            let record = only(&record.to_string());
            assert!(!record.test && is_alive(record.pid), "{record:?}");

            let plugin = Attach::new(record.clone()).connect().await.expect("a connection");
            let seen = scenarios::echo(&plugin, 1000).await;
            assert_eq!(seen["payload_intact"], true, "{release}: {seen}");
            plugin.shutdown().await.expect("the plugin was asked");
            assert!(eventually(LIMIT, || !is_alive(record.pid)).await, "{program:?} keeps running");
            sandbox.assert_empty().await;
        }
    }
}

/// A plugin that another process started is never killed: a host that detaches leaves it running.
#[tokio::test]
async fn a_handle_that_is_dropped_leaves_the_plugin_running() {
    let sandbox = Sandbox::new();
    let program = go::peer("1.8.0", "probe-plugin");
    let report = sandbox.go_host("1.8.0", &["start", "--leave"], &[program.as_os_str()]).await;
    let record = serde_json::json!({ "probe": report["start"]["record"] });
    let record = only(&record.to_string());
    for _ in 0..2 {
        let plugin = Attach::new(record.clone()).connect().await.expect("a connection");
        plugin.ping().await.expect("the plugin answers");
    }
    assert!(is_alive(record.pid));
    sandbox.kill_all();
    sandbox.assert_no_processes().await;
    let error = Attach::new(record).connect().await.expect_err("the plugin is gone");
    assert_eq!(error.code(), "attach.connect", "{error:?}");
}

/// A Go host attaches, by its record, to a plugin whose Rust host is still running.
#[tokio::test]
async fn go_hosts_attach_to_plugins_that_a_rust_host_started() {
    for release in RELEASES {
        for program in [go::peer(release, "probe-plugin"), rust::program("probe-plugin")] {
            let sandbox = Sandbox::new();
            let launch = sandbox.launch(PROBE, &program).version(1);
            let plugin = launch.dangerous().plaintext().start().await.expect("a start");
            let record = plugin.record().to_json("probe");
            let scenario = ["reattach", "--reattach", &record];
            let report = sandbox.go_host(release, &scenario, &[]).await;
            let seen = comparable(&as_echo(report));
            assert_eq!(seen["payload_intact"], true, "{release} {program:?}: {seen}");
            // The Go host ended the plugin.
            let exit = timeout(LIMIT, plugin.exited()).await.expect("in time");
            assert!(exit.success(), "{release} {program:?}: {exit}");
            sandbox.assert_empty().await;
        }
    }
}

/// Treats the report of a reattaching host as that of an echo.
fn as_echo(mut report: Value) -> Value {
    report["scenario"] = "echo".into();
    report
}

/// Go hosts attach to a plugin inside a Rust test; the record is all they need.
#[tokio::test]
async fn go_hosts_attach_to_a_plugin_in_a_rust_test() {
    let plugin = Plugin::new(PROBE)
        .version(1, |services, _| probe::services(services))
        .version(4, |services, _| probe::services(services));
    let serving = plugin.serve_in_test(4).expect("the plugin serves");
    let record = serving.record().to_json("probe");
    for release in RELEASES {
        let sandbox = Sandbox::new();
        let scenario = ["reattach", "--reattach", &record];
        let report = sandbox.go_host(release, &scenario, &[]).await;
        assert_eq!(report["start"]["version"], 4, "{release}: {report:#}");
        let seen = comparable(&as_echo(report));
        assert_eq!(seen["payload_intact"], true, "{release}: {seen}");
        assert_eq!(seen["headers"]["probe-several"], serde_json::json!(["first", "second"]));
    }
    let socket = serving.record().address.clone();
    drop(serving);
    let gone = eventually(LIMIT, || !std::path::Path::new(&socket).exists()).await;
    assert!(gone, "{socket} is left");
}
