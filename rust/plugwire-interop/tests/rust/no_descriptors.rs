//! A Rust plugin that has no descriptor left for another connection.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use plugwire::host::{Attach, Confinement, ShutdownPhase};
use plugwire::protocol::hclog::Entry;
use plugwire_interop::brokered::{Brokered, Mode};
use plugwire_interop::leaks::{eventually, sockets};
use plugwire_interop::probe::Payload;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
use plugwire_interop::{PROBE, rust};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(30);
/// The plugin's descriptor limit, and a number of connections above it.
const DESCRIPTORS: usize = 48;
const CALLERS: usize = 2 * DESCRIPTORS;
/// How long the plugin is watched. The system counts processor time in hundredths of a second.
const WATCHED: Duration = Duration::from_secs(1);
const TICKS: u64 = 100;

/// Starts a plugin on plain sockets with few descriptors, and counts how often it logs that it
/// could not accept a connection.
async fn plugin(sandbox: &Sandbox) -> (Brokered, Arc<AtomicUsize>) {
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let sink = move |_: &str, entry: &Entry| {
        if entry.record.message.starts_with("a connection could not be accepted") {
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).log_sink(sink);
    let launch = launch.confine(Confinement::new().open_files(DESCRIPTORS as u64));
    let mode = Mode { multiplexed: false, mutual_tls: false };
    (Brokered::start(launch, mode).await, told)
}

/// Connects until the plugin has no descriptor left to accept a connection with, and watches it for
/// a while.
async fn exhaust(pair: &Brokered, socket: &Path) -> Vec<UnixStream> {
    let pid = pair.plugin.pid().expect("a pid");
    let connect = |_| UnixStream::connect(socket).expect("there is room to wait");
    let callers: Vec<_> = (0..CALLERS).map(connect).collect();
    let open = || fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    assert!(eventually(LIMIT, || open() == DESCRIPTORS).await, "{} are open", open());

    let (since, before) = (Instant::now(), ticks(pid));
    let mut client = probe(&pair.plugin);
    let echo = client.echo(Payload { data: "word".into() });
    timeout(LIMIT, echo).await.expect("in time").expect("existing connections are served");
    // The elapsed time itself is what is tested.
    sleep(WATCHED).await;
    let (used, passed) = (ticks(pid) - before, since.elapsed().as_secs_f64());
    assert!((used as f64) < passed * TICKS as f64 / 4.0, "{used} ticks in {passed} s: it spins");
    assert_eq!(open(), DESCRIPTORS, "descriptors became available while the plugin was watched");
    callers
}

fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields = stat.rsplit(')').next().unwrap_or_default().split(' ').skip(12);
    // Fields count from the state, which is field 3: utime and stime.
    fields.take(2).map(|field| field.parse::<u64>().expect("a number")).sum()
}

async fn ends(pair: &Brokered, sandbox: &Sandbox) {
    let stop = pair.plugin.shutdown().await.expect("the shutdown works");
    assert_eq!(stop.phase, ShutdownPhase::Asked);
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn a_plugin_without_descriptors_waits_without_spinning_and_keeps_serving() {
    let sandbox = Sandbox::new();
    let (pair, told) = plugin(&sandbox).await;
    let callers = exhaust(&pair, &PathBuf::from(pair.plugin.record().address)).await;
    // The plugin logs once for each time something else happened: the call above.
    let told = told.load(Ordering::Relaxed);
    assert!((1..10).contains(&told), "logged {told} times");
    drop(callers);
    let attached = timeout(LIMIT, Attach::new(pair.plugin.record()).connect()).await;
    drop(attached.expect("in time").expect("the plugin serves again"));
    ends(&pair, &sandbox).await;
}

#[tokio::test]
async fn a_broker_without_descriptors_waits_without_spinning_and_keeps_serving() {
    let sandbox = Sandbox::new();
    let (pair, _) = plugin(&sandbox).await;
    let folder = PathBuf::from(pair.plugin.record().address);
    let folder = folder.parent().expect("a directory");
    let before = sockets(folder);
    let id = pair.offer(Duration::ZERO).await;
    let new = || sockets(folder).difference(&before).next().cloned();
    assert!(eventually(LIMIT, || new().is_some()).await, "the broker does not listen");
    let callers = exhaust(&pair, &new().expect("the socket exists")).await;
    drop(callers);
    let reached = timeout(LIMIT, pair.host_dials(id)).await.expect("in time");
    assert_eq!(reached.expect("the broker serves again").served, id);
    ends(&pair, &sandbox).await;
}
