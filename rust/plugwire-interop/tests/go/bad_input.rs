//! Handshake lines that a host must reject, printed by real plugins, and plugins that print no line
//! at all.

use std::io::ErrorKind;
use std::time::Duration;

use plugwire::host::{Evidence, Launch, StartError, TimeoutStep};
use plugwire::http2::ConnectStep;
use plugwire::protocol::handshake::{AddressError, HandshakeError};
use plugwire_interop::own_tls::Authority;
use plugwire_interop::scene::{Scene, greet};
use plugwire_interop::{PROBE, go, leaks, rust};

/// Returns why the handshake line was rejected.
fn refusal(error: StartError) -> (HandshakeError, Box<Evidence>) {
    match error {
        StartError::Handshake { cause, evidence } => (cause, evidence),
        other => panic!("the start failed differently: {other:?}"),
    }
}

/// Starts a plugin whose line is rejected.
async fn refused(how: &str) -> (HandshakeError, Box<Evidence>, Scene) {
    let scene = Scene::new();
    let error = scene.refuse(scene.misbehave(how)).await;
    let (cause, evidence) = refusal(error);
    let line = scene.witness("line")["line"].as_str().expect("text").to_owned();
    assert_eq!(evidence.stdout.trim_end(), line);
    assert_eq!(evidence.exit, None, "the plugin ran until it was killed");
    (cause, evidence, scene)
}

// Lines that cannot be accepted.

/// HS-4.
#[tokio::test]
async fn too_few_fields() {
    let (cause, ..) = refused("three-fields").await;
    assert_eq!(cause, HandshakeError::Unrecognized { line: "1|1|unix".to_owned() });
    assert_eq!(cause.code(), "start.unrecognized");
}

/// HS-10.
#[tokio::test]
async fn core_version_2() {
    let (cause, ..) = refused("core-2").await;
    assert_eq!(cause, HandshakeError::CoreVersionUnsupported { got: "2".to_owned(), supported: 1 });
    assert_eq!(cause.code(), "start.core-version");
}

/// HS-12.
#[tokio::test]
async fn an_app_version_that_was_not_offered() {
    let (cause, ..) = refused("app-version-99").await;
    let expected = HandshakeError::AppVersionNotOffered { got: "99".to_owned(), offered: vec![1] };
    assert_eq!(cause, expected);
    assert_eq!(cause.code(), "start.app-version");
}

/// HS-16, HS-36.
#[tokio::test]
async fn net_rpc_by_name_and_by_four_fields() {
    for how in ["netrpc", "four-fields"] {
        let (cause, ..) = refused(how).await;
        assert!(matches!(cause, HandshakeError::NetRpc { .. }), "{cause:?}");
        assert_eq!(cause.code(), "start.netrpc");
        assert!(cause.to_string().contains("speaks go-plugin's gRPC protocol only"), "{cause}");
    }
}

/// HS-16.
#[tokio::test]
async fn an_unknown_protocol() {
    let (cause, ..) = refused("unknown-protocol").await;
    assert_eq!(cause, HandshakeError::ProtocolUnknown { got: "carrier-pigeon".to_owned() });
    assert_eq!(cause.code(), "start.protocol");
}

/// HS-13.
#[tokio::test]
async fn network_udp() {
    let (cause, ..) = refused("network-udp").await;
    assert_eq!(cause, HandshakeError::NetworkUnknown { got: "udp".to_owned() });
    assert_eq!(cause.code(), "start.network");
}

/// HS-15.
#[tokio::test]
async fn a_socket_path_that_is_too_long() {
    let (cause, ..) = refused("long-socket-path").await;
    assert_eq!(cause.code(), "start.address");
    let HandshakeError::Address { cause: AddressError::PathTooLong { length, limit, .. }, .. } =
        cause
    else {
        panic!("{cause:?}")
    };
    assert!(length > 300 && limit == 107, "{length} {limit}");
}

/// GRPC-12.
#[tokio::test]
async fn a_missing_socket() {
    let scene = Scene::new();
    let error = scene.refuse(scene.misbehave("missing-socket")).await;
    assert_eq!(error.code(), "start.connect");
    let StartError::Connect { address, step: ConnectStep::Dial, cause, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(cause.kind(), ErrorKind::NotFound);
    let line = scene.witness("line")["line"].as_str().expect("text").to_owned();
    assert!(line.contains(&format!("|{address}|")), "{address} of {line}");
}

/// SOCK-8: Go plugins listen before they print the line; others may listen a moment later.
#[tokio::test]
async fn a_socket_that_comes_late() {
    for _ in 0..4 {
        let scene = Scene::new();
        match scene.misbehave("listens-late").start().await {
            Ok(plugin) => {
                scene.witness("listening");
                greet(&plugin).await.expect("a greeting");
                plugin.shutdown().await.expect("the shutdown works");
                return scene.assert_empty();
            }
            // On a busy machine, that moment can be longer than the second that a host allows.
            Err(error) => {
                assert_eq!(error.code(), "start.connect", "{error:?}");
                let listened = scene.told("listening");
                let after =
                    listened.map_or(u64::MAX, |told| told["after_ms"].as_u64().expect("ms"));
                assert!(after > 700, "the plugin listened after {after} ms: {error:?}");
            }
        }
    }
    panic!("all four attempts failed");
}

/// GRPC-12.
#[tokio::test]
async fn a_socket_that_takes_connections_and_closes_them() {
    for (plaintext, code) in [(true, "start.http2"), (false, "start.tls")] {
        let scene = Scene::new();
        let launch = plaintext_if(plaintext, scene.misbehave("accepts-then-closes"));
        let error = scene.refuse(launch).await;
        assert_eq!(error.code(), code, "{error:?}");
        scene.witness("closed");
    }
}

/// GRPC-12.
#[tokio::test]
async fn a_socket_that_answers_with_noise() {
    for (plaintext, code) in [(true, "start.http2"), (false, "start.tls")] {
        let scene = Scene::new();
        let launch = plaintext_if(plaintext, scene.misbehave("garbage-after-accept"));
        let error = scene.refuse(launch).await;
        assert_eq!(error.code(), code, "{error:?}");
        scene.witness("garbage");
    }
}

fn plaintext_if(plaintext: bool, launch: Launch) -> Launch {
    if plaintext { launch.dangerous().plaintext() } else { launch }
}

// No line at all.

/// HS-24.
#[tokio::test]
async fn exit_before_the_line() {
    let scene = Scene::new();
    let error = scene.refuse(scene.misbehave("exits-before-line:7")).await;
    scene.witness("exiting");
    assert_eq!(error.code(), "start.exited");
    let StartError::Exited(evidence) = &error else { panic!("{error:?}") };
    let exit = evidence.exit.as_ref().expect("the plugin ended on its own");
    assert_eq!(exit.code(), Some(7));
    assert_eq!(evidence.stderr, "cannot read the configuration: permission denied");
    assert_eq!(evidence.stdout, "");
    assert!(error.to_string().contains("exit status 7"), "{error}");
}

/// HS-24.
#[tokio::test]
async fn half_a_line() {
    let scene = Scene::new();
    let error = scene.refuse(scene.misbehave("half-line")).await;
    let printed = scene.witness("exiting")["printed"].clone();
    assert_eq!(error.code(), "start.exited");
    let StartError::Exited(evidence) = &error else { panic!("{error:?}") };
    assert_eq!(evidence.stdout, printed);
    assert_eq!(evidence.exit.as_ref().and_then(|exit| exit.code()), Some(0));
}

/// HS-20, HS-21.
#[tokio::test]
async fn no_line_within_the_timeout() {
    const LIMIT: Duration = Duration::from_secs(1);
    let scene = Scene::new();
    let error = scene.refuse(scene.misbehave("no-line").start_timeout(LIMIT)).await;
    scene.witness("silent");
    assert_eq!(error.code(), "start.timeout");
    let StartError::Timeout { limit: LIMIT, step: TimeoutStep::Line, evidence } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(evidence.exit, None);
}

/// HS-23.
#[tokio::test]
async fn an_endless_line() {
    let scene = Scene::new();
    let error = scene.refuse(scene.misbehave("endless-line")).await;
    scene.witness("written");
    assert_eq!(error.code(), "start.no-line");
    let StartError::NoLine { read, evidence } = &error else { panic!("{error:?}") };
    assert!((64 * 1024..128 * 1024).contains(read), "{read}");
    assert_eq!(evidence.stdout, "x".repeat(2048));
}

/// HS-2.
#[tokio::test]
async fn binary_noise() {
    let scene = Scene::new();
    let error = scene.refuse(scene.misbehave("binary-noise")).await;
    scene.witness("written");
    let (cause, evidence) = refusal(error);
    let HandshakeError::Unrecognized { line } = &cause else { panic!("{cause:?}") };
    for shown in [line, &evidence.stdout] {
        assert!(shown.starts_with("\\0\\u{7}\\u{e}"), "{shown}");
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown}");
        assert!(shown.len() < 16 * 1024, "{}", shown.len());
    }
}

/// HS-2 and HS-5: only the first line counts, as in a Go host, unless the user configures
/// otherwise.
#[tokio::test]
async fn noise_before_the_line() {
    let scene = Scene::new();
    let error = scene.refuse(scene.misbehave("noise-then-line")).await;
    let noise = scene.witness("noise")["printed"].as_str().expect("text").to_owned();
    let (cause, evidence) = refusal(error);
    assert_eq!(cause, HandshakeError::Unrecognized { line: "Loading configuration".to_owned() });
    // What came within the same moment is evidence, too: the rest of the noise, and perhaps the line after it.
    let stdout = evidence.stdout.as_str();
    assert!(noise.starts_with(stdout) || stdout.starts_with(&noise), "{stdout:?}");

    let scene = Scene::new();
    let plugin = scene.misbehave("noise-then-line").skip_noise().start().await.expect("a start");
    scene.witness("noise");
    greet(&plugin).await.expect("a greeting");
    plugin.shutdown().await.expect("the shutdown works");
    scene.assert_empty();
}

// The cookie.

/// HS-27: plugins in both languages, with a wrong cookie and without any. The host distinguishes
/// this from other early exits.
#[tokio::test]
async fn a_cookie_that_the_plugin_does_not_know() {
    use plugwire::Handshake;
    let wrong = Handshake::new("GREETER_PLUGIN", "goodbye");
    let missing = Handshake::new("ANOTHER_PLUGIN", "hello");
    let plugins = [
        (go::peer("1.8.0", "greeter-plugin"), "not meant to be executed directly"),
        (go::peer("1.0.1", "greeter-plugin"), "not meant to be executed directly"),
        (rust::example("greeter-plugin"), "This program is a plugin"),
    ];
    for (program, words) in &plugins {
        for handshake in [&wrong, &missing] {
            let scene = Scene::new();
            let error = scene.refuse(scene.launch(handshake.clone(), program)).await;
            assert_eq!(error.code(), "start.cookie", "{error:?}");
            let StartError::CookieRefused(evidence) = &error else { panic!("{error:?}") };
            assert!(evidence.stderr.contains(words), "{evidence:?}");
            assert_eq!(evidence.exit.as_ref().and_then(|exit| exit.code()), Some(1));
        }
    }
}

// Not requested, and so ignored.

/// HS-18.
#[tokio::test]
async fn a_seventh_field_that_was_not_requested() {
    for how in ["mux-false", "mux-not-a-bool"] {
        let scene = Scene::new();
        let plugin = scene.misbehave(how).start().await.expect("a start");
        assert_eq!(scene.witness("line")["line"].as_str().expect("text").split('|').count(), 7);
        greet(&plugin).await.expect("a greeting");
        plugin.shutdown().await.expect("the shutdown works");
        scene.assert_empty();
    }
}

// What is left behind.

/// SOCK-4: plugins before go-plugin 1.5 ignore the host's directory, and no Go plugin removes its
/// socket when it is killed.
#[tokio::test]
async fn the_socket_of_a_plugin_that_ignores_the_directory() {
    let probe = go::peer("1.4.8", "probe-plugin");
    let scene = Scene::new();
    let error = scene.refuse(scene.launch(PROBE, &probe).arg("--versions=9")).await;
    assert_eq!(error.code(), "start.app-version");

    let authority = Authority::new();
    let own_tls = scene.launch(PROBE, &probe).args(authority.issue("plugin").arguments());
    assert_eq!(scene.refuse(own_tls).await.code(), "start.no-certificate");

    let plugin = scene.launch(PROBE, &probe).start().await.expect("a start");
    assert_eq!(
        leaks::sockets(scene.folder()).len(),
        2,
        "the plugin's socket and the host's directory"
    );
    let pid =
        rustix::process::Pid::from_raw(plugin.pid().expect("a pid").cast_signed()).expect("an id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("the plugin runs");
    plugin.exited().await;
    scene.assert_empty();
}
