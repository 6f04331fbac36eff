//! Many dials at once: none is lost, and none reaches a different id. Spec: MUX-15, MUX-17, BRK-16.
//!
//! Each answer names the id it comes from. A Go host with a Go plugin fails this now and then
//! (`broker-many --at-once`): the host lets two streams race for two ids.

use std::ffi::OsStr;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use plugwire_interop::brokered::{Brokered, Mode, Reached, Tally};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{PROBE, go, rust, soaks};

const DIALS: usize = 500;
const AT_ONCE: usize = 64;
const MODE: Mode = Mode { multiplexed: true, mutual_tls: true };

fn rounds() -> usize {
    if soaks() { 10 } else { 1 }
}

/// Alternates between the releases.
fn release(round: usize) -> &'static str {
    ["1.8.0-newest", "1.6.3", "1.8.0"][round % 3]
}

async fn tally(dials: impl Stream<Item = impl Future<Output = Result<Reached, String>>>) -> Tally {
    let mut tally = Tally::default();
    let mut dials = std::pin::pin!(dials.buffer_unordered(AT_ONCE));
    while let Some(dial) = dials.next().await {
        tally.count(dial);
    }
    tally
}

fn assert_all_good(tally: &Tally, case: &str) {
    println!("{case}: {tally}");
    assert!(tally.crossed.is_empty() && tally.lost.is_empty(), "{case}: {tally:?}");
    assert_eq!(tally.good, DIALS, "{case}");
}

async fn both_directions(launch: plugwire::host::Launch, case: &str) {
    // Multiplexed dials wait for each other, and this test is about which dial gets which
    // connection, not about speed.
    let launch = launch.broker_timeout(Duration::from_secs(60));
    let pair = Brokered::start(launch, MODE).await;
    let host = stream::iter(0..DIALS).map(|_| async {
        let id = pair.offer(Duration::ZERO).await;
        pair.host_dials(id).await
    });
    assert_all_good(&tally(host).await, &format!("{case}, the host dials"));
    let plugin = stream::iter(0..DIALS).map(|_| async {
        let id = pair.side.serve().await.map_err(|error| error.to_string())?;
        pair.plugin_dials(id, 1, 1).await
    });
    assert_all_good(&tally(plugin).await, &format!("{case}, the plugin dials"));
    pair.plugin.ping().await.expect("the main connection works");
    pair.plugin.shutdown().await.expect("the shutdown works");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_rust_host_and_go_plugin() {
    for round in 0..rounds() {
        let (release, sandbox) = (release(round), Sandbox::new());
        let launch = sandbox.launch(PROBE, go::peer(release, "probe-plugin"));
        both_directions(launch, &format!("round {round}: Rust host, Go plugin {release}")).await;
        sandbox.assert_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_rust_host_and_rust_plugin() {
    for round in 0..rounds() {
        let sandbox = Sandbox::new();
        let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).args([
            "--multi-thread",
            "--broker-ms",
            "60000",
        ]);
        both_directions(launch, &format!("round {round}: Rust host, Rust plugin")).await;
        sandbox.assert_empty().await;
    }
}

/// Dials in both directions at the same time.
#[tokio::test]
async fn soak_go_host_and_rust_plugin() {
    let program = rust::program("probe-plugin");
    let plugin = [program.as_os_str(), OsStr::new("--broker-ms"), OsStr::new("60000")];
    for round in 0..rounds() {
        let (release, sandbox) = (release(round), Sandbox::new());
        let (count, window) = (DIALS.to_string(), AT_ONCE.to_string());
        let scenario = ["broker-many", "--at-once", "--window", &window, "--count", &count];
        let scenario = MODE.flags(&[&scenario[..], &["--timeout", "240s"]].concat());
        let report = sandbox.go_host(release, &scenario, &plugin).await;
        let result = &report["result"];
        println!("round {round}: Go host {release}, Rust plugin: {result}");
        assert_eq!(result["crossed"], 0, "{report:#}");
        assert_eq!(result["problems"].as_array().map(Vec::len), Some(0), "{report:#}");
        assert_eq!(result["host_dials_intact"], DIALS, "{report:#}");
        assert_eq!(result["plugin_dials_intact"], DIALS, "{report:#}");
        sandbox.assert_empty().await;
    }
}
