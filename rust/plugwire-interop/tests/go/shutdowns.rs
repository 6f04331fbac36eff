//! The steps of a shutdown, as seen by calls and plugins. Spec: SHD-1 to SHD-4.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use plugwire::host::{Attach, ShutdownPhase, Timeouts};
use plugwire_interop::leaks::{eventually, is_alive};
use plugwire_interop::probe::{AwaitHangRequest, DieRequest, HangRequest, Payload};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
use plugwire_interop::{PROBE, go, rust};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(30);

fn plugins() -> [PathBuf; 2] {
    [go::peer("1.8.0", "probe-plugin"), rust::program("probe-plugin")]
}

/// Go plugins abort running calls when they are asked to end, so the host waits before it asks.
#[tokio::test]
async fn a_call_under_way_finishes_before_a_plugin_is_asked_to_end() {
    for plugin in plugins() {
        let sandbox = Sandbox::new();
        let launch = sandbox.launch(PROBE, &plugin).version(1).drain_timeout(LIMIT);
        let plugin = launch.start().await.expect("a start");
        let (say, said) = mpsc::channel(1);
        // A Go plugin's answer begins only with its first message.
        say.send(Payload { data: "zero".into() }).await.expect("there is room");
        let mut client = probe(&plugin);
        let chat = timeout(LIMIT, client.chat(ReceiverStream::new(said))).await.expect("in time");
        let mut chat = chat.expect("the call begins").into_inner();
        assert_eq!(chat.message().await.expect("no error").expect("an echo").data, "zero");
        let ending = plugin.clone();
        let ending = tokio::spawn(async move { ending.shutdown().await });
        for word in ["one", "two"] {
            say.send(Payload { data: word.into() }).await.expect("the plugin receives");
            let echo = timeout(LIMIT, chat.message()).await.expect("in time");
            let echo = echo.expect("no error").expect("an echo");
            assert_eq!(echo.data, word);
            tokio::task::yield_now().await;
        }
        assert!(!ending.is_finished(), "the shutdown waits for the running call");
        drop(say);
        assert_eq!(chat.message().await.expect("a good end"), None);
        let stop = timeout(LIMIT, ending).await.expect("in time").expect("no panic");
        let stop = stop.expect("the shutdown works");
        assert_eq!((stop.phase, stop.drained), (ShutdownPhase::Asked, true));
    }
}

/// A call that does not finish is cut off after its time limit.
#[tokio::test]
async fn a_call_that_hangs_does_not_delay_the_shutdown() {
    for plugin in plugins() {
        let sandbox = Sandbox::new();
        let limit = Duration::from_millis(200);
        let launch = sandbox.launch(PROBE, &plugin).version(1).drain_timeout(limit);
        let plugin = launch.start().await.expect("a start");
        let mut client = probe(&plugin);
        let hang = HangRequest { id: "hangs".to_owned() };
        let call = tokio::spawn(async move { client.hang(hang).await.map(drop) });
        let wait_ms = LIMIT.as_millis() as u64;
        let begun = AwaitHangRequest { id: "hangs".to_owned(), cancelled: false, wait_ms };
        assert!(probe(&plugin).await_hang(begun).await.expect("a report").into_inner().started);
        let since = Instant::now();
        let stop = plugin.shutdown().await.expect("the shutdown works");
        assert!(since.elapsed() >= limit);
        assert_eq!((stop.phase, stop.drained), (ShutdownPhase::Asked, false));
        assert_eq!(call.await.expect("no panic").expect_err("cut").code(), Code::Unavailable);
    }
}

/// A handler that blocks a thread would keep the plugin's runtime from shutting down. The plugin is
/// not killed here: the host that started it has left, and a second host attaches to it.
#[tokio::test]
async fn a_handler_that_hangs_does_not_hold_a_rust_plugins_exit() {
    let sandbox = Sandbox::new();
    let plugin = rust::program("probe-plugin");
    let plugin = [plugin.as_os_str(), "--exit-ms".as_ref(), "300".as_ref()];
    let report = sandbox.go_host("1.8.0", &["start", "--leave"], &plugin).await;
    let records = json!({ "probe": report["start"]["record"] }).to_string();
    let record = plugwire::protocol::reattach::parse_map(&records).expect("the output is a record");
    let record = record["probe"].clone();
    let attach = Attach::new(record.clone()).timeouts(Timeouts::default().drain(Duration::ZERO));
    let host = attach.connect().await.expect("the plugin runs");
    let mut client = probe(&host);
    let block = DieRequest { how: "block".to_owned() };
    let call = tokio::spawn(async move { client.die(block).await.map(drop) });
    let echo = probe(&host).echo(Payload { data: "word".into() }).await;
    echo.expect("the plugin answers other calls, and has started the first by now");
    let stop = host.shutdown().await.expect("the plugin was asked");
    assert_eq!(stop.phase, ShutdownPhase::Asked);
    call.await.expect("no panic").expect_err("the hanging call never answers");
    assert!(eventually(LIMIT, || !is_alive(record.pid)).await, "the plugin does not exit");
    sandbox.assert_empty().await;
}
