//! Which resources end together with which others.

use std::convert::Infallible;
use std::time::Duration;

use http::Request;
use plugwire::Handshake;
use plugwire::host::{Attach, Launch, Timeouts};
use plugwire::http2::Http2;
use plugwire::plugin::Plugin;
use plugwire_interop::broker_probe::Side;
use plugwire_interop::brokered::{Brokered, MODES};
use plugwire_interop::leaks::{eventually, is_alive, sockets};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{PROBE, rust};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tower::service_fn;

pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// Prepares a program that is not a plugin and runs for a long time.
fn sleeper(sandbox: &Sandbox) -> Launch {
    sandbox.launch(Handshake::new("NOBODY", "asks"), "/bin/sleep").arg("600").version(1)
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Lets a start proceed until `reached`, and drops it together with its runtime.
fn dropped_start(reached: impl AsyncFn(&Sandbox)) {
    let sandbox = Sandbox::new();
    runtime().block_on(async {
        tokio::select! {
            biased;
            _ = sleeper(&sandbox).start() => panic!("the start waits for the line"),
            () = reached(&sandbox) => {}
        }
    });
    runtime().block_on(sandbox.assert_empty());
}

#[test]
fn a_start_that_is_dropped_at_once_leaves_nothing_even_if_its_runtime_ends() {
    dropped_start(async |_| {});
}

#[test]
fn a_start_that_is_dropped_leaves_no_process_even_if_its_runtime_ends_at_once() {
    dropped_start(async |sandbox| {
        assert!(
            eventually(LIMIT, || !sandbox.processes().is_empty()).await,
            "no process is started"
        );
    });
}

/// The host itself kills them before its runtime is gone: the process may be about to exit.
#[test]
fn a_runtime_that_ends_takes_its_plugins_along_and_what_they_started() {
    const WITH_A_CHILD: &str = r#"sleep 600 & exec "$0""#;
    let sandbox = Sandbox::new();
    let ending = runtime();
    let plugin = ending.block_on(async {
        let launch = sandbox.launch(PROBE, "/bin/sh").version(1).args(["-c", WITH_A_CHILD]);
        launch.arg(rust::program("probe-plugin")).start().await.expect("a start")
    });
    let both = runtime().block_on(eventually(LIMIT, || sandbox.processes().len() == 2));
    assert!(both, "{:?}", sandbox.processes());
    drop(ending);
    assert!(!is_alive(plugin.pid().expect("a pid")));
    assert_eq!(sockets(sandbox.folder()), Default::default());
    runtime().block_on(sandbox.assert_no_processes());
}

#[tokio::test]
async fn a_start_that_is_dropped_leaves_nothing() {
    let sandbox = Sandbox::new();
    let start = timeout(Duration::from_millis(300), sleeper(&sandbox).start());
    assert!(start.await.is_err(), "the start waits for the line");
    sandbox.assert_no_processes().await;
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn brokered_services_end_with_the_peer_that_they_were_for() {
    let plugin =
        Plugin::new(PROBE).version(1, |services, broker| Side::new(broker).services(services));
    let plugin = plugin.serve_in_test(1).expect("the plugin serves");
    let host = Attach::new(plugin.record().clone()).connect().await.expect("the host connects");
    let broker = host.broker();
    let early = broker.listen(1).await.expect("the peer is there");
    let side = Side::new(broker.clone());
    let mut serving =
        broker.serve(2, side.services(Default::default())).await.expect("the peer is there");

    drop(plugin);
    timeout(LIMIT, serving.ended()).await.expect("what was served ends with the peer");
    let mut late = early.serve(side.services(Default::default()));
    timeout(LIMIT, late.ended()).await.expect("what is served too late ends at once");
    let error =
        timeout(LIMIT, broker.listen(3)).await.expect("no wait").expect_err("the peer is gone");
    assert_eq!(error.code(), "broker.peer-gone");
    let error =
        timeout(LIMIT, broker.dial(4)).await.expect("no wait").expect_err("the peer is gone");
    assert_eq!(error.code(), "broker.peer-gone");
}

/// `Duration::MAX` is a common way to say that there is no limit.
#[tokio::test]
async fn any_limit_can_be_left_out() {
    let limit = Duration::MAX;
    let timeouts = Timeouts::default().start(limit).ping(limit).drain(limit).shutdown(limit);
    let timeouts = timeouts.exit(limit).terminate(limit).broker(limit);
    for mode in MODES {
        let sandbox = Sandbox::new();
        let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).timeouts(timeouts);
        let pair = Brokered::start(launch.http2(Http2::new().keep_alive(limit, limit)), mode).await;
        let id = pair.offer(Duration::ZERO).await;
        let reached = timeout(60 * LIMIT, pair.host_dials(id)).await.expect("in time");
        assert_eq!(reached.expect("the plugin accepts").served, id);
        pair.plugin.ping().await.expect("it answers");
        pair.plugin.shutdown().await.expect("it ends");
        sandbox.assert_empty().await;
    }
}

/// Go's server ends the process over a second service of one name.
#[tokio::test]
async fn a_service_that_every_plugin_has_cannot_be_added() {
    for name in [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "plugin.GRPCBroker",
        "plugin.GRPCController",
        "plugin.GRPCStdio",
    ] {
        let answer = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Status::unimplemented("a call").into_http::<Body>())
        });
        let plugin =
            Plugin::new(PROBE).version(1, move |services, _| services.add_named(name, answer));
        let error = plugin.serve_in_test(1).expect_err("it is taken");
        assert_eq!(error.code(), "serve.built-in-service", "{name}");
        assert!(error.to_string().contains(name), "{error}");
    }
}
