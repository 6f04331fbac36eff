//! Starting and ending plugins leaves nothing in the host. The test counts what this process holds,
//! so it must be the only test in it. Runs ten times as long with `PLUGWIRE_SOAK=1`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plugwire::host::Launch;
use plugwire_interop::broker_probe::resident_bytes;
use plugwire_interop::leaks::{Holdings, eventually};
use plugwire_interop::probe::Payload;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
use plugwire_interop::{PROBE, go, rust, soaks, without_go};
use tokio::time::timeout;

/// Rounds before the first count, so that the runtime has its threads and the allocator its arenas.
const WARM_UP: usize = 12;
/// The limit for what is still being cleaned up: tokio keeps an idle thread for blocking work for
/// 10 s.
const SETTLED: Duration = Duration::from_secs(30);
/// The memory an allocator may keep.
const MEMORY: u64 = 8 << 20;

fn launch(sandbox: &Sandbox, program: &Path, mutual_tls: bool) -> Launch {
    let launch = sandbox.launch(PROBE, program).version(1);
    if mutual_tls { launch } else { launch.dangerous().plaintext() }
}

async fn start_call_and_stop(sandbox: &Sandbox, program: &Path, round: usize) {
    let plugin = launch(sandbox, program, round.is_multiple_of(2)).start().await.expect("a start");
    let payload = Payload { data: "round".into() };
    let reply = probe(&plugin).echo(payload).await.expect("a reply").into_inner();
    assert_eq!(reply.data, "round");
    if round.is_multiple_of(5) {
        // Drop it without a shutdown: the plugin ends in the background.
        drop(plugin);
    } else {
        plugin.shutdown().await.expect("the shutdown works");
    }
}

/// Drops a start at a random point between the creation of the process and the first call.
async fn give_up_a_start(sandbox: &Sandbox, program: &Path, round: usize) {
    let patience = Duration::from_micros(250) * (round % 40) as u32;
    let started = timeout(patience, launch(sandbox, program, true).start()).await;
    if let Ok(plugin) = started {
        plugin.expect("a start").shutdown().await.expect("the shutdown works");
    }
}

async fn rounds(sandbox: &Sandbox, programs: &[PathBuf], count: usize) {
    for round in 0..count {
        let program = &programs[round / 2 % programs.len()];
        start_call_and_stop(sandbox, program, round).await;
        if round % 4 == 0 {
            give_up_a_start(sandbox, program, round).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_lives_of_plugins_leave_nothing() {
    let mut programs = vec![rust::program("probe-plugin")];
    if !without_go() {
        programs.push(go::peer("1.8.0-newest", "probe-plugin"));
    }
    let sandbox = Sandbox::new();
    rounds(&sandbox, &programs, WARM_UP).await;
    sandbox.assert_empty().await;
    let (before, memory) = (Holdings::at_rest(SETTLED).await, resident_bytes());

    let count = if soaks() { 2000 } else { 200 };
    let begun = Instant::now();
    rounds(&sandbox, &programs, count).await;
    let took = begun.elapsed();
    sandbox.assert_empty().await;
    let flat = eventually(SETTLED, || Holdings::count().fits_in(&before)).await;
    let (after, memory_after) = (Holdings::count(), resident_bytes());
    println!(
        "{count} lives in {took:?}\n  before {before:?}, {memory} bytes\n  after  {after:?}, {memory_after} bytes"
    );
    assert!(flat, "before {before:?}\nafter  {after:?}");
    assert!(memory_after < memory + MEMORY, "{memory} {memory_after}");
}
