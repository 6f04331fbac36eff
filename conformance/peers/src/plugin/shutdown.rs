//! How the plugin ends: on request, by a signal, or because its host is gone.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use plugwire_conformance_wire::messages::Empty;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::calls::{Call, End};
use super::witness::Witness;
use super::{Plugin, acts};
use crate::script::ShutdownCall;

/// How often a plugin checks that its host is still there.
const LOOK: Duration = Duration::from_millis(200);
/// The time for the host to read the answer to Shutdown.
const READ: Duration = Duration::from_millis(200);

/// Decides when the plugin ends, and with which status. The first decision counts.
#[derive(Debug, Default)]
pub(super) struct Ending(watch::Sender<Option<u8>>);

impl Ending {
    /// The plugin ends now.
    pub(super) fn end(&self, status: u8) {
        self.0.send_if_modified(|ending| {
            let first = ending.is_none();
            ending.get_or_insert(status);
            first
        });
    }

    /// Waits for the end. Cancel safe.
    pub(super) async fn wait(&self) -> u8 {
        let mut ending = self.0.subscribe();
        // Fails only without a sender, which is right here.
        ending.wait_for(Option::is_some).await.ok().and_then(|status| *status).unwrap_or(0)
    }
}

/// Ends the process when its life is over, whatever it does.
pub(super) fn limit_life(life_ms: u64, witness: &Witness) {
    let witness = witness.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(life_ms));
        witness.saw("life-over", json!({ "ms": life_ms }));
        std::process::exit(71)
    });
}

/// `plugin.GRPCController/Shutdown`.
pub(super) async fn call(call: &mut Call) -> Result<(), End> {
    call.request::<Empty>().await?;
    let plugin = call.plugin.clone();
    let how = plugin.script.shutdown.call;
    plugin.witness.saw("shutdown", json!({ "how": how }));
    match how {
        ShutdownCall::Ends => plugin.ending.end(0),
        ShutdownCall::AnswersThenEnds => {
            tokio::spawn(async move {
                tokio::time::sleep(READ).await;
                plugin.ending.end(0);
            });
        }
        ShutdownCall::AnswersOnly => {}
        ShutdownCall::Unimplemented => return Err(End::status("UNIMPLEMENTED", "it lives on")),
        ShutdownCall::Hangs => {
            call.incoming.cancelled().await;
            return Err(End::Gone("cancelled".to_owned()));
        }
    }
    call.send(&Empty {}).await
}

/// Ends in order. Returns the script's status unless another one was demanded.
pub(super) async fn end(plugin: &Arc<Plugin>, status: u8) -> u8 {
    let script = &plugin.script.shutdown;
    if script.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(script.delay_ms)).await;
        plugin.witness.saw("delayed", json!({ "ms": script.delay_ms }));
    }
    acts::run(plugin, &script.acts).await;
    match script.keeps_socket || plugin.script.broker.keeps_sockets {
        true => plugin.witness.saw("sockets-kept", json!({})),
        false => plugin.sockets.remove(),
    }
    if status == 0 { script.exit } else { status }
}

/// Installs the signal handlers that a plugin needs.
pub(super) fn watch_signals(plugin: &Arc<Plugin>) -> io::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let watching = plugin.clone();
    tokio::spawn(async move {
        while interrupts.recv().await.is_some() {
            watching.witness.saw("signal", json!({ "signal": "SIGINT" }));
            if watching.script.shutdown.sigint_ends {
                watching.ending.end(0);
            }
        }
    });
    // Otherwise SIGTERM has its default effect.
    if plugin.script.shutdown.ignores_sigterm {
        let mut terminations = signal(SignalKind::terminate())?;
        let watching = plugin.clone();
        tokio::spawn(async move {
            while terminations.recv().await.is_some() {
                watching.witness.saw("signal", json!({ "signal": "SIGTERM" }));
            }
        });
    }
    Ok(())
}

/// Ends the plugin when its host is gone, and when its script says so.
pub(super) fn watch(plugin: &Arc<Plugin>) {
    if plugin.script.shutdown.stdin_end_ends {
        let plugin = plugin.clone();
        std::thread::spawn(move || {
            let ended = io::stdin().lock().read_to_end(&mut Vec::new());
            plugin.witness.saw("stdin-ended", json!({ "ok": ended.is_ok() }));
            plugin.ending.end(0);
        });
    }
    if !plugin.script.shutdown.outlives_host {
        tokio::spawn(watch_host(plugin.clone()));
    }
}

/// The host counts as gone if, in two consecutive checks, there is no connection and standard
/// output has no reader.
async fn watch_host(plugin: Arc<Plugin>) {
    let mut before = false;
    loop {
        tokio::time::sleep(LOOK).await;
        let alone = plugin.connections.open() == 0 && stdout_has_no_reader();
        if alone && before {
            plugin.witness.saw("host-gone", json!({}));
            return plugin.ending.end(0);
        }
        before = alone;
    }
}

fn stdout_has_no_reader() -> bool {
    let mut ready = [PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ready, Some(&now)).is_ok() && ready[0].revents().contains(PollFlags::ERR)
}
