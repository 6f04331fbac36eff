//! A reader that stops bounds the memory of both sides. The test looks at the memory of this
//! process, so it must be the only test in it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plugwire::host::PluginHandle;
use plugwire_interop::broker_probe::resident_bytes;
use plugwire_interop::leaks::eventually;
use plugwire_interop::probe::{DownloadRequest, Payload, pattern};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
use plugwire_interop::{PROBE, go, rust, without_go};

/// The limit for what is buffered between writer and reader on either side: windows of 4 MiB,
/// buffers, and the allocator's overhead. Without flow control it would be the 60 GiB offered.
const BOUND: u64 = 32 << 20;
/// The limit for messages of one byte, whose bookkeeping is larger than the messages.
const SMALL_BOUND: u64 = 192 << 20;
/// More one-byte messages than a window takes.
const SMALL_OFFERED: u64 = 800_000;
const OFFERED: u64 = 1_000_000;
const SIZE: u64 = 64 * 1024;
const LIMIT: Duration = Duration::from_secs(60);

/// Returns a process's memory in bytes and the processor ticks it has used.
fn usage(pid: u32) -> (u64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let number = |at: usize| fields[at].parse::<u64>().expect("a number");
    // Indexes count from the state, which is field 3: utime, stime, and the resident pages.
    (number(22) * 4096, number(12) + number(13))
}

/// Waits until the plugin is idle; the host is idle then too.
async fn stalled(plugin: &PluginHandle) {
    let (mut last, mut same) = (0, 0);
    let idle = eventually(LIMIT, || {
        // The poll interval is 2 ms; the system counts processor time in hundredths of a second.
        let (_, now) = usage(plugin.pid().expect("a pid"));
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same > 100
    });
    assert!(idle.await, "the plugin never becomes idle");
}

fn assert_bounded(plugin: &PluginHandle, before: (u64, u64), case: &str) {
    let (host, other) = (resident_bytes(), usage(plugin.pid().expect("a pid")).0);
    println!("{case}: host {before:?} -> {host}, plugin -> {other}");
    assert!(host < before.0 + BOUND, "{case}: the host grew from {} to {host}", before.0);
    assert!(other < before.1 + BOUND, "{case}: the plugin grew from {} to {other}", before.1);
}

/// The plugin sends; the host reads one message, pauses, and then reads the rest.
async fn download_unread(plugin: &PluginHandle, case: &str) {
    let before = (resident_bytes(), usage(plugin.pid().expect("a pid")).0);
    let request = DownloadRequest { count: OFFERED, size: SIZE };
    let mut download = probe(plugin).download(request).await.expect("a stream").into_inner();
    download.message().await.expect("no failure").expect("a first message");
    stalled(plugin).await;
    assert_bounded(plugin, before, case);
    for n in 1..500 {
        let payload = download.message().await.expect("no failure").expect("a message");
        assert!(payload.data == pattern(n, SIZE), "{case}: message {n}");
    }
    drop(download);
    plugin.ping().await.expect("the connection works");
}

/// The host sends as much as it can and reads no answer: a handler that cannot send does not read
/// either.
async fn upload_unread(plugin: &PluginHandle, case: &str) {
    let before = (resident_bytes(), usage(plugin.pid().expect("a pid")).0);
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    // Every message has its own buffer, so that buffered messages show in the host's memory.
    let messages = tokio_stream::iter((0..OFFERED).map(move |n| {
        counter.fetch_add(1, Ordering::Relaxed);
        Payload { data: pattern(n, SIZE).into() }
    }));
    let mut chat = probe(plugin).chat(messages).await.expect("a stream").into_inner();
    stalled(plugin).await;
    assert_bounded(plugin, before, case);
    let waiting = sent.load(Ordering::Relaxed) * SIZE;
    assert!(waiting < 2 * BOUND, "{case}: {waiting} bytes were taken from the caller");
    for n in 0..500 {
        let payload = chat.message().await.expect("no failure").expect("a message");
        assert!(payload.data == pattern(n, SIZE), "{case}: message {n}");
    }
    assert!(sent.load(Ordering::Relaxed) * SIZE > waiting, "{case}: the upload continues");
    drop(chat);
    plugin.ping().await.expect("the connection works");
}

/// Each message of a Go plugin is an HTTP/2 frame of its own, and each buffered frame costs some
/// 250 bytes besides its few bytes of data. The buffered data is still bounded by the window, no
/// message is lost, and the connection is not closed. Spec: GRPC-11.
async fn small_messages_unread(plugin: &PluginHandle, case: &str) {
    let before = resident_bytes();
    let request = DownloadRequest { count: SMALL_OFFERED, size: 1 };
    let mut download = probe(plugin).download(request).await.expect("a stream").into_inner();
    download.message().await.expect("no failure").expect("a first message");
    stalled(plugin).await;
    let host = resident_bytes();
    println!("{case}: host {before} -> {host}");
    assert!(host < before + SMALL_BOUND, "{case}: the host grew from {before} to {host}");
    for n in 1..SMALL_OFFERED {
        let payload = download.message().await.expect("no failure").expect("a message");
        assert!(payload.data == [n as u8][..], "{case}: message {n}");
    }
    assert_eq!(download.message().await.expect("no failure"), None, "{case}");
}

async fn with_readers_that_stop(program: &Path, mutual_tls: bool) {
    let sandbox = Sandbox::new();
    let mut launch = sandbox.launch(PROBE, program).version(1);
    if !mutual_tls {
        launch = launch.dangerous().plaintext();
    }
    let plugin = launch.start().await.expect("a start");
    let case = format!("{}, mutual TLS {mutual_tls}", program.display());
    download_unread(&plugin, &format!("{case}, down")).await;
    upload_unread(&plugin, &format!("{case}, both ways")).await;
    if !mutual_tls {
        small_messages_unread(&plugin, &format!("{case}, small messages")).await;
    }
    plugin.shutdown().await.expect("the shutdown works");
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn a_reader_that_stops_bounds_the_memory_of_both_sides() {
    for mutual_tls in [false, true] {
        with_readers_that_stop(&rust::program("probe-plugin"), mutual_tls).await;
    }
    if !without_go() {
        with_readers_that_stop(&go::peer("1.4.8", "probe-plugin"), false).await;
        with_readers_that_stop(&go::peer("1.8.0-newest", "probe-plugin"), true).await;
    }
}
