//! What a Rust plugin prints, on its way to a Rust host.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use plugwire::host::{Attach, Launch, PluginHandle};
use plugwire::plugin::Plugin;
use plugwire::protocol::hclog::Level;
use plugwire::protocol::reattach::Reattach;
use plugwire_interop::collected::{Log, Output};
use plugwire_interop::probe::{self, PrintRequest, pattern};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe as client;
use plugwire_interop::{PROBE, rust};
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

const KIB: u64 = 1024;
const LIMIT: Duration = Duration::from_secs(60);

async fn print(plugin: &PluginHandle, request: PrintRequest) {
    let mut client = client(plugin);
    timeout(LIMIT, client.print(request)).await.expect("in time").expect("it prints");
}

fn launch(sandbox: &Sandbox, options: &[&str]) -> Launch {
    let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).version(1);
    launch.args(options.iter().copied())
}

/// Nothing is lost, whichever runtime the handler blocks. Spec: STD-1.
#[tokio::test]
async fn a_rust_host_gets_8_mib_that_a_rust_handler_prints() {
    let (out, err) = (pattern(0, 8192 * KIB), pattern(128, 8192 * KIB));
    for options in [&["--capture-stderr"][..], &["--capture-stderr", "--multi-thread"]] {
        let sandbox = Sandbox::new();
        let (stdout, stderr) = (Output::default(), Output::default());
        let launch = launch(&sandbox, options).stdout(stdout.clone()).stderr(stderr.clone());
        let plugin = launch.start().await.expect("a start");
        let request = PrintRequest { stdout: out.clone().into(), stderr: err.clone().into() };
        print(&plugin, request).await;
        assert!(stdout.wait(LIMIT, |seen| seen.len() >= out.len()).await == out, "{options:?}");
        assert!(stderr.wait(LIMIT, |seen| seen.len() >= err.len()).await == err, "{options:?}");
        plugin.shutdown().await.expect("it ends");
        sandbox.assert_empty().await;
    }
}

/// Without it captured, standard error is the log's. Spec: STD-10.
#[tokio::test]
async fn standard_error_stays_real() {
    let (stderr, raw, log) = (Output::default(), Output::default(), Log::default());
    let sandbox = Sandbox::new();
    let launch = launch(&sandbox, &[]).stderr(stderr.clone()).raw_stderr(raw.clone());
    let plugin = launch.log_sink(log.clone()).start().await.expect("a start");
    let request = PrintRequest { stdout: Default::default(), stderr: "a word\n".into() };
    print(&plugin, request).await;
    let log = log.wait(LIMIT, |log| !log.is_empty()).await;
    assert_eq!(log[0].1.record.message, "a word");
    plugin.shutdown().await.expect("it ends");
    assert_eq!((raw.now(), stderr.now()), (b"a word\n".to_vec(), Vec::new()));
}

/// Shutdown sends what was printed before it closes. Spec: STD-9, SHD-1.
#[tokio::test]
async fn shutdown_loses_no_output() {
    let out = pattern(0, 2048 * KIB);
    for options in [&[][..], &["--multi-thread"]] {
        let sandbox = Sandbox::new();
        let stdout = Output::default();
        let launch = launch(&sandbox, options).stdout(stdout.clone());
        let plugin = launch.start().await.expect("a start");
        let request = PrintRequest { stdout: out.clone().into(), stderr: Default::default() };
        print(&plugin, request).await;
        plugin.shutdown().await.expect("it ends");
        assert!(stdout.now() == out, "{options:?}: {} of {}", stdout.now().len(), out.len());
    }
}

/// A slow reader slows the printer, and gets everything. Spec: STD-7.
#[tokio::test]
async fn a_slow_writer_at_the_host_loses_nothing() {
    let out = pattern(0, 2048 * KIB);
    let sandbox = Sandbox::new();
    let (theirs, mut ours) = tokio::io::duplex(512);
    let launch = launch(&sandbox, &["--multi-thread"]).stdout(theirs);
    let plugin = launch.start().await.expect("a start");
    let request = PrintRequest { stdout: out.clone().into(), stderr: Default::default() };
    let mut client = client(&plugin);
    let printing = tokio::spawn(async move { client.print(request).await.map(drop) });
    let mut seen = vec![0; out.len()];
    timeout(LIMIT, ours.read_exact(&mut seen)).await.expect("in time").expect("all of it");
    assert!(seen == out);
    printing.await.expect("no panic").expect("it prints");
    plugin.shutdown().await.expect("it ends");
}

struct Broken;

impl AsyncWrite for Broken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::Error::other("no paper")))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A writer that fails is the host's own trouble: the plugin goes on printing, and the other channel arrives.
#[tokio::test]
async fn a_writer_that_fails_stops_nobody() {
    let sandbox = Sandbox::new();
    let stderr = Output::default();
    let launch = launch(&sandbox, &["--capture-stderr"]).stdout(Broken).stderr(stderr.clone());
    let plugin = launch.start().await.expect("a start");
    let out = pattern(0, 1024 * KIB);
    for _ in 0..2 {
        let request = PrintRequest { stdout: out.clone().into(), stderr: "on\n".into() };
        print(&plugin, request).await;
    }
    let seen = stderr.wait(LIMIT, |seen| seen.len() >= 6).await;
    assert_eq!(seen, b"on\non\n");
    plugin.shutdown().await.expect("it ends");
}

/// The handles write to the stream without any descriptor. What they wrote before a host came is kept.
#[tokio::test]
async fn explicit_writers() {
    let plugin = Plugin::new(PROBE).version(1, |services, _| probe::services(services));
    let (mut out, mut err) = (plugin.stdout(), plugin.stderr());
    let serving = plugin.serve_in_test(1).expect("it serves");
    out.write_all(b"before the host\n").await.expect("it is kept");

    let (stdout, stderr) = (Output::default(), Output::default());
    let attach = Attach::new(serving.record().clone());
    let attach = attach.stdout(stdout.clone()).stderr(stderr.clone());
    let host = attach.connect().await.expect("a connection");
    out.write_all(b"after it\n").await.expect("it is sent");
    err.write_all(b"to the other\n").await.expect("it is sent");
    let seen = stdout.wait(LIMIT, |seen| seen.ends_with(b"after it\n")).await;
    assert_eq!(seen, b"before the host\nafter it\n");
    assert_eq!(stderr.wait(LIMIT, |seen| !seen.is_empty()).await, b"to the other\n");
    host.shutdown().await.expect("it is let go");
}

/// Makes one call as a host without stdio does (go-plugin before 1.1), on HTTP/2 by hand.
async fn print_without_stdio(socket: &Path, request: &PrintRequest) {
    let io = UnixStream::connect(socket).await.expect("it listens");
    let (mut requests, connection) = h2::client::handshake(io).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let call = Request::post("http://unused/plugwire.probe.v1.Probe/Print")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let call = call.body(()).expect("a request");
    let (response, mut body) = requests.send_request(call, false).expect("a stream");
    let message = request.encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    body.send_data(frame.into(), true).expect("it is sent");
    let mut answer = response.await.expect("an answer").into_body();
    while let Some(data) = answer.data().await {
        let length = data.expect("data").len();
        answer.flow_control().release_capacity(length).expect("it is ours");
    }
    let trailers = answer.trailers().await.expect("an end").expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    connection.abort();
}

/// Nobody reads: the printer is not stopped, the newest 256 KiB are kept, and the log says how much was dropped.
/// Spec: STD-6.
#[tokio::test]
async fn without_a_host_that_reads_the_newest_output_is_kept() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(rust::program("probe-plugin"));
    command.env("PLUGWIRE_PROBE", "plugwire").env("PLUGIN_PROTOCOL_VERSIONS", "1");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = timeout(LIMIT, lines.next_line()).await.expect("a line").expect("text");
    let line = line.expect("one");
    let address = line.split('|').nth(3).expect("an address").to_owned();

    // Each place in it is recognisable, unlike in a pattern.
    let out: Vec<u8> = (0..250_000_u32).flat_map(u32::to_be_bytes).collect();
    let request = PrintRequest { stdout: out.clone().into(), stderr: Default::default() };
    let printing = print_without_stdio(Path::new(&address), &request);
    timeout(LIMIT, printing).await.expect("nobody is waited for");

    let stdout = Output::default();
    let record = Reattach {
        protocol_version: 1,
        pid: child.id().expect("it lives"),
        test: false,
        network: plugwire::protocol::handshake::Network::Unix,
        address,
    };
    let attach = Attach::new(record).stdout(stdout.clone());
    let plugin = attach.connect().await.expect("a connection");
    let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
    let line = timeout(LIMIT, log.next_line()).await.expect("a line").expect("text").expect("one");
    let entry = plugwire::protocol::hclog::StderrParser::new().line(line.as_bytes());
    assert_eq!(entry.record.level, Level::Warn, "{line}");
    let dropped = entry.record.message.split(' ').next().and_then(|word| word.parse().ok());
    let dropped: usize = dropped.unwrap_or_else(|| panic!("no number: {line}"));

    // What was still in the pipe when the host came is not dropped any more.
    let (kept, pipe) = (256 * KIB as usize, 96 * KIB as usize);
    let rest = out.len() - dropped;
    assert!((kept..=kept + pipe).contains(&rest), "{rest} bytes are left");
    let seen = stdout.wait(LIMIT, |seen| seen.len() >= rest).await;
    assert!(seen == out[dropped..], "{} of {rest} bytes", seen.len());
    plugin.shutdown().await.expect("it ends");
    assert!(timeout(LIMIT, child.wait()).await.expect("in time").expect("it ended").success());
}
