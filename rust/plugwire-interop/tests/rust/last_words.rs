//! What a plugin prints at its very end, and how long the host waits for it. Spec: SHD-8, SHD-10.

use std::time::{Duration, Instant};

use plugwire::host::{PluginHandle, ShutdownPhase};
use plugwire_interop::leaks::{is_alive, sockets};
use plugwire_interop::promise::kept;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{PROBE, rust};
use rustix::process::{Pid, Signal, kill_process};

use crate::lifetimes::{LIMIT, runtime};

/// A plugin behind a shell that prints a message when it is told to end.
const SAYS_GOODBYE: &str =
    r#"trap 'echo the disk is full >&2; kill -KILL $!; exit 4' TERM; "$0" & wait"#;
/// Longer than a host waits for a pipe that another process holds open.
const BUSY: Duration = Duration::from_millis(600);

async fn start(sandbox: &Sandbox, script: &str) -> PluginHandle {
    let launch = sandbox.launch(PROBE, "/bin/sh").version(1).args(["-c", script]);
    launch.arg(rust::program("probe-plugin")).start().await.expect("a start")
}

/// Ends the plugin while this runtime is blocked, for longer than a host would wait without regard
/// to its runtime.
fn ends_meanwhile(plugin: &PluginHandle) {
    let pid = Pid::from_raw(plugin.pid().expect("a pid").cast_signed()).expect("an id");
    kill_process(pid, Signal::TERM).expect("the plugin runs");
    let give_up = Instant::now() + LIMIT;
    while is_alive(plugin.pid().expect("a pid")) {
        assert!(Instant::now() < give_up, "the plugin does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(BUSY);
}

/// A user's own work may block a runtime for longer than a plugin takes to end.
#[tokio::test]
async fn a_busy_runtime_still_reads_the_last_output() {
    let sandbox = Sandbox::new();
    let plugin = start(&sandbox, SAYS_GOODBYE).await;
    ends_meanwhile(&plugin);
    let stop = plugin.shutdown().await.expect("the plugin is gone");
    assert_eq!(stop.phase, ShutdownPhase::AlreadyGone);
    let exit = stop.exit.expect("this host started the plugin");
    assert_eq!((exit.code(), exit.stderr.trim_end()), (Some(4), "the disk is full"));
    sandbox.assert_empty().await;
}

/// A runtime that shuts down can no longer read the output and must not wait for itself. Runs
/// several times, because the order in which its tasks end depends on their ids.
#[tokio::test]
async fn a_runtime_that_ends_does_not_wait_for_the_last_output() {
    kept(async || {
        let sandbox = Sandbox::new();
        let life = |others: usize| {
            let ending = runtime();
            ending.block_on(async {
                for _ in 0..others {
                    tokio::spawn(async {}).await.expect("no panic");
                }
            });
            let plugin = ending.block_on(start(&sandbox, SAYS_GOODBYE));
            ends_meanwhile(&plugin);
            let began = Instant::now();
            drop(ending);
            began.elapsed()
        };
        for others in 0..4 {
            // On a separate thread: this thread already has a runtime.
            let ended = std::thread::scope(|scope| scope.spawn(|| life(others)).join());
            let ended = ended.expect("no panic");
            assert_eq!(sockets(sandbox.folder()), Default::default(), "after {ended:?}");
            if ended > Duration::from_secs(1) {
                return Err(format!("{ended:?}"));
            }
        }
        sandbox.assert_empty().await;
        Ok(())
    })
    .await;
}

/// A process that left the process group holds the pipes open: either silent, or printing without
/// end.
#[tokio::test]
async fn processes_outside_the_group_do_not_delay_the_shutdown() {
    const SILENT: &str = "exec sleep 60";
    const CHATTY: &str = "exec yes >&2";
    for stranger in [SILENT, CHATTY] {
        kept(async || {
            let sandbox = Sandbox::new();
            let script = format!(
                r#"setsid sh -c ': >"$1/away"; {stranger}' - "$TMPDIR" &
                until [ -e "$TMPDIR/away" ]; do sleep 0.01; done; exec "$0""#
            );
            let plugin = start(&sandbox, &script).await;
            let began = Instant::now();
            let stop = plugin.shutdown().await.expect("the shutdown works");
            let took = began.elapsed();
            assert_eq!(stop.phase, ShutdownPhase::Asked);
            // The silent process keeps running; the chatty one is killed by SIGPIPE once its reader
            // is gone.
            assert!(
                stranger == CHATTY || !sandbox.processes().is_empty(),
                "the host must not end this process"
            );
            sandbox.kill_all();
            if took < Duration::from_secs(3) {
                Ok(())
            } else {
                Err(format!("{stranger}: {took:?}"))
            }
        })
        .await;
    }
}

/// Well within the default of [`plugwire::host::Launch::exit_timeout`], which is go-plugin's.
#[tokio::test]
async fn a_plugin_exits_within_two_seconds_of_shutdown() {
    kept(async || {
        let sandbox = Sandbox::new();
        let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).version(1);
        let plugin = launch.exit_timeout(Duration::from_secs(2)).start().await.expect("a start");
        let stop = plugin.shutdown().await.expect("the shutdown works");
        sandbox.assert_empty().await;
        match (stop.phase, stop.exit.as_ref().and_then(|exit| exit.code())) {
            (ShutdownPhase::Asked, Some(0)) => Ok(()),
            _ => Err(format!("{stop:?}")),
        }
    })
    .await;
}
