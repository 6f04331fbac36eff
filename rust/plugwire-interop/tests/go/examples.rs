//! Runs go-plugin's own examples, which ship in its module, in every role they have.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::assert::OutputAssertExt;
use plugwire::host::{Launch, StartError};
use plugwire::protocol::handshake::HandshakeError;
use plugwire_interop::generated::proto::kv_client::KvClient;
use plugwire_interop::generated::proto::streamer_service_client::StreamerServiceClient;
use plugwire_interop::generated::proto::{GetRequest, PutRequest, configure, read, write};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{BASIC, go, rust};
use predicates::prelude::*;
use tonic::Code;

/// Example hosts exist in every release, including those for which our own peers are plugins only.
const ALL_RELEASES: [&str; 6] = ["1.0.1", "1.4.8", "1.6.3", "1.7.0", "1.8.0", "1.8.0-newest"];

/// What a host of `examples/grpc` prints and stores: after a put, after a get, and after a get of a
/// missing key.
#[derive(Debug, PartialEq)]
struct Said {
    outputs: Vec<(Option<i32>, String)>,
    stored: String,
}

async fn kv(host: &Path, plugin: &Path) -> Said {
    let sandbox = Sandbox::new();
    let mut outputs = Vec::new();
    for words in [&["put", "hello", "world"][..], &["get", "hello"], &["get", "nothing"]] {
        let mut command = sandbox.command(host);
        command.args(words).current_dir(sandbox.folder());
        command.env("KV_PROTO", "grpc").env("KV_PLUGIN", rust::in_shell(plugin));
        let Output { status, stdout, .. } = sandbox.run(&mut command).await;
        let said = String::from_utf8(stdout).expect("text");
        // Before 1.7.0, the host's errors began with a capital letter.
        outputs.push((status.code(), said.replace("Error: ", "error: ")));
    }
    let stored =
        std::fs::read_to_string(sandbox.folder().join("kv_hello")).expect("the value is stored");
    Said { outputs, stored }
}

/// The example's own host and plugin are the reference; ours replace either or both.
#[tokio::test]
async fn grpc() {
    let (rust_host, rust_plugin) = (rust::example("kv-host"), rust::example("kv-plugin"));
    for release in ALL_RELEASES {
        let go_host = go::example(release, "grpc-host");
        let go_plugin = go::example(release, "grpc-plugin");
        let go_go = kv(&go_host, &go_plugin).await;
        let [(_, put), (_, got), (failed, missing)] = &go_go.outputs[..] else { unreachable!() };
        assert_eq!((put.as_str(), *got == format!("{}\n", go_go.stored)), ("", true));
        assert!(*failed == Some(1) && missing.contains("no such file"), "{release}: {missing}");

        let rust_go = kv(&rust_host, &go_plugin).await;
        assert_eq!(rust_go, go_go, "{release}: Rust host, Go plugin");

        let go_rust = kv(&go_host, &rust_plugin).await;
        assert!(go_rust.stored.starts_with("world\n\nWritten from "), "{}", go_rust.stored);
        assert_eq!(go_rust.outputs[0], (Some(0), String::new()), "{release}");
        assert_eq!(go_rust.outputs[1], (Some(0), format!("{}\n", go_rust.stored)), "{release}");
        let rust_rust = kv(&rust_host, &rust_plugin).await;
        assert_eq!(rust_rust, go_rust, "{release}: Rust host and Go host with the Rust plugin");
    }
}

/// Both hosts reject unknown arguments.
#[tokio::test]
async fn grpc_usage() {
    for host in [go::example("1.8.0", "grpc-host"), rust::example("kv-host")] {
        let sandbox = Sandbox::new();
        let mut command = sandbox.command(&host);
        command.arg("list").current_dir(sandbox.folder());
        let plugin = rust::in_shell(&rust::example("kv-plugin"));
        command.env("KV_PROTO", "grpc").env("KV_PLUGIN", plugin);
        let usage = predicate::str::starts_with("error: ");
        sandbox.run(&mut command).await.assert().code(1).stdout(usage);
    }
}

/// Writes a script that runs our plugin, for a host that finds its plugin by a path.
fn stand_in(sandbox: &Sandbox, path: &str, argument: &str) -> PathBuf {
    sandbox.script(path, &rust::program("example-plugin"), argument)
}

fn link(sandbox: &Sandbox, program: &Path, path: &str) {
    let path = sandbox.folder().join(path);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    std::os::unix::fs::symlink(program, path).expect("a link");
}

/// Runs the host of `examples/negotiated`, which offers version 3 with gRPC and version 2 with
/// net/rpc.
async fn negotiate(sandbox: &Sandbox, release: &str, protocol: &str, words: &[&str]) -> Output {
    let mut command = sandbox.command(go::example(release, "negotiated-host"));
    command.args(words).current_dir(sandbox.folder()).env("KV_PROTO", protocol);
    sandbox.run(&mut command).await
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[tokio::test]
async fn negotiated_go_host() {
    for release in ALL_RELEASES {
        let go_go = Sandbox::new();
        link(&go_go, &go::example(release, "negotiated-plugin"), "kv-plugin");
        let go_rust = Sandbox::new();
        stand_in(&go_rust, "kv-plugin", "negotiated");
        let mut got = Vec::new();
        for sandbox in [&go_go, &go_rust] {
            let put = negotiate(sandbox, release, "grpc", &["put", "hello", "world"]).await;
            assert_eq!(stdout(&put), "", "{release}");
            got.push(stdout(&negotiate(sandbox, release, "grpc", &["get", "hello"]).await));
        }
        let [go_go_got, go_rust_got] = &got[..] else { unreachable!() };
        assert_eq!(go_rust_got, &go_go_got.replace("plugin version", "version"), "{release}");

        // Version 2 uses net/rpc in this host, which our plugin does not speak: the plugin says so,
        // and both sides exit.
        let refused = negotiate(&go_rust, release, "netrpc", &["get", "hello"]).await;
        let names_grpc = predicate::str::contains("GRPC").or(predicate::str::contains("gRPC"));
        refused.assert().append_context("release", release).code(1).stdout(names_grpc);
    }
}

async fn offer(sandbox: &Sandbox, program: &Path, versions: &[u32]) -> Result<String, StartError> {
    let mut launch: Launch = sandbox.launch(BASIC, program).current_dir(sandbox.folder());
    for version in versions {
        launch = launch.version(*version);
    }
    let plugin = launch.dangerous().plaintext().start().await?;
    assert!(versions.contains(&plugin.version()), "{plugin:?}");
    let mut kv = KvClient::new(plugin.channel());
    let request = PutRequest { key: "hello".to_owned(), value: "world".into() };
    kv.put(request).await.expect("the value is stored");
    let value = kv.get(GetRequest { key: "hello".to_owned() }).await.expect("the value exists");
    plugin.shutdown().await.expect("the shutdown works");
    Ok(String::from_utf8(value.into_inner().value.to_vec()).expect("text"))
}

/// The plugin uses the highest common version, with the services of that version.
#[tokio::test]
async fn negotiated_rust_host() {
    let by =
        |version| format!("world\n\nWritten from version {version}\nRead by version {version}\n");
    let sandbox = Sandbox::new();
    for release in ALL_RELEASES {
        let plugin = go::example(release, "negotiated-plugin");
        for versions in [&[3][..], &[2, 3], &[1, 3, 9]] {
            let got = offer(&sandbox, &plugin, versions).await.expect("a start");
            assert_eq!(got.replace("plugin version", "version"), by(3), "{release} {versions:?}");
        }
        match offer(&sandbox, &plugin, &[2]).await {
            Err(StartError::Handshake { cause: HandshakeError::NetRpc { .. }, .. }) => {}
            other => panic!("{release}: version 2 is net/rpc, and the host says {other:?}"),
        }
    }
    let plugin = stand_in(&sandbox, "kv-plugin", "negotiated");
    for (versions, negotiated) in [(&[2][..], 2), (&[3], 3), (&[2, 3], 3), (&[1, 2], 2)] {
        let got = offer(&sandbox, &plugin, versions).await.expect("a start");
        assert_eq!(got, by(negotiated), "{versions:?}");
    }
    // Without a common version, the plugin answers with its lowest, and the host's error names both
    // sides' versions.
    match offer(&sandbox, &plugin, &[1, 9]).await {
        Err(StartError::Handshake { cause, .. }) => {
            assert_eq!(cause.code(), "start.app-version");
            let words = cause.to_string();
            assert!(["2", "1", "9"].iter().all(|version| words.contains(version)), "{words}");
        }
        other => panic!("{other:?}"),
    }
    sandbox.assert_empty().await;
}

/// New in 1.8.0. The example's own plugin ends the client stream without a response, which the
/// newest grpc-go rejects.
#[tokio::test]
async fn streaming_go_host() {
    for release in ["1.8.0", "1.8.0-newest"] {
        let sandbox = Sandbox::new();
        stand_in(&sandbox, "plugin/streamer", "streaming");
        let mut command = sandbox.command(go::example(release, "streaming-host"));
        let output = sandbox.run(command.arg("file").current_dir(sandbox.folder())).await;
        assert!(output.status.success(), "{release}: {output:?}");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(log.contains("received 26 bytes"), "{release}: {log}");
        let written = std::fs::read_to_string(sandbox.folder().join("file")).expect("a file");
        assert_eq!(written.len(), 26, "{written}");
        sandbox.assert_empty().await;
    }
}

#[tokio::test]
async fn streaming_rust_host() {
    let ours = Sandbox::new();
    let plugins = [
        go::example("1.8.0", "streaming-plugin"),
        go::example("1.8.0-newest", "streaming-plugin"),
        stand_in(&ours, "streamer", "streaming"),
    ];
    for program in plugins {
        let sandbox = Sandbox::new();
        let launch = sandbox.launch(BASIC, &program).version(1).dangerous().plaintext();
        let plugin = launch.start().await.expect("a start");
        let mut streamer = StreamerServiceClient::new(plugin.channel());
        let file = sandbox.folder().join("file");
        let path = file.display().to_string();
        let configured = streamer.configure(configure::Request { path, chunk_size: 10 }).await;
        configured.expect("the plugin is configured");

        let pieces = ["twenty-five ", "bytes of ", "text"];
        let pieces = pieces.map(|piece| write::RequestChunk { bytes_to_write: piece.into() });
        match streamer.write(tokio_stream::iter(pieces)).await {
            Ok(_) => assert_eq!(program, ours.folder().join("streamer")),
            // The Go plugin's response never comes. gRPC requires one, so this is an error even
            // though the status is OK.
            Err(status) => {
                assert_eq!(status.code(), Code::Internal, "{status:?}");
                assert!(status.message().contains("Missing response"), "{status:?}");
            }
        }
        assert_eq!(std::fs::read(&file).expect("a file"), b"twenty-five bytes of text");

        let mut read = streamer.read(read::Request {}).await.expect("a stream").into_inner();
        let mut sizes = Vec::new();
        while let Some(piece) = read.message().await.expect("a piece") {
            sizes.push(piece.read_bytes.len());
        }
        assert_eq!(sizes, [10, 10, 5]);
        plugin.shutdown().await.expect("the shutdown works");
        sandbox.assert_empty().await;
    }
}

/// Our host does not speak the net/rpc half of the examples, and its error says so plainly.
#[tokio::test]
async fn net_rpc_plugins_are_named_as_such() {
    for (release, binary) in [("1.8.0", "grpc-plugin-netrpc"), ("1.8.0", "basic-plugin")] {
        let sandbox = Sandbox::new();
        let launch = sandbox.launch(BASIC, go::example(release, binary)).version(1);
        match launch.dangerous().plaintext().start().await {
            Err(StartError::Handshake { cause: HandshakeError::NetRpc { .. }, .. }) => {}
            other => panic!("{binary}: {other:?}"),
        }
        sandbox.assert_empty().await;
    }
}
