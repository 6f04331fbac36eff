//! Calls on brokered connections behave like calls on the main connection. Spec: GRPC-5 and
//! GRPC-10, by BRK-11 and MUX-7.

use std::path::Path;
use std::time::Duration;

use plugwire::Channel;
use plugwire_interop::brokered::{Brokered, MODES, Mode};
use plugwire_interop::probe::probe_client::ProbeClient;
use plugwire_interop::probe::{AwaitHangRequest, HangRequest, Payload, pattern};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::{echo_metadata, has_begun, once_past, with_deadline};
use plugwire_interop::{PROBE, go, rust};
use tokio::time::timeout;
use tonic::{Code, Request};

const LIMIT: Duration = Duration::from_secs(30);
const LARGE: u64 = 64 << 20;

type Probe = ProbeClient<Channel>;

fn hang(id: &str) -> HangRequest {
    HangRequest { id: id.to_owned() }
}

async fn await_hang(probe: &Probe, id: &str, cancelled: bool) {
    let wait_ms = LIMIT.as_millis() as u64;
    let request = AwaitHangRequest { id: id.to_owned(), cancelled, wait_ms };
    let report = probe.clone().await_hang(request).await.expect("a report").into_inner();
    assert_eq!((report.started, report.cancelled), (true, cancelled), "{id}");
}

async fn cancellation(probe: &Probe) {
    let mut client = probe.clone();
    let unary = tokio::spawn(async move { client.hang(hang("dropped")).await.map(drop) });
    await_hang(probe, "dropped", false).await;
    unary.abort();
    await_hang(probe, "dropped", true).await;

    let stream = probe.clone().hang_stream(hang("dropped stream")).await;
    let mut stream = stream.expect("a stream").into_inner();
    stream.message().await.expect("no failure").expect("a first message");
    drop(stream);
    await_hang(probe, "dropped stream", true).await;
}

async fn deadline(probe: &Probe) {
    let late = async |id: String, limit| {
        let call = timeout(LIMIT, probe.clone().hang(with_deadline(&id, limit))).await;
        let status = call.expect("in time").expect_err("the deadline has passed");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        has_begun(probe, &id).await.then_some(id)
    };
    await_hang(probe, &once_past("late", late).await, true).await;
}

async fn metadata(probe: &Probe) {
    let mut request = Request::new(Payload { data: "text".into() });
    *request.metadata_mut() = echo_metadata();
    let reply = probe.clone().echo(request).await.expect("an echo");
    let sent = echo_metadata();
    for prefix in ["", "trailer-"] {
        for key in ["probe-text", "probe-several", "probe-large"] {
            let came: Vec<_> = reply.metadata().get_all(format!("{prefix}{key}")).iter().collect();
            let sent: Vec<_> = sent.get_all(key).iter().collect();
            assert_eq!(came, sent, "{prefix}{key}");
        }
        let key = format!("{prefix}probe-data-bin");
        let came =
            reply.metadata().get_bin(key).expect("the value came back").to_bytes().expect("base64");
        assert_eq!(came, (0..=255).collect::<Vec<u8>>(), "{prefix}");
    }
}

async fn large(probe: &Probe) {
    let data = pattern(0, LARGE);
    let echo = probe.clone().echo(Payload { data: data.clone().into() }).await.expect("an echo");
    assert!(echo.into_inner().data == data, "the data came back changed");
}

async fn rust_host(program: &Path, mode: Mode) {
    let sandbox = Sandbox::new();
    let pair = Brokered::start(sandbox.launch(PROBE, program), mode).await;
    let id = pair.offer(Duration::ZERO).await;
    let probe = pair.dial(id).await.expect("a connection");
    cancellation(&probe).await;
    deadline(&probe).await;
    metadata(&probe).await;
    large(&probe).await;
    // In the other direction, the plugin echoes 1000 bytes and chats in 64 MiB at the host.
    let id = pair.side.serve().await.expect("the id is served");
    let report = pair.plugin_reports(id, 2, LARGE).await;
    assert_eq!((report.served_id, report.messages), (id, 2), "{program:?} {mode:?}: {report:?}");
    pair.plugin.shutdown().await.expect("the shutdown works");
}

#[tokio::test]
async fn rust_host_and_go_plugin() {
    let releases = ["1.4.8", "1.8.0-newest", "1.6.3", "1.8.0-newest"];
    for (release, mode) in releases.into_iter().zip(MODES) {
        rust_host(&go::peer(release, "probe-plugin"), mode).await;
    }
}

#[tokio::test]
async fn rust_host_and_rust_plugin() {
    for mode in [MODES[1], MODES[3]] {
        rust_host(&rust::program("probe-plugin"), mode).await;
    }
}

#[tokio::test]
async fn go_host_and_rust_plugin() {
    let plugin = rust::program("probe-plugin");
    let large = LARGE.to_string();
    let releases = ["1.4.8", "1.8.0-newest", "1.6.3", "1.8.0-newest"];
    for (release, mode) in releases.into_iter().zip(MODES) {
        let sandbox = Sandbox::new();
        let play = async |scenario: &[&str]| {
            let scenario = mode.flags(&[scenario, &["--timeout", "240s"]].concat());
            sandbox.go_host(release, &scenario, &[plugin.as_os_str()]).await
        };
        for scenario in ["cancel", "deadline"] {
            let report = play(&[scenario, "--over-broker"]).await;
            let code = if scenario == "cancel" { "Canceled" } else { "DeadlineExceeded" };
            for kind in ["unary", "stream"] {
                let seen = &report["result"][kind];
                assert_eq!(seen["call"]["name"], code, "{release} {mode:?}: {report:#}");
                assert_eq!(seen["after"]["cancelled"], true, "{release} {mode:?}: {report:#}");
            }
        }
        for scenario in ["echo", "large"] {
            let report = play(&[scenario, "--over-broker"]).await;
            for intact in ["payload_intact", "headers_intact", "trailers_intact"] {
                assert_eq!(report["result"][intact], true, "{release} {mode:?}: {report:#}");
            }
        }
        let report = play(&["broker-dial", "--count", "2", "--size", &large]).await;
        assert_eq!(report["result"]["intact"], true, "{release} {mode:?}: {report:#}");
        sandbox.assert_no_processes().await;
    }
}
