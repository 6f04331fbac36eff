//! Large messages, both ways. Spec: GRPC-5.

use std::ffi::OsStr;
use std::path::Path;

use plugwire::host::PluginHandle;
use plugwire_interop::probe::{DownloadRequest, Payload, pattern};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::{self, probe};
use plugwire_interop::{PROBE, go, rust};
use tonic::Code;

const MIB: u64 = 1024 * 1024;

async fn start(sandbox: &Sandbox, program: &Path, options: &[&str]) -> PluginHandle {
    let launch = sandbox.launch(PROBE, program).version(1).args(options.iter().copied());
    launch.start().await.expect("a start")
}

#[tokio::test]
async fn a_rust_host_and_go_plugins_exchange_64_mib() {
    for release in ["1.4.8", "1.8.0", "1.8.0-newest"] {
        let sandbox = Sandbox::new();
        let program = go::peer(release, "probe-plugin");
        let plugin = start(&sandbox, &program, &["--unlimited"]).await;
        let seen = scenarios::echo(&plugin, 64 * MIB).await;
        assert_eq!(seen["payload_bytes"], 64 * MIB, "{release}: {seen}");
        assert_eq!(seen["payload_intact"], true, "{release}");
        plugin.shutdown().await.expect("it ends");
    }
}

#[tokio::test]
async fn a_rust_host_and_a_rust_plugin_exchange_64_mib() {
    let sandbox = Sandbox::new();
    let plugin = start(&sandbox, &rust::program("probe-plugin"), &[]).await;
    let seen = scenarios::echo(&plugin, 64 * MIB).await;
    assert_eq!(seen["payload_bytes"], 64 * MIB, "{seen}");
    assert_eq!(seen["payload_intact"], true);
    plugin.shutdown().await.expect("it ends");
}

#[tokio::test]
async fn go_hosts_and_a_rust_plugin_exchange_64_mib() {
    for release in ["1.4.8", "1.8.0", "1.8.0-newest"] {
        let sandbox = Sandbox::new();
        let plugin = rust::program("probe-plugin");
        let scenario = ["large", "--timeout", "240s"];
        let report = sandbox.go_host(release, &scenario, &[plugin.as_os_str() as &OsStr]).await;
        assert_eq!(report["result"]["payload_bytes"], 64 * MIB, "{release}: {report:#}");
        assert_eq!(report["result"]["payload_intact"], true, "{release}: {report:#}");
    }
}

/// A Go plugin's server takes 4 MiB unless it was told otherwise, and sends without a limit.
#[tokio::test]
async fn a_go_plugin_that_was_not_told_otherwise() {
    for release in ["1.4.8", "1.8.0", "1.8.0-newest"] {
        let sandbox = Sandbox::new();
        let plugin = start(&sandbox, &go::peer(release, "probe-plugin"), &[]).await;
        let payload = Payload { data: pattern(0, 4 * MIB).into() };
        let status = probe(&plugin).echo(payload).await.expect_err("it is too large");
        assert_eq!(status.code(), Code::ResourceExhausted, "{release}: {status:?}");

        let request = DownloadRequest { count: 1, size: 64 * MIB };
        let download = probe(&plugin).download(request).await.expect("a stream");
        let payload = download.into_inner().message().await.expect("a message").expect("one");
        assert_eq!(payload.data.len() as u64, 64 * MIB, "{release}");
        plugin.shutdown().await.expect("it ends");
    }
}

/// Stubs that tonic generates by itself stop at 4 MiB; ours are told so here.
#[tokio::test]
async fn a_plain_stub_says_what_its_limit_is() {
    let sandbox = Sandbox::new();
    let plugin = start(&sandbox, &go::peer("1.8.0", "probe-plugin"), &[]).await;
    let limit = 4 * MIB as usize;
    let request = DownloadRequest { count: 1, size: 4 * MIB };
    let mut plain = probe(&plugin).max_decoding_message_size(limit);
    let download = plain.download(request).await.expect("a stream");
    let status = download.into_inner().message().await.expect_err("it is too large");
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert!(status.message().contains(&format!("limit is: {limit} bytes")), "{status:?}");
    plugin.ping().await.expect("the connection is well");
    plugin.shutdown().await.expect("it ends");
}
