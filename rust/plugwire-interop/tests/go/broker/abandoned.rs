//! Dials that are given up at any moment do not affect other dials. Spec: MUX-16.

use std::path::Path;
use std::time::Duration;

use plugwire_interop::brokered::{Brokered, Mode, Reached};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{PROBE, go, rust, soaks};
use tokio::time::timeout;

/// Longer than any dial takes, unless the machine is busy.
const AT_MOST: Duration = Duration::from_millis(30);

fn rounds() -> usize {
    if soaks() { 2000 } else { 100 }
}

/// Returns moments spread over [`AT_MOST`], the same in each run.
fn moments() -> impl Iterator<Item = Duration> {
    (0..rounds()).map(|n| AT_MOST.mul_f64((n as f64 * 0.618_034).fract()))
}

fn assert_good(dialled: Result<Reached, String>, id: u32, case: &str) {
    assert_eq!(dialled, Ok(Reached { wanted: id, served: id }), "{case}");
}

async fn rust_host(program: &Path, mutual_tls: bool) {
    let case = format!("{}, mutual TLS {mutual_tls}", program.display());
    let sandbox = Sandbox::new();
    let mode = Mode { multiplexed: true, mutual_tls };
    let pair = Brokered::start(sandbox.launch(PROBE, program), mode).await;
    let (mut abandoned, mut plugin_abandoned) = (0, 0);
    for moment in moments() {
        let (one, other) = (pair.offer(Duration::ZERO).await, pair.offer(Duration::ZERO).await);
        let (given_up, dialled) =
            tokio::join!(timeout(moment, pair.host_dials(one)), pair.host_dials(other));
        abandoned += usize::from(given_up.is_err());
        assert_good(dialled, other, &case);

        let serve = async || pair.side.serve().await.expect("the id is served");
        let (one, other) = (serve().await, serve().await);
        let (given_up, dialled) = tokio::join!(
            timeout(moment, pair.plugin_dials(one, 0, 0)),
            pair.plugin_dials(other, 0, 0)
        );
        plugin_abandoned += usize::from(given_up.is_err());
        assert_good(dialled, other, &case);
    }
    println!(
        "{case}: {} rounds, {abandoned} dials of the host and {plugin_abandoned} of the plugin given up",
        rounds()
    );
    assert!(abandoned > 0 && plugin_abandoned > 0, "{case}: nothing was given up");
    for _ in 0..20 {
        let id = pair.offer(Duration::ZERO).await;
        assert_good(pair.host_dials(id).await, id, &case);
        let id = pair.side.serve().await.expect("the id is served");
        assert_good(pair.plugin_dials(id, 1, 1).await, id, &case);
    }
    pair.plugin.shutdown().await.expect("the shutdown works");
}

#[tokio::test]
async fn soak_dials_of_a_rust_host_to_a_go_plugin() {
    rust_host(&go::peer("1.8.0-newest", "probe-plugin"), false).await;
    rust_host(&go::peer("1.6.3", "probe-plugin"), true).await;
}

#[tokio::test]
async fn soak_dials_of_a_rust_host_to_a_rust_plugin() {
    rust_host(&rust::program("probe-plugin"), true).await;
}

#[tokio::test]
async fn soak_dials_of_a_rust_plugin_to_a_go_host() {
    let plugin = rust::program("probe-plugin");
    // The Go host's scenarios have a time limit.
    let rounds_of_a_life = rounds().min(500);
    for life in 0..2 * rounds() / rounds_of_a_life {
        let mutual_tls = life % 2 == 1;
        let sandbox = Sandbox::new();
        let (count, delay) =
            (rounds_of_a_life.to_string(), if mutual_tls { "30ms" } else { "10ms" });
        let scenario = ["broker-abandon", "--count", &count, "--delay", delay, "--timeout", "240s"];
        let scenario = Mode { multiplexed: true, mutual_tls }.flags(&scenario);
        let report = sandbox.go_host("1.8.0", &scenario, &[plugin.as_os_str()]).await;
        let result = &report["result"];
        println!("Go host 1.8.0, Rust plugin, mutual TLS {mutual_tls}: {result}");
        assert_eq!(result["good"], rounds_of_a_life, "{report:#}");
        assert_ne!(result["abandoned"], 0, "{report:#}");
    }
}

/// The Go plugin has queued a stream for a dial that has timed out; the next dial must not get it.
///
/// The plugin may lose a race with itself when it answers a knock that had to wait (see `matrix`),
/// so the test makes several attempts.
#[tokio::test]
async fn an_acknowledgement_that_comes_late() {
    const TIME: Duration = Duration::from_secs(3);
    for mutual_tls in [false, true] {
        for chance in 1.. {
            let sandbox = Sandbox::new();
            let launch = sandbox.launch(PROBE, go::peer("1.8.0-newest", "probe-plugin"));
            let mode = Mode { multiplexed: true, mutual_tls };
            let pair = Brokered::start(launch.broker_timeout(TIME), mode).await;
            let late = pair.offer(TIME * 3 / 2).await;
            let Err(error) = pair.dial(late).await else {
                assert!(chance < 4, "the acknowledgement came too early");
                continue;
            };
            assert_eq!(error.code(), "broker.timeout");
            // By then the id is accepted, and the knock acknowledged.
            tokio::time::sleep(TIME * 2).await;
            let id = pair.offer(Duration::ZERO).await;
            let dialled = pair.host_dials(id).await;
            if let Ok(reached) = dialled {
                assert_eq!(reached, Reached { wanted: id, served: id });
                assert_good(pair.host_dials(late).await, late, "late");
                break;
            }
            assert!(chance < 4, "{dialled:?}");
            println!("mutual TLS {mutual_tls}: chance {chance}: {dialled:?}");
        }
    }
}
