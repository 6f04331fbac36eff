//! Which resources end together with which others.

use std::time::Duration;

use plugwire::Handshake;
use plugwire::host::{Attach, Launch};
use plugwire::plugin::Plugin;
use plugwire_interop::broker_probe::Side;
use plugwire_interop::leaks::{eventually, is_alive, sockets};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{PROBE, rust};
use tokio::runtime::Runtime;
use tokio::time::timeout;

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
