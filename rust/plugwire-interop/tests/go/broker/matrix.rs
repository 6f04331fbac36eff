//! Every pairing, every mode, every direction. Spec: BRK-1 to BRK-7 and BRK-11, MUX-1 to MUX-10.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use plugwire::broker::DialError;
use plugwire::host::StartError;
use plugwire_interop::broker_probe::chat;
use plugwire_interop::brokered::{Brokered, Mode, Reached};
use plugwire_interop::probe::NestRequest;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{PROBE, RELEASES, go, rust};
use serde_json::Value;

const LATE: Duration = Duration::from_millis(200);

async fn assert_good_dials(pair: &Brokered, case: &str) {
    let id = pair.offer(Duration::ZERO).await;
    assert_eq!(pair.host_dials(id).await, Ok(Reached { wanted: id, served: id }), "{case}");
    let id = pair.side.serve().await.expect("the id is served");
    let reached = pair.plugin_dials(id, 20, 1000).await;
    assert_eq!(reached, Ok(Reached { wanted: id, served: id }), "{case}");
}

async fn assert_early_dial_of_the_plugin(pair: &Brokered, case: &str) {
    let id = pair.side.serve_after(LATE).await.expect("a delay");
    let reached = pair.plugin_dials(id, 1, 1).await;
    assert_eq!(reached, Ok(Reached { wanted: id, served: id }), "{case}");
}

async fn assert_nested_callbacks(pair: &Brokered, case: &str) {
    let id = pair.side.serve().await.expect("the id is served");
    let request = NestRequest { id, depth: 5, data: b"nest".as_slice().into() };
    let reply = pair.other.clone().nest(request).await.expect("an answer").into_inner();
    assert_eq!(reply.data, b"nest\x01\x02\x03\x04\x05".as_slice(), "{case}");
}

async fn assert_streams(pair: &Brokered, case: &str) {
    let id = pair.offer(Duration::ZERO).await;
    let mut probe = pair.dial(id).await.expect("a connection");
    let intact = chat(&mut probe, 200, 5000).await;
    assert_eq!(intact.expect("no failure"), 200, "{case}");
}

/// Go plugins before 1.5 choose where their sockets are, and leave those of the broker when they
/// exit.
async fn assert_left(sandbox: &Sandbox, release: &str) {
    match release {
        "1.4.8" => sandbox.assert_no_processes().await,
        _ => sandbox.assert_empty().await,
    }
}

async fn rust_host(program: &Path, release: &str) {
    for mode in Mode::of(release) {
        let case = format!("{} {mode:?}", program.display());
        let sandbox = Sandbox::new();
        let pair = Brokered::start(sandbox.launch(PROBE, program), mode).await;
        assert_good_dials(&pair, &case).await;
        assert_early_dial_of_the_plugin(&pair, &case).await;
        assert_nested_callbacks(&pair, &case).await;
        assert_streams(&pair, &case).await;
        pair.plugin.shutdown().await.expect("the shutdown works");
        drop(pair);
        assert_left(&sandbox, release).await;
        early_dial_of_the_host(program, mode, &case).await;
    }
}

/// A multiplexing Go plugin answers a knock that had to wait a moment before it is ready for the
/// stream. If it loses that race with itself, it drops the stream and accepts no more. This dial
/// therefore has a plugin of its own, and several attempts.
async fn early_dial_of_the_host(program: &Path, mode: Mode, case: &str) {
    for chance in 1.. {
        let sandbox = Sandbox::new();
        let pair = Brokered::start(sandbox.launch(PROBE, program), mode).await;
        let id = pair.offer(LATE).await;
        let dialled = pair.host_dials(id).await;
        pair.plugin.shutdown().await.expect("the shutdown works");
        if dialled == Ok(Reached { wanted: id, served: id }) {
            return;
        }
        assert!(mode.multiplexed && chance < 4, "{case}: {dialled:?}");
        println!("{case}: chance {chance}: {dialled:?}");
    }
}

#[tokio::test]
async fn rust_host_and_go_plugin() {
    for release in RELEASES {
        rust_host(&go::peer(release, "probe-plugin"), release).await;
    }
}

#[tokio::test]
async fn rust_host_and_rust_plugin() {
    rust_host(&rust::program("probe-plugin"), "1.8.0").await;
}

/// Asserts what a Go host's scenario must have seen.
fn assert_seen(report: &Value, case: &str) {
    let result = &report["result"];
    let host_dialled = |seen: &Value| {
        assert_eq!(seen["echo"]["payload_intact"], true, "{case}: {report:#}");
        assert_eq!(seen["echo"]["headers_intact"], true, "{case}: {report:#}");
        assert_eq!(seen["echo"]["trailers_intact"], true, "{case}: {report:#}");
        assert_eq!(seen["served_id"], seen["id"], "{case}: {report:#}");
    };
    let plugin_dialled = |seen: &Value| {
        assert_eq!(seen["intact"], true, "{case}: {report:#}");
        assert!(seen["served_id"].as_u64() > Some(0), "{case}: {report:#}");
    };
    match report["scenario"].as_str() {
        Some("broker-accept") => host_dialled(result),
        Some("broker-dial") => plugin_dialled(result),
        Some("broker-early-dial") => {
            host_dialled(&result["host_dials"]);
            plugin_dialled(&result["plugin_dials"]);
        }
        Some("broker-nest") => assert_eq!(result["intact"], true, "{case}: {report:#}"),
        other => panic!("no scenario {other:?}"),
    }
    assert_eq!(report["kill"]["exited"], true, "{case}: {report:#}");
    assert_eq!(report["kill"]["hung"], false, "{case}: {report:#}");
}

async fn go_host(release: &str, program: &Path) {
    let scenarios: [&[&str]; 4] = [
        &["broker-accept"],
        &["broker-dial"],
        &["broker-early-dial", "--delay", "200ms"],
        &["broker-nest", "--depth", "5"],
    ];
    for mode in Mode::of(release) {
        for scenario in scenarios {
            let case = format!("{release} {} {mode:?} {scenario:?}", program.display());
            let sandbox = Sandbox::new();
            let scenario = mode.flags(scenario);
            let report = sandbox.go_host(release, &scenario, &[program.as_os_str()]).await;
            assert_seen(&report, &case);
            sandbox.assert_no_processes().await;
        }
    }
}

#[tokio::test]
async fn go_host_and_rust_plugin() {
    for release in RELEASES {
        go_host(release, &rust::program("probe-plugin")).await;
    }
}

/// A dial to an id that is never accepted times out, and affects nothing else. Spec: BRK-4, MUX-14.
#[tokio::test]
async fn ids_that_are_never_accepted() {
    const UNSERVED: u32 = 4242;
    let one = async |program: &Path, release: &str, mode: Mode| {
        let case = format!("{} {mode:?}", program.display());
        let sandbox = Sandbox::new();
        let launch = sandbox.launch(PROBE, program);
        let pair = Brokered::start(launch, mode).await;
        match pair.dial(UNSERVED).await {
            Err(error @ DialError::Timeout { id: UNSERVED, .. }) => {
                assert_eq!(error.code(), "broker.timeout", "{case}");
            }
            other => panic!("{case}: {other:?}"),
        }
        let report = pair.plugin_reports(UNSERVED, 0, 0).await;
        // A multiplexing Go dialer gets a connection at once, which fails at its first call.
        assert!(!report.dialled || report.code == 14, "{case}: {report:?}");
        assert_good_dials(&pair, &case).await;
        pair.plugin.shutdown().await.expect("the shutdown works");
        drop(pair);
        assert_left(&sandbox, release).await;
    };
    let plugins = [
        go::peer("1.4.8", "probe-plugin"),
        go::peer("1.8.0-newest", "probe-plugin"),
        rust::program("probe-plugin"),
    ];
    let cases = plugins.iter().zip(["1.4.8", "1.8.0", "1.8.0"]);
    let cases = cases
        .flat_map(|(plugin, release)| Mode::of(release).map(move |mode| (plugin, release, mode)));
    join_all(cases.map(|(plugin, release, mode)| one(plugin, release, mode))).await;
}

#[tokio::test]
async fn ids_that_are_never_accepted_under_go_hosts() {
    let plugin = rust::program("probe-plugin");
    let one = async |release: &str, mode: Mode| {
        let sandbox = Sandbox::new();
        let scenario = mode.flags(&["broker-nobody", "--timeout", "60s"]);
        let report = sandbox.go_host(release, &scenario, &[plugin.as_os_str()]).await;
        let result = &report["result"];
        let unserved = &result["nobody"];
        assert_ne!(unserved["host_dials"]["echo"]["payload_intact"], true, "{release}: {report:#}");
        assert_eq!(unserved["plugin_dials"]["dialled"], false, "{release}: {report:#}");
        let after = &result["after"];
        assert_eq!(after["host_dials"]["echo"]["payload_intact"], true, "{release}: {report:#}");
        assert_eq!(after["host_dials"]["served_id"], after["host_dials"]["id"], "{report:#}");
        assert_eq!(after["plugin_dials"]["intact"], true, "{release}: {report:#}");
        sandbox.assert_empty().await;
    };
    let releases = ["1.4.8", "1.6.3", "1.8.0-newest"];
    let cases =
        releases.into_iter().flat_map(|release| Mode::of(release).map(move |mode| (release, mode)));
    join_all(cases.map(|(release, mode)| one(release, mode))).await;
}

/// Spec: MUX-3.
#[tokio::test]
async fn a_plugin_that_cannot_multiplex() {
    for mutual_tls in [false, true] {
        let sandbox = Sandbox::new();
        let program = go::peer("1.4.8", "probe-plugin");
        let launch = || {
            let launch = sandbox.launch(PROBE, &program).version(1);
            if mutual_tls { launch } else { launch.dangerous().plaintext() }
        };
        match launch().multiplex().start().await {
            Err(StartError::Handshake { cause, .. }) => {
                assert_eq!(cause.code(), "start.multiplex-missing");
            }
            other => panic!("{other:?}"),
        }
        sandbox.assert_no_processes().await;

        let plugin = launch().multiplex_if_possible().start().await.expect("the host falls back");
        let pair = Brokered::around(plugin);
        assert_good_dials(&pair, "1.4.8 without multiplexing").await;
        pair.plugin.shutdown().await.expect("the shutdown works");
        drop(pair);
        assert_left(&sandbox, "1.4.8").await;
    }
    // Multiplexing is used where it is possible: the plugin creates no socket but its first.
    let sandbox = Sandbox::new();
    let program = go::peer("1.6.3", "probe-plugin");
    let launch = sandbox.launch(PROBE, program).version(1).multiplex_if_possible();
    let pair = Brokered::around(launch.start().await.expect("a start"));
    let id = pair.offer(Duration::ZERO).await;
    assert_eq!(pair.host_dials(id).await, Ok(Reached { wanted: id, served: id }));
    let sockets = socket_files(sandbox.folder());
    assert_eq!(sockets, 1, "sockets of a multiplexed pair");
    pair.plugin.shutdown().await.expect("the shutdown works");
}

/// Counts the sockets in this directory and below.
fn socket_files(folder: &Path) -> usize {
    use std::os::unix::fs::FileTypeExt;
    let entries = std::fs::read_dir(folder).expect("a directory").flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => socket_files(&entry.path()),
            Ok(kind) => usize::from(kind.is_socket()),
            Err(_) => 0,
        })
        .sum()
}
