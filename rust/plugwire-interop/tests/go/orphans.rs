//! A Rust plugin notices by itself that its host is gone, under every host and through every shell. Spec: SHD-11.

use std::process::Stdio;
use std::time::Duration;

use plugwire::host::Attach;
use plugwire::protocol::reattach;
use plugwire_interop::leaks::{eventually, is_alive};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{RELEASES, rust};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(30);
/// How long these plugins go on alone.
const ALONE: Duration = Duration::from_millis(300);
const ALONE_MS: &str = "300";

/// The host is in Go, ends without a word to its plugin, and knows only the shell that stands between.
#[tokio::test]
async fn under_go_hosts_and_behind_a_shell() {
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
            assert!(pinged.is_object(), "it was left running: {report:#}");
            let gone = eventually(LIMIT, || sandbox.processes().is_empty()).await;
            assert!(gone, "{release}, shell {shell}: it lives on");
            sandbox.assert_empty().await;
        }
    }
}

/// A host that does not read any more, and is there: that is no reason to end, as long as it is connected.
#[tokio::test]
async fn a_host_that_closed_the_pipe_keeps_its_plugin_while_it_is_connected() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(rust::program("probe-plugin"));
    command.env("PLUGWIRE_PROBE", "plugwire").args(["--orphan-ms", ALONE_MS]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = timeout(LIMIT, lines.next_line()).await.expect("in time").expect("text");
    let address = line.expect("a line").split('|').nth(3).expect("an address").to_owned();
    let pid = child.id().expect("it lives");
    let record = json!({ "probe": {
        "Protocol": "grpc", "ProtocolVersion": 1, "Pid": pid, "Test": false,
        "Addr": { "Network": "unix", "String": address },
    }});
    let record = reattach::parse_map(&record.to_string()).expect("a record")["probe"].clone();

    // The pipe is there: being alone is no reason either. The time itself is what is tested.
    sleep(ALONE * 4).await;
    let host = Attach::new(record).connect().await.expect("it waits");
    drop(lines);
    sleep(ALONE * 4).await;
    host.ping().await.expect("it lives");
    assert!(is_alive(pid));
    drop(host);
    let status = timeout(LIMIT, child.wait()).await.expect("it ends").expect("it was ours");
    assert!(status.success(), "{status}");
    sandbox.assert_empty().await;
}
