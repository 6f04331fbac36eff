//! What a plugin says at its very end, and who waits for it. Spec: SHD-8, SHD-10.

use std::time::{Duration, Instant};

use plugwire::host::{PluginHandle, ShutdownPhase};
use plugwire_interop::leaks::{is_alive, sockets};
use plugwire_interop::promise::kept;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{PROBE, rust};
use rustix::process::{Pid, Signal, kill_process};

use crate::lifetimes::{LIMIT, runtime};

/// A plugin behind a shell that has something to say when it is told to end.
const SAYS_GOODBYE: &str =
    r#"trap 'echo the disk is full >&2; kill -KILL $!; exit 4' TERM; "$0" & wait"#;
/// Longer than a host waits for a pipe that somebody holds open.
const BUSY: Duration = Duration::from_millis(600);

async fn start(sandbox: &Sandbox, script: &str) -> PluginHandle {
    let launch = sandbox.launch(PROBE, "/bin/sh").version(1).args(["-c", script]);
    launch.arg(rust::program("probe-plugin")).start().await.expect("a start")
}

/// Ends it while nothing of this runtime runs, and long enough for a host that does not wait for its runtime.
fn ends_meanwhile(plugin: &PluginHandle) {
    let pid = Pid::from_raw(plugin.pid().expect("a pid").cast_signed()).expect("an id");
    kill_process(pid, Signal::TERM).expect("it lives");
    let give_up = Instant::now() + LIMIT;
    while is_alive(plugin.pid().expect("a pid")) {
        assert!(Instant::now() < give_up, "it does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(BUSY);
}

/// A user's own work may hold up a runtime for longer than it takes a plugin to end.
#[tokio::test]
async fn a_busy_runtime_reads_them_late() {
    let sandbox = Sandbox::new();
    let plugin = start(&sandbox, SAYS_GOODBYE).await;
    ends_meanwhile(&plugin);
    let stop = plugin.shutdown().await.expect("it is gone");
    assert_eq!(stop.phase, ShutdownPhase::AlreadyGone);
    let exit = stop.exit.expect("it was ours");
    assert_eq!((exit.code(), exit.stderr.trim_end()), (Some(4), "the disk is full"));
    sandbox.assert_empty().await;
}

/// It cannot read them any more, and does not wait for itself. Several times, since the order in which its tasks
/// end hangs on their numbers.
#[tokio::test]
async fn a_runtime_that_ends_does_not_wait_for_them() {
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
            // On a thread of its own: this one has a runtime.
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

/// Somebody who left the process group holds the pipes: silent, or with more to say than anybody reads.
#[tokio::test]
async fn nobody_waits_for_strangers_words() {
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
            let stop = plugin.shutdown().await.expect("it ends");
            let took = began.elapsed();
            assert_eq!(stop.phase, ShutdownPhase::Asked);
            // Nobody ends it; the chatty one dies of a pipe that nobody reads.
            assert!(stranger == CHATTY || !sandbox.processes().is_empty(), "it was ours to end");
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
async fn who_is_asked_ends_in_two_seconds() {
    kept(async || {
        let sandbox = Sandbox::new();
        let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).version(1);
        let plugin = launch.exit_timeout(Duration::from_secs(2)).start().await.expect("a start");
        let stop = plugin.shutdown().await.expect("it ends");
        sandbox.assert_empty().await;
        match (stop.phase, stop.exit.as_ref().and_then(|exit| exit.code())) {
            (ShutdownPhase::Asked, Some(0)) => Ok(()),
            _ => Err(format!("{stop:?}")),
        }
    })
    .await;
}
