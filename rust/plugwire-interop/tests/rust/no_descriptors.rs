//! A Rust plugin that has few descriptors, and connections that use them up.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use plugwire::host::{Attach, Confinement, ShutdownPhase, Timeouts};
use plugwire::protocol::hclog::Entry;
use plugwire_interop::brokered::{Brokered, Mode};
use plugwire_interop::leaks::{eventually, sockets};
use plugwire_interop::probe::Payload;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
use plugwire_interop::{PROBE, rust};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(30);
/// Limits for the plugin's descriptors, and a number of connections above them.
const FEW: u64 = 48;
const VERY_FEW: u64 = 28;
const CALLERS: usize = 96;
/// How long the plugin is watched. The system counts processor time in hundredths of a second.
const WATCHED: Duration = Duration::from_secs(1);
const TICKS: u64 = 100;

/// Starts a plugin on plain sockets with few descriptors, and counts how often it logs that it
/// could not accept a connection.
async fn plugin(sandbox: &Sandbox, descriptors: u64) -> (Brokered, Arc<AtomicUsize>) {
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let sink = move |_: &str, entry: &Entry| {
        if entry.record.message.starts_with("a connection could not be accepted") {
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).log_sink(sink);
    // A host waits until those before it have had their time.
    let launch = launch
        .timeouts(Timeouts::default().broker(LIMIT))
        .confine(Confinement::new().open_files(descriptors));
    let mode = Mode { multiplexed: false, mutual_tls: false };
    (Brokered::start(launch, mode).await, told)
}

/// Connects more often than the plugin has descriptors, says no more than that this is HTTP/2, and watches the plugin for
/// a while.
async fn crowd(pair: &Brokered, socket: &Path) -> Vec<UnixStream> {
    let pid = pair.plugin.pid().expect("a pid");
    let connect = |_| {
        let mut caller = UnixStream::connect(socket).expect("there is room to wait");
        // Fails if the plugin has closed it already.
        let _ = caller.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        caller
    };
    let callers: Vec<_> = (0..CALLERS).map(connect).collect();
    let (since, before) = (Instant::now(), ticks(pid));
    let mut client = probe(&pair.plugin);
    let echo = client.echo(Payload { data: "word".into() });
    let answer = timeout(LIMIT, echo).await.expect("in time");
    assert!(
        answer.is_ok(),
        "existing connections are served: {answer:?}, {:?}",
        pair.plugin.exit_status()
    );
    // The elapsed time itself is what is tested.
    sleep(WATCHED).await;
    let (used, passed) = (ticks(pid) - before, since.elapsed().as_secs_f64());
    assert!((used as f64) < passed * TICKS as f64 / 2.0, "{used} ticks in {passed} s: it spins");
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

/// With few descriptors, some connections must be closed for others; with very few, there is none left to accept with.
#[tokio::test]
async fn connections_without_a_call_keep_no_host_out() {
    for descriptors in [FEW, VERY_FEW] {
        let sandbox = Sandbox::new();
        let (pair, told) = plugin(&sandbox, descriptors).await;
        let callers = crowd(&pair, &PathBuf::from(pair.plugin.record().address)).await;
        let attached = timeout(LIMIT, Attach::new(pair.plugin.record()).connect()).await;
        let attached = attached.expect("in time").expect("there is room for a host");
        attached.ping().await.expect("a connection that has made a call stays");
        let told = told.load(Ordering::Relaxed);
        // At most one complaint follows each connection.
        assert!(told <= CALLERS, "logged {told} times");
        drop((callers, attached));
        ends(&pair, &sandbox).await;
    }
}

#[tokio::test]
async fn connections_without_a_call_keep_no_host_from_a_broker() {
    for descriptors in [FEW, VERY_FEW] {
        let sandbox = Sandbox::new();
        let (pair, _) = plugin(&sandbox, descriptors).await;
        let folder = PathBuf::from(pair.plugin.record().address);
        let folder = folder.parent().expect("a directory");
        let before = sockets(folder);
        let id = pair.offer(Duration::ZERO).await;
        let new = || sockets(folder).difference(&before).next().cloned();
        assert!(eventually(LIMIT, || new().is_some()).await, "the broker does not listen");
        let callers = crowd(&pair, &new().expect("the socket exists")).await;
        let reached = timeout(LIMIT, pair.host_dials(id)).await.expect("in time");
        assert_eq!(reached.expect("there is room for the host").served, id);
        drop(callers);
        ends(&pair, &sandbox).await;
    }
}
