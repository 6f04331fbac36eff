//! Hosts that misbehave at the broker of our plugin (`sdk-go-compat/cmd/broker-attack`). A report
//! has `ended` only if the host really performed the attack and the plugin still served afterwards.

use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{go, rust};
use serde_json::Value;

/// The limits for growth of the plugin's memory in KiB: almost nothing, or a thousand connections.
const FEW: u64 = 8 * 1024;
const THOUSAND: u64 = 40 * 1024;

/// Attacks the probe plugin, and returns what the host saw.
async fn attack(how: &str, options: &[&str]) -> Value {
    let sandbox = Sandbox::new();
    let mut host = sandbox.command(go::peer("1.8.0", "broker-attack"));
    host.args(["--how", how]).args(options).arg("--").arg(rust::program("probe-plugin"));
    let output = sandbox.run(&mut host).await;
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{how}: no report ({error}): {output:?}"));
    assert_eq!(report["ended"], true, "{report:#}");
    assert_eq!(report["exit"], "exit status 0", "{report:#}");
    sandbox.assert_empty().await;
    report
}

/// Attacks the probe plugin, and asserts that its memory stays within the limit.
async fn flood(how: &str, options: &[&str], most: u64) -> Value {
    let report = attack(how, options).await;
    let [before, after] =
        ["rss_before", "rss_after"].map(|at| report[at].as_u64().expect("a size"));
    assert!(before > 0 && after.saturating_sub(before) < most, "{report:#}");
    report
}

#[tokio::test]
async fn a_host_that_behaves() {
    for how in ["nothing", "mux-nothing"] {
        attack(how, &[]).await;
    }
}

/// BRK-4, MUX-14: go-plugin's limit of five seconds.
#[tokio::test]
async fn an_id_that_the_host_never_accepts() {
    for how in ["unannounced", "mux-unanswered"] {
        let saw = attack(how, &[]).await["saw"].take();
        assert_eq!(saw["unknown"], "the other side did not accept brokered connection 7 within 5s");
        assert!(saw["unknown_ms"].as_u64() >= Some(5000), "{saw}");
    }
}

#[tokio::test]
async fn invalid_addresses() {
    let saw = attack("bad-addresses", &[]).await["saw"].take();
    for n in 0..5 {
        let error = saw[format!("address {n}")].as_str().expect("an error");
        assert!(error.contains("at an address that is not allowed"), "{n}: {error}");
        assert!(error.len() < 2048, "{n}: {}", error.len());
    }
}

/// BRK-15.
#[tokio::test]
async fn announcements_that_are_never_dialed() {
    flood("announce-many", &["--count", "20000"], FEW).await;
    flood("announce-many", &["--count", "1500", "--size", "65536"], FEW).await;
}

#[tokio::test]
async fn a_brokered_connection_that_stays_silent_or_is_closed() {
    let silent = attack("half-open", &[]).await;
    assert!(silent["saw"]["victim_ms"].as_u64() >= Some(5000), "{silent}");
    let closed = attack("closes", &[]).await;
    assert_eq!(closed["saw"]["victim"], "brokered connection 7 did not answer in HTTP/2");
    assert!(closed["saw"]["victim_ms"].as_u64() < Some(4000), "{closed}");
}

#[tokio::test]
async fn connections_that_say_nothing() {
    let report = flood("connect-many", &["--count", "2000"], THOUSAND).await;
    assert!(report["saw"]["connected"].as_u64() >= Some(1000), "{report}");
}

/// The host's reason is in the error.
#[tokio::test]
async fn an_acknowledgement_with_an_error() {
    let report = attack("mux-ack-error", &[]).await;
    let refused = "the other side refused brokered connection 7: no listener for you";
    assert_eq!(report["saw"]["refused"], refused);
}

/// MUX-16.
#[tokio::test]
async fn an_acknowledgement_that_comes_too_late() {
    assert_eq!(attack("mux-ack-late", &[]).await["saw"]["consumed"], true);
}

#[tokio::test]
async fn acknowledgements_and_knocks_by_the_thousand() {
    flood("mux-ack-flood", &["--count", "100000"], FEW).await;
    flood("mux-knock-nobody", &["--count", "100000"], FEW).await;
    flood("mux-knock-flood", &["--count", "200000"], FEW).await;
}

/// Connections beyond the first thousand wait or are closed. Brokered connections made afterwards
/// are served anyway.
#[tokio::test]
async fn ten_thousand_streams() {
    for how in ["mux-streams", "mux-knock-streams"] {
        assert_eq!(flood(how, &[], THOUSAND).await["saw"]["opened"], 10_000);
    }
}

/// MUX-21: no host can ever connect again, so the plugin exits on its own, in an orderly way.
#[tokio::test]
async fn a_session_that_ends_in_the_middle_of_a_dial() {
    for how in ["mux-bad-version", "mux-bad-type", "mux-huge-frame", "mux-ends"] {
        attack(how, &[]).await;
    }
}
