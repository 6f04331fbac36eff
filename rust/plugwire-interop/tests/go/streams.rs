//! Long streams. Tests with `soak` in their name are longer with `PLUGWIRE_SOAK=1`, and print what
//! they counted.

use std::ffi::OsStr;
use std::path::Path;

use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{PROBE, go, rust, scenarios, soaks};

/// Exchanges many messages of `size` bytes in both directions at once, from a Rust host.
async fn chat(program: &Path, count: u64, size: u64) {
    let sandbox = Sandbox::new();
    let launch = sandbox.launch(PROBE, program).version(1);
    let plugin = launch.start().await.expect("a start");
    let arrived = scenarios::chat(&plugin, count, size).await;
    let arrived = arrived.unwrap_or_else(|status| panic!("{program:?}: {status:?}"));
    assert_eq!(arrived, (count, count * size, true), "{program:?}");
    plugin.shutdown().await.expect("the shutdown works");
}

/// By default, h2 ends such a connection with GOAWAY "too_many_data_frames". Spec: GRPC-11.
#[tokio::test]
async fn soak_rust_host_chats_in_small_messages() {
    let count = if soaks() { 1_000_000 } else { 50_000 };
    for release in ["1.4.8", "1.8.0-newest"] {
        for size in [0, 1] {
            chat(&go::peer(release, "probe-plugin"), count, size).await;
            println!("Rust host, Go plugin {release}: {count} messages of {size} bytes each way");
        }
    }
}

#[tokio::test]
async fn soak_go_host_chats_in_small_messages() {
    let count = if soaks() { 1_000_000 } else { 50_000 };
    let plugin = rust::program("probe-plugin");
    for release in ["1.4.8", "1.8.0-newest"] {
        for kind in ["chat", "download", "upload"] {
            let sandbox = Sandbox::new();
            let count_text = count.to_string();
            let options = ["--count", &count_text, "--size", "1", "--timeout", "240s"];
            let scenario = [&["stream", "--kind", kind][..], &options].concat();
            let report = sandbox.go_host(release, &scenario, &[plugin.as_os_str() as &OsStr]).await;
            let seen = &report["result"][kind];
            assert_eq!(seen["intact"], true, "{release}: {report:#}");
            assert_eq!(seen["messages"], count, "{release}: {report:#}");
            println!("Go host {release}, Rust plugin: {count} messages by {kind}");
        }
    }
}

/// 200 MB, slowly enough that a server would disconnect a client that pings while it uploads. Spec:
/// GRPC-7.
#[tokio::test]
async fn a_rust_host_uploads_200_mb() {
    let (count, size) = (3200, 64 * 1024);
    for release in ["1.4.8", "1.8.0", "1.8.0-newest"] {
        let sandbox = Sandbox::new();
        let launch = sandbox.launch(PROBE, go::peer(release, "probe-plugin")).version(1);
        let plugin = launch.start().await.expect("a start");
        let arrived = scenarios::upload(&plugin, count, size).await;
        let arrived = arrived.unwrap_or_else(|status| panic!("{release}: {status:?}"));
        assert_eq!(arrived, (count, count * size, true), "{release}");
        plugin.shutdown().await.expect("the shutdown works");
    }
}

#[tokio::test]
async fn a_go_host_uploads_200_mb_to_a_rust_plugin() {
    let plugin = rust::program("probe-plugin");
    for release in ["1.4.8", "1.8.0-newest"] {
        let sandbox = Sandbox::new();
        let scenario = ["stream", "--kind", "upload", "--count", "3200", "--size", "65536"];
        let scenario = [&scenario[..], &["--timeout", "240s"]].concat();
        let report = sandbox.go_host(release, &scenario, &[plugin.as_os_str() as &OsStr]).await;
        assert_eq!(report["result"]["upload"]["intact"], true, "{release}: {report:#}");
    }
}
