//! Mutual TLS with peers that cheat, in both roles, and TLS configured by the user.

use std::ffi::OsString;
use std::path::Path;

use plugwire::host::{Launch, StartError};
use plugwire::http2::ConnectStep;
use plugwire::protocol::certificate::CertificateFieldError;
use plugwire::protocol::handshake::HandshakeError;
use plugwire_interop::own_tls::Authority;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scene::{Scene, greet};
use plugwire_interop::{PROBE, go, rust};
use rustls::CertificateError;
use serde_json::Value;

/// Returns rustls's error for a plugin that this host did not trust.
async fn untrusted(how: &str) -> (rustls::Error, Scene) {
    let scene = Scene::new();
    let error = scene.refuse(scene.misbehave(how)).await;
    assert_eq!(error.code(), "start.tls", "{error:?}");
    let StartError::Connect { step: ConnectStep::Tls, cause, .. } = error else {
        panic!("{error:?}")
    };
    let cause = cause.into_inner().expect("rustls's error").downcast().expect("rustls's error");
    (*cause, scene)
}

// A Rust host, and Go plugins with a false identity.

/// TLS-3.
#[tokio::test]
async fn a_plugin_with_another_certificate_than_announced() {
    let (error, scene) = untrusted("cert-of-another-key").await;
    let other = CertificateError::ApplicationVerificationFailure;
    assert_eq!(error, rustls::Error::InvalidCertificate(other));
    let certificates = scene.witness("certificates");
    assert_ne!(certificates["announced"], certificates["served"]);
    assert_eq!(scene.witness("presented")["sha256"], certificates["served"]);
}

/// TLS-4: the plugin presents the announced certificate without its key.
#[tokio::test]
async fn a_plugin_with_a_stolen_certificate() {
    let (error, scene) = untrusted("cert-replayed").await;
    assert_eq!(error, rustls::Error::InvalidCertificate(CertificateError::BadSignature));
    let certificates = scene.witness("certificates");
    assert_ne!(certificates["announced"], certificates["key_of"]);
    assert_eq!(scene.witness("presented")["sha256"], certificates["announced"]);
}

/// TLS-6.
#[tokio::test]
async fn a_plugin_that_answers_without_a_certificate() {
    let scene = Scene::new();
    let error = scene.refuse(scene.misbehave("plaintext-but-asked-tls")).await;
    assert_eq!(scene.witness("plaintext")["asked"], true);
    assert_eq!(error.code(), "start.no-certificate");
    assert!(error.to_string().contains(".dangerous().plaintext()"), "{error}");

    let scene = Scene::new();
    let error = scene.refuse(scene.misbehave("tls-server-no-cert-in-line")).await;
    assert_eq!(error.code(), "start.no-certificate");
}

/// TLS-7: a Go host crashes in this case.
#[tokio::test]
async fn a_certificate_that_was_not_requested() {
    let scene = Scene::new();
    let launch = scene.misbehave("cert-but-plaintext-server").dangerous().plaintext();
    let error = scene.refuse(launch).await;
    scene.witness("plaintext");
    assert_eq!(error.code(), "start.unexpected-certificate");
}

/// TLS-2: plaintext where TLS is required.
#[tokio::test]
async fn a_plugin_that_announces_tls_and_serves_plaintext() {
    let (error, scene) = untrusted("cert-but-plaintext-server").await;
    scene.witness("plaintext");
    assert!(matches!(error, rustls::Error::InvalidMessage(_)), "{error:?}");
}

/// TLS where plaintext is announced.
#[tokio::test]
async fn a_plugin_that_announces_plaintext_and_serves_tls() {
    let scene = Scene::new();
    let launch = scene.misbehave("tls-server-no-cert-in-line").dangerous().plaintext();
    let error = scene.refuse(launch).await;
    assert_eq!(error.code(), "start.http2", "{error:?}");
}

/// TLS-10, HS-17.
#[tokio::test]
async fn a_field_that_is_not_a_certificate() {
    use CertificateFieldError::{NotACertificate, NotBase64, Padded};
    for (how, expected) in [
        ("cert-not-base64", NotBase64 { offset: 3 }),
        ("cert-padded", Padded),
        ("cert-not-a-certificate", NotACertificate { length: 300 }),
    ] {
        let scene = Scene::new();
        let error = scene.refuse(scene.misbehave(how)).await;
        assert_eq!(error.code(), "start.certificate");
        let StartError::Handshake { cause: HandshakeError::Certificate { field, cause }, .. } =
            &error
        else {
            panic!("{error:?}")
        };
        assert_eq!(*cause, expected);
        let line = scene.witness("line")["line"].as_str().expect("text").to_owned();
        let shown = field.split('…').next().expect("something");
        assert!(line.split('|').nth(5).is_some_and(|sent| sent.starts_with(shown)), "{field}");
    }
}

/// Faults that a host cannot notice or may tolerate: a plugin that requests no client certificate,
/// and one that does not select a protocol by ALPN. Go hosts up to grpc-go 1.66 accept the latter,
/// too.
#[tokio::test]
async fn a_plugin_with_a_lax_tls_configuration() {
    for how in ["no-client-auth", "no-alpn"] {
        let scene = Scene::new();
        let plugin = scene.misbehave(how).start().await.expect("a start");
        let expected = if how == "no-alpn" { ("", 1) } else { ("h2", 0) };
        let handshake = scene.witness("handshake");
        let alpn = handshake["alpn"].as_str().expect("text");
        assert_eq!((alpn, handshake["peer_certificates"].as_u64().expect("a number")), expected);
        assert_eq!(scene.witness("presented")["alpn_offered"], serde_json::json!(["h2"]));
        greet(&plugin).await.expect("a greeting");
        plugin.shutdown().await.expect("the shutdown works");
        scene.assert_empty();
    }
}

// A Rust plugin, and a Go host that tries every combination.

/// TLS-4, TLS-9, and the correct handshake. With TLS 1.3, only the first call shows that a host was
/// rejected.
#[tokio::test]
async fn a_rust_plugin_accepts_only_its_own_host() {
    let greeter = rust::example("greeter-plugin").into_os_string();
    let probe = rust::program("probe-plugin").into_os_string();
    let cookie = ["--cookie".into(), "PLUGWIRE_PROBE=plugwire".into()];
    let plugins: [(&[OsString], &[OsString]); 2] =
        [(&[], &[greeter]), (&cookie, &[probe, "--tcp".into()])];
    for (options, plugin) in plugins {
        let sandbox = Sandbox::new();
        let mut probe = sandbox.command(go::peer("1.8.0", "tls-probe"));
        let output = sandbox
            .run(probe.args(["--timeout", "20s"]).args(options).arg("--").args(plugin))
            .await;
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(output.status.success(), "{report:#}");
        let seen: Vec<(&str, bool)> = report["ways"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|way| (way["way"].as_str().expect("text"), way["first_rpc_ok"] == true))
            .collect();
        let expected = [
            ("no-certificate", false),
            ("other-certificate", false),
            ("right-certificate-other-key", false),
            ("plaintext", false),
            ("tls-1.1", false),
            ("right", true),
        ];
        assert_eq!(seen, expected, "{report:#}");
        let right =
            report["ways"].as_array().and_then(|ways| ways.last()).expect("the correct way");
        assert_eq!((&right["version"], &right["alpn"]), (&"TLS 1.3".into(), &"h2".into()));
        assert_eq!(report["exit"], "exit status 0");
        sandbox.assert_empty().await;
    }
}

// TLS-12: a configuration by the user instead of exchanged certificates.

fn own(scene: &Scene, options: &[OsString]) -> Launch {
    scene.launch(PROBE, go::peer("1.8.0-newest", "probe-plugin")).args(options)
}

#[tokio::test]
async fn a_rust_host_with_its_own_tls() {
    let authority = Authority::new();
    let plugin_files = authority.issue("plugin").arguments();
    let scene = Scene::new();
    let host = authority.issue("host").tls();
    let plugin = own(&scene, &plugin_files).tls(host).start().await.expect("a start");
    plugin.ping().await.expect("the plugin answers");
    plugin.shutdown().await.expect("the shutdown works");
    scene.assert_empty();
}

/// The host trusts a different authority, or its certificate comes from one: the plugin verifies
/// the host's certificate, too.
#[tokio::test]
async fn a_rust_host_with_its_own_tls_that_does_not_match() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let plugin_files = authority.issue("plugin").arguments();
    let scene = Scene::new();

    let trusts_another = stranger.issue("host").tls();
    let error = scene.refuse(own(&scene, &plugin_files).tls(trusts_another)).await;
    assert_eq!(error.code(), "start.tls", "{error:?}");

    let mut files = stranger.issue("host");
    files.ca = authority.issue("host").ca;
    let error = scene.refuse(own(&scene, &plugin_files).tls(files.tls())).await;
    // With TLS 1.3, a host can finish the handshake before the plugin has checked its certificate.
    assert_eq!(error.code(), "start.http2", "{error:?}");

    // Neither side announces its own TLS in the line or the environment.
    let error = scene.refuse(own(&scene, &plugin_files)).await;
    assert_eq!(error.code(), "start.no-certificate");
    let error = scene.refuse(own(&scene, &plugin_files).dangerous().plaintext()).await;
    assert_eq!(error.code(), "start.http2");
    let error = scene.refuse(own(&scene, &[]).tls(authority.issue("host").tls())).await;
    assert_eq!(error.code(), "start.tls");
}

#[tokio::test]
async fn a_rust_plugin_with_its_own_tls() {
    for release in ["1.4.8", "1.8.0", "1.8.0-newest"] {
        let authority = Authority::new();
        let sandbox = Sandbox::new();
        let report = start(&sandbox, release, &authority, &authority, &authority).await;
        assert_eq!(report["result"]["pinged"], true, "{release}: {report:#}");
        sandbox.assert_empty().await;
    }
}

#[tokio::test]
async fn a_rust_plugin_with_its_own_tls_and_a_host_that_does_not_match() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let ping_error = async |trusted, signer| {
        let sandbox = Sandbox::new();
        let report = start(&sandbox, "1.8.0", &authority, trusted, signer).await;
        // The host can only kill a plugin that it cannot talk to, which leaves the socket behind.
        sandbox.assert_no_processes().await;
        report["result"]["ping_error"].to_string()
    };
    let error = ping_error(&stranger, &authority).await;
    assert!(error.contains("certificate signed by unknown authority"), "{error}");

    // With TLS 1.3, the host can finish the handshake before the plugin has checked its
    // certificate: it either reads the alert or fails to write.
    let too_late = ["failed to write client preface", "broken pipe", "connection reset by peer"];
    for chance in 0.. {
        let error = ping_error(&authority, &stranger).await;
        if error.contains("remote error: tls") {
            return;
        }
        assert!(too_late.iter().any(|words| error.contains(words)), "{error}");
        assert!(chance < 10, "the host never reads the alert");
    }
}

/// Makes a Go host ping a Rust plugin, each with its own TLS. The host trusts one authority, and
/// its certificate comes from another.
async fn start(
    sandbox: &Sandbox,
    release: &str,
    plugin: &Authority,
    trusted: &Authority,
    signer: &Authority,
) -> Value {
    let program: &Path = &rust::program("probe-plugin");
    let [cert, key, ca] = plugin.issue("plugin").arguments();
    let plugin = [program.as_os_str(), &cert, &key, &ca];
    let [cert, key, _] = signer.issue("host").arguments();
    let [_, _, ca] = trusted.issue("trusted").arguments();
    let options = [cert, key, ca].map(|option| option.into_string().expect("UTF-8"));
    let [cert, key, ca] = &options;
    sandbox.go_host(release, &["start", cert, key, ca], &plugin).await
}
