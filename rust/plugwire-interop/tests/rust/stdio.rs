//! The output of a Rust plugin on its way to a Rust host.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use plugwire::host::{Attach, Launch, PluginHandle};
use plugwire::plugin::Plugin;
use plugwire::protocol::handshake::Network;
use plugwire::protocol::hclog::Level;
use plugwire::protocol::reattach::Reattach;
use plugwire_interop::collected::{Log, Output};
use plugwire_interop::probe::{self, PrintRequest, pattern};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe as client;
use plugwire_interop::{PROBE, rust};
use prost::Message;
use prost::bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::task::AbortHandle;
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

/// No output is lost, whichever runtime the handler blocks. Spec: STD-1.
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

/// Without capture, standard error goes to the log. Spec: STD-10.
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

/// Shutdown sends what was printed before it closes the stream. Spec: STD-9, SHD-1.
#[tokio::test]
async fn shutdown_loses_no_output() {
    // More than the plugin's pipe and buffers hold, but little enough to send in the time for the
    // shutdown.
    let out = pattern(0, 512 * KIB);
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

/// A slow reader slows the printer down and receives everything. Spec: STD-7.
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

/// A failing writer affects only the host: the plugin goes on printing, and the other channel
/// arrives.
#[tokio::test]
async fn a_writer_that_fails_does_not_stop_the_plugin() {
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

/// The handles write to the stream without any descriptor. Output from before a host connected is
/// kept.
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

/// Raw HTTP/2, for what a Rust host would not do.
struct ByHand {
    requests: h2::client::SendRequest<Bytes>,
    connection: AbortHandle,
}

impl ByHand {
    async fn connect(socket: &Path) -> Self {
        let io = UnixStream::connect(socket).await.expect("it listens");
        let (requests, connection) = h2::client::handshake(io).await.expect("HTTP/2");
        Self { requests, connection: tokio::spawn(async { drop(connection.await) }).abort_handle() }
    }

    /// Sends a call without waiting for anything.
    fn begin(&mut self, method: &str, message: &impl Message) -> h2::client::ResponseFuture {
        let call = Request::post(format!("http://unused/{method}"));
        let call = call.header("content-type", "application/grpc").header("te", "trailers");
        let call = call.body(()).expect("a request");
        let (response, mut body) = self.requests.send_request(call, false).expect("a stream");
        let message = message.encode_to_vec();
        let mut frame = vec![0];
        frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
        frame.extend_from_slice(&message);
        body.send_data(frame.into(), true).expect("it is sent");
        response
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Reads a response to its successful end, and returns its messages without their gRPC frames.
async fn messages(response: h2::client::ResponseFuture) -> Vec<Bytes> {
    let mut body = response.await.expect("an answer").into_body();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("data");
        body.flow_control().release_capacity(data.len()).expect("it is ours");
        all.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.expect("an end").expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    let (mut all, mut messages) = (Bytes::from(all), Vec::new());
    while !all.is_empty() {
        let length = u32::from_be_bytes(all.split_to(5)[1..].try_into().expect("four")) as usize;
        messages.push(all.split_to(length));
    }
    messages
}

/// Starts the probe plugin without a host, and returns its socket.
async fn run_by_hand(sandbox: &Sandbox) -> (Child, PathBuf) {
    let mut command = sandbox.command(rust::program("probe-plugin"));
    command.env("PLUGWIRE_PROBE", "plugwire").env("PLUGIN_PROTOCOL_VERSIONS", "1");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = timeout(LIMIT, lines.next_line()).await.expect("a line").expect("text");
    let line = line.expect("one");
    (child, line.split('|').nth(3).expect("an address").into())
}

const PRINT: &str = "plugwire.probe.v1.Probe/Print";

/// The plugin's half of the shutdown: the host reads nothing until it has sent `Shutdown`. Spec:
/// STD-9, SHD-1.
#[tokio::test]
async fn a_plugin_sends_all_that_was_printed_before_it_ends() {
    #[derive(Clone, PartialEq, Message)]
    struct StdioData {
        #[prost(int32, tag = "1")]
        channel: i32,
        #[prost(bytes = "bytes", tag = "2")]
        data: Bytes,
    }

    let sandbox = Sandbox::new();
    let (mut child, socket) = run_by_hand(&sandbox).await;
    let mut host = ByHand::connect(&socket).await;
    let stdio = host.begin("plugin.GRPCStdio/StreamStdio", &());
    // More than the plugin buffers, so that the end is still in the pipe: the host's window takes
    // 64 KiB.
    let out: Vec<u8> = (0..88_000_u32).flat_map(u32::to_be_bytes).collect();
    let request = PrintRequest { stdout: out.clone().into(), stderr: Default::default() };
    let print = host.begin(PRINT, &request);
    timeout(LIMIT, messages(print)).await.expect("the print call is not blocked");
    let shutdown = host.begin("plugin.GRPCController/Shutdown", &());
    let printed = timeout(LIMIT, messages(stdio)).await.expect("the output arrives in time");
    let printed: Vec<u8> = printed
        .into_iter()
        .flat_map(|message| StdioData::decode(message).expect("stdio data").data)
        .collect();
    assert!(printed == out, "{} of {} bytes", printed.len(), out.len());
    timeout(LIMIT, messages(shutdown)).await.expect("an answer");
    drop(host);
    assert!(
        timeout(LIMIT, child.wait()).await.expect("in time").expect("the plugin exited").success()
    );
    sandbox.assert_empty().await;
}

/// Without a reader, the printer is not blocked, the newest 256 KiB are kept, and the log states
/// how much was dropped. Spec: STD-6.
#[tokio::test]
async fn without_a_host_that_reads_the_newest_output_is_kept() {
    let sandbox = Sandbox::new();
    let (mut child, socket) = run_by_hand(&sandbox).await;
    // Every position is recognisable, unlike in a pattern.
    let out: Vec<u8> = (0..250_000_u32).flat_map(u32::to_be_bytes).collect();
    let request = PrintRequest { stdout: out.clone().into(), stderr: Default::default() };
    // Like a host without stdio: go-plugin before 1.1.
    let mut host = ByHand::connect(&socket).await;
    let print = host.begin(PRINT, &request);
    timeout(LIMIT, messages(print)).await.expect("the print call does not wait for a reader");
    drop(host);

    let stdout = Output::default();
    let record = Reattach::new(1, Network::Unix, socket.as_path())
        .with_pid(child.id().expect("the plugin runs"));
    let attach = Attach::new(record).stdout(stdout.clone());
    let plugin = attach.connect().await.expect("a connection");
    let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
    let line = timeout(LIMIT, log.next_line()).await.expect("a line").expect("text").expect("one");
    let entry = plugwire::protocol::hclog::StderrParser::new().line(line.as_bytes());
    assert_eq!(entry.record.level, Level::Warn, "{line}");
    let dropped = entry.record.message.split(' ').next().and_then(|word| word.parse().ok());
    let dropped: usize = dropped.unwrap_or_else(|| panic!("no number: {line}"));

    // Output that was still in the pipe when the host connected is no longer dropped.
    let (kept, pipe) = (256 * KIB as usize, 96 * KIB as usize);
    let rest = out.len() - dropped;
    assert!((kept..=kept + pipe).contains(&rest), "{rest} bytes are left");
    let seen = stdout.wait(LIMIT, |seen| seen.len() >= rest).await;
    assert!(seen == out[dropped..], "{} of {rest} bytes", seen.len());
    plugin.shutdown().await.expect("it ends");
    assert!(
        timeout(LIMIT, child.wait()).await.expect("in time").expect("the plugin exited").success()
    );
}
