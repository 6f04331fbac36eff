//! A host that attaches to a plugin kills that plugin only, and no other process.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Child, Command};

use plugwire::host::{Attach, AttachError, PluginHandle, ShutdownPhase};
use plugwire_interop::leaks::is_alive;
use plugwire_interop::probe::Payload;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{PROBE, rust, scenarios};
use tonic::Code;

/// A process that has nothing to do with plugins.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().expect("it starts"))
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a plugin that can be attached to.
async fn plain_plugin(sandbox: &Sandbox) -> PluginHandle {
    let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).version(1);
    launch.dangerous().plaintext().start().await.expect("a start")
}

#[tokio::test]
async fn a_process_that_the_record_names_and_that_does_not_listen_is_not_killed() {
    let sandbox = Sandbox::new();
    let plugin = plain_plugin(&sandbox).await;
    let bystander = Bystander::new();
    let mut wrong = plugin.record();
    wrong.pid = bystander.0.id();

    let refused = Attach::new(wrong.clone()).kill_on_shutdown().connect().await;
    let error = refused.expect_err("another process has this pid");
    assert_eq!(error.code(), "attach.other-process");
    let AttachError::OtherProcess { pid, cause } = &error else { panic!("{error:?}") };
    assert_eq!(*pid, bystander.0.id());
    assert_eq!(
        cause.to_string(),
        format!("process {} listens there", plugin.pid().expect("a pid"))
    );
    assert!(is_alive(bystander.0.id()) && is_alive(plugin.pid().expect("a pid")));

    // Without `kill_on_shutdown`, the pid in the record does not matter.
    let attached = Attach::new(wrong).connect().await.expect("the plugin listens");
    assert_eq!(
        attached.shutdown().await.expect("the plugin was asked").phase,
        ShutdownPhase::Asked
    );
    assert!(is_alive(bystander.0.id()));
    plugin.exited().await;
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn a_process_that_no_longer_exists_is_not_the_plugin() {
    let sandbox = Sandbox::new();
    let plugin = plain_plugin(&sandbox).await;
    let bystander = Bystander::new();
    let mut wrong = plugin.record();
    wrong.pid = bystander.0.id();
    drop(bystander);
    for pid in [wrong.pid, 0] {
        wrong.pid = pid;
        let refused = Attach::new(wrong.clone()).kill_on_shutdown().connect().await;
        assert_eq!(refused.expect_err("no process has this pid").code(), "attach.other-process");
    }
    plugin.shutdown().await.expect("it ends");
    sandbox.assert_empty().await;
}

/// SOCK-10: a host reconnects only to the process that listened, not to another process that now
/// has the path of its socket.
#[tokio::test]
async fn another_process_at_the_same_address_gets_no_calls_and_is_not_asked_to_end() {
    let sandbox = Sandbox::new();
    let (first, second) = (plain_plugin(&sandbox).await, plain_plugin(&sandbox).await);
    let address = sandbox.folder().join("address");
    symlink(first.record().address, &address).expect("a link");
    let mut record = first.record();
    record.address = address.as_path().into();
    let attached = Attach::new(record).connect().await.expect("a connection");
    let mut calls = scenarios::probe(&attached);
    calls.echo(Payload::default()).await.expect("the plugin answers");

    first.shutdown().await.expect("it ends");
    fs::remove_file(&address).expect("the link");
    symlink(second.record().address, &address).expect("a link");
    let error = calls.echo(Payload::default()).await.expect_err("another process listens");
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    attached.shutdown().await.expect("the shutdown returns");
    assert!(is_alive(second.pid().expect("a pid")));
    second.ping().await.expect("the other plugin works");
    assert_eq!(second.shutdown().await.expect("it ends").phase, ShutdownPhase::Asked);
    fs::remove_file(&address).expect("the link");
    sandbox.assert_empty().await;
}
