//! A peer is killed in the middle of many brokered streams: each ends within a second and reports
//! it. Spec: BRK-14.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use plugwire::host::PluginGone;
use plugwire_interop::broker_probe::unix_ms;
use plugwire_interop::brokered::{Brokered, MODES, Mode};
use plugwire_interop::leaks::eventually;
use plugwire_interop::probe::HangRequest;
use plugwire_interop::promise::kept;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{PROBE, go, rust};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tonic::Code;

const STREAMS: usize = 64;
const AT_MOST: Duration = Duration::from_secs(1);

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, Signal::KILL).expect("the process runs");
}

async fn kill_the_plugin(program: &Path, mode: Mode) -> Result<(), String> {
    let case = format!("{} {mode:?}", program.display());
    let sandbox = Sandbox::new();
    let pair = Brokered::start(sandbox.launch(PROBE, program), mode).await;
    let mut streams = Vec::new();
    for n in 0..STREAMS {
        let mut probe = pair.dial(pair.offer(Duration::ZERO).await).await.expect("a connection");
        let stream = probe.hang_stream(HangRequest { id: n.to_string() }).await;
        let mut stream = stream.expect("a stream").into_inner();
        stream.message().await.expect("no failure").expect("a first message");
        streams.push(stream);
    }
    let began = Instant::now();
    kill(pair.plugin.pid().expect("a pid"));
    let ends = join_all(streams.iter_mut().map(|stream| async {
        let end = tokio::time::timeout(Duration::from_secs(30), stream.message()).await;
        (end.expect("the stream ends").expect_err("the stream fails"), began.elapsed())
    }));
    let mut slowest = Duration::ZERO;
    for (status, took) in ends.await {
        slowest = slowest.max(took);
        assert_eq!(status.code(), Code::Unavailable, "{case}: {status:?}");
        let source = std::error::Error::source(&status).expect("a source");
        let gone = source.downcast_ref::<PluginGone>().expect("the plugin is gone");
        assert_eq!(gone.exit.signal(), Some(9), "{case}: {gone:?}");
    }
    // Later calls report it at once.
    let began = Instant::now();
    let error = pair.dial(1).await.expect_err("the plugin is gone");
    assert_eq!(error.code(), "broker.peer-gone", "{case}: {error:?}");
    slowest = slowest.max(began.elapsed());
    in_time(&case, slowest)
}

fn in_time(case: &str, slowest: Duration) -> Result<(), String> {
    if slowest < AT_MOST { Ok(()) } else { Err(format!("{case}: {slowest:?}")) }
}

#[tokio::test]
async fn go_plugins() {
    let (oldest, newest) =
        (go::peer("1.4.8", "probe-plugin"), go::peer("1.8.0-newest", "probe-plugin"));
    kept(async || kill_the_plugin(&oldest, MODES[0]).await).await;
    for mode in MODES {
        kept(async || kill_the_plugin(&newest, mode).await).await;
    }
}

#[tokio::test]
async fn rust_plugins() {
    for mode in MODES {
        kept(async || kill_the_plugin(&rust::program("probe-plugin"), mode).await).await;
    }
}

/// Reads the lines that the plugin wrote.
fn ends(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

async fn kill_the_host(release: &str, mode: Mode) -> Result<(), String> {
    let case = format!("{release} {mode:?}");
    let sandbox = Sandbox::new();
    let file = sandbox.folder().join("ends");
    let mut host = sandbox.command(go::peer(release, "probe-host"));
    host.args(mode.flags(&["broker-hold", "--timeout", "90s", "--count", &STREAMS.to_string()]));
    host.arg("--how").arg(&file).arg("--").arg(rust::program("probe-plugin"));
    let mut host = host.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a host");
    let mut words = BufReader::new(host.stderr.take().expect("a pipe")).lines();
    let held = tokio::time::timeout(Duration::from_secs(60), async {
        while let Ok(Some(line)) = words.next_line().await {
            if line.contains("all held") {
                return true;
            }
        }
        false
    });
    assert!(held.await.expect("in time"), "{case}: the host exited too early");
    assert_eq!(ends(&file), Vec::<Value>::new(), "{case}: a stream ended too early");

    let killed = unix_ms();
    kill(host.id().expect("the host runs"));
    host.wait().await.expect("the host exited");
    eventually(Duration::from_secs(10), || ends(&file).len() == STREAMS).await;
    let ends = ends(&file);
    assert_eq!(ends.len(), STREAMS, "{case}: {ends:?}");
    let mut slowest = Duration::ZERO;
    for end in ends {
        let took = end["unix_ms"].as_u64().expect("a time").saturating_sub(killed);
        slowest = slowest.max(Duration::from_millis(took));
        assert_eq!(end["code"], Code::Unavailable as i32, "{case}: {end}");
        assert_eq!(end["causes"][0], "the other side is gone", "{case}: {end}");
    }
    in_time(&case, slowest)
}

#[tokio::test]
async fn go_hosts() {
    kept(async || kill_the_host("1.4.8", MODES[0]).await).await;
    for mode in MODES {
        kept(async || kill_the_host("1.8.0-newest", mode).await).await;
    }
}
