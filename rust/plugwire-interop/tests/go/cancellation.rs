//! Cancellation and deadlines reach the other side, in both directions, for unary calls and
//! streams. Spec: GRPC-10.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use plugwire::host::PluginHandle;
use plugwire_interop::probe::{AwaitHangRequest, HangReport, HangRequest, InspectRequest, Payload};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::{has_begun, once_past, probe, with_deadline};
use plugwire_interop::{PROBE, RELEASES, go, rust, soaks};
use serde_json::Value;
use tokio::time::timeout;
use tonic::{Code, Request, Status};

const LIMIT: Duration = Duration::from_secs(30);

fn hang(id: &str) -> HangRequest {
    HangRequest { id: id.to_owned() }
}

/// Waits at the plugin until the call has started or has been cancelled.
async fn await_hang(plugin: &PluginHandle, id: &str, cancelled: bool) -> HangReport {
    let wait_ms = LIMIT.as_millis() as u64;
    let request = AwaitHangRequest { id: id.to_owned(), cancelled, wait_ms };
    probe(plugin).await_hang(request).await.expect("a report").into_inner()
}

async fn assert_begun(plugin: &PluginHandle, id: &str) {
    let report = await_hang(plugin, id, false).await;
    assert_eq!((report.started, report.cancelled), (true, false), "{id}");
}

/// `reasons`: what a handler may have seen. A Rust handler is dropped and sees none.
async fn assert_cancelled(plugin: &PluginHandle, id: &str, reasons: &[&str]) {
    let report = await_hang(plugin, id, true).await;
    assert!(report.cancelled, "{id}");
    assert!(reasons.contains(&report.reason.as_str()), "{id}: {report:?}");
}

/// A Rust caller cancels a call by dropping its future or stream.
async fn dropping_cancels(plugin: &PluginHandle) {
    let mut client = probe(plugin);
    let unary = tokio::spawn(async move { client.hang(hang("dropped")).await.map(drop) });
    assert_begun(plugin, "dropped").await;
    unary.abort();
    assert_cancelled(plugin, "dropped", &["canceled", "dropped"]).await;

    let stream = probe(plugin).hang_stream(hang("dropped stream")).await;
    let mut stream = stream.expect("a stream").into_inner();
    stream.message().await.expect("no failure").expect("a first message");
    assert_begun(plugin, "dropped stream").await;
    drop(stream);
    assert_cancelled(plugin, "dropped stream", &["canceled", "dropped"]).await;
}

/// The caller's timer, the handler's timer and the caller's reset can each come first.
async fn deadlines_end_calls(plugin: &PluginHandle) {
    let reasons = ["deadline", "canceled", "dropped"];
    let is_over = |status: Status| {
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    };
    let unary = async |id: String, limit| {
        let call = timeout(LIMIT, probe(plugin).hang(with_deadline(&id, limit))).await;
        is_over(call.expect("in time").expect_err("the deadline has passed"));
        has_begun(&probe(plugin), &id).await.then_some(id)
    };
    assert_cancelled(plugin, &once_past("late", unary).await, &reasons).await;

    let stream = async |id: String, limit| {
        let opened = probe(plugin).hang_stream(with_deadline(&id, limit)).await;
        let mut stream = opened.map_err(is_over).ok()?.into_inner();
        stream.message().await.map_err(is_over).ok()?.expect("a first message");
        let call = timeout(LIMIT, stream.message()).await;
        is_over(call.expect("in time").expect_err("the deadline has passed"));
        Some(id)
    };
    assert_cancelled(plugin, &once_past("late stream", stream).await, &reasons).await;
}

/// The timeout given to tonic's `set_timeout` is the handler's deadline.
async fn deadlines_arrive(plugin: &PluginHandle) {
    for (set, at_least) in [(20_000, 5_000), (100_000_000, 99_000_000)] {
        let mut request = Request::new(InspectRequest {});
        request.set_timeout(Duration::from_millis(set));
        let report = probe(plugin).inspect(request).await.expect("a report").into_inner();
        assert!((at_least..=set).contains(&report.deadline_ms), "{set}: {}", report.deadline_ms);
    }
    let none = probe(plugin).inspect(InspectRequest {}).await.expect("a report").into_inner();
    assert_eq!(none.deadline_ms, 0);
}

async fn from_a_rust_host(program: &Path, plaintext: bool) {
    let sandbox = Sandbox::new();
    let mut launch = sandbox.launch(PROBE, program).version(1);
    if plaintext {
        launch = launch.dangerous().plaintext();
    }
    let plugin = launch.start().await.expect("a start");
    dropping_cancels(&plugin).await;
    deadlines_end_calls(&plugin).await;
    deadlines_arrive(&plugin).await;
    plugin.ping().await.expect("the connection works");
    plugin.shutdown().await.expect("the shutdown works");
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn rust_host_and_go_plugin() {
    for release in RELEASES {
        from_a_rust_host(&go::peer(release, "probe-plugin"), true).await;
    }
    from_a_rust_host(&go::peer("1.8.0-newest", "probe-plugin"), false).await;
}

#[tokio::test]
async fn rust_host_and_rust_plugin() {
    from_a_rust_host(&rust::program("probe-plugin"), false).await;
}

/// Returns what the Go host's scenario shows of one hanging call, without what depends on timing.
fn seen(report: &Value, kind: &str) -> Value {
    let seen = &report["result"][kind];
    serde_json::json!({
        "call": seen["call"]["name"],
        "first_message": seen["first_message"],
        "begun": seen["begun"],
        "started": seen["after"]["started"],
        "cancelled": seen["after"]["cancelled"],
    })
}

/// A Go context that is cancelled or past its deadline drops the Rust handler's future.
#[tokio::test]
async fn go_host_and_rust_plugin() {
    let rust_plugin = rust::program("probe-plugin");
    for release in RELEASES {
        let go_plugin = go::peer(release, "probe-plugin");
        for scenario in ["cancel", "deadline"] {
            for tls in [&[][..], &["--auto-mtls"]] {
                let sandbox = Sandbox::new();
                let scenario: Vec<&str> = [scenario].iter().chain(tls).copied().collect();
                let go_go = sandbox.go_host(release, &scenario, &[go_plugin.as_os_str()]).await;
                let go_rust = sandbox.go_host(release, &scenario, &[rust_plugin.as_os_str()]).await;
                for kind in ["unary", "stream"] {
                    let case = format!("{release} {scenario:?} {kind}");
                    assert_eq!(seen(&go_rust, kind), seen(&go_go, kind), "{case}");
                    assert_eq!(go_rust["result"][kind]["after"]["reason"], "dropped", "{case}");
                    assert_eq!(go_rust["result"][kind]["after"]["cancelled"], true, "{case}");
                }
                sandbox.assert_empty().await;
            }
        }
    }
}

/// A Go context's deadline is the Rust handler's `grpc-timeout`.
#[tokio::test]
async fn go_deadlines_arrive_at_a_rust_handler() {
    for release in RELEASES {
        let sandbox = Sandbox::new();
        let plugin = rust::program("probe-plugin");
        let scenario = ["inspect", "--timeout", "20s"];
        let report = sandbox.go_host(release, &scenario, &[plugin.as_os_str() as &OsStr]).await;
        let left = report["result"]["deadline_ms"].as_u64().expect("a number");
        assert!((5_000..=20_000).contains(&left), "{release}: {left}");
    }
}

/// How many calls are given up at once: more than h2 remembers by default, fewer than may be open.
const BURST: usize = 9000;

/// A busy host gives up many calls whose answers are on their way. Neither side takes that for an attack: a call that is
/// under way goes on.
#[tokio::test]
async fn a_burst_of_calls_that_are_given_up_ends_no_other() {
    let rounds = if soaks() { 30 } else { 3 };
    for (program, options) in [
        (go::peer("1.8.0", "probe-plugin"), &[][..]),
        (rust::program("probe-plugin"), &[][..]),
        (rust::program("probe-plugin"), &["multiplexed"][..]),
    ] {
        let sandbox = Sandbox::new();
        let launch = sandbox.launch(PROBE, &program).version(1);
        let launch = if options.is_empty() { launch } else { launch.multiplex() };
        let plugin = launch.start().await.expect("a start");
        let mut client = probe(&plugin);
        let under_way = tokio::spawn(async move { client.hang(hang("under way")).await.map(drop) });
        assert_begun(&plugin, "under way").await;
        for round in 0..rounds {
            let burst: Vec<_> = (0..BURST)
                .map(|_| {
                    let mut client = probe(&plugin);
                    tokio::spawn(async move { client.echo(Payload { data: "x".into() }).await })
                })
                .collect();
            while !burst.iter().any(|call| call.is_finished()) {
                tokio::task::yield_now().await;
            }
            burst.iter().for_each(|call| call.abort());
            for call in burst {
                if let Ok(answered) = call.await {
                    answered.unwrap_or_else(|status| panic!("{program:?}, {round}: {status}"));
                }
            }
            let answer = probe(&plugin).echo(Payload { data: "x".into() }).await;
            answer.unwrap_or_else(|status| panic!("{program:?}, {round}: {status}"));
        }
        assert!(!under_way.is_finished(), "{program:?}: {:?}", under_way.await);
        plugin.shutdown().await.expect("it ends");
    }
}
