//! Every pairing of Go and Rust, with every release of go-plugin, in plaintext and with mutual TLS.
//!
//! A Go host with a Go plugin of the same release is the reference ([`crate::transcripts`]): every
//! other pairing must see the same codes, texts, metadata, counts and bytes.

use std::ffi::OsStr;
use std::path::Path;

use plugwire::host::{Launch, PluginHandle, ShutdownPhase};
use plugwire::protocol::environment::PortRange;
use plugwire_interop::collected::Output;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios;
use plugwire_interop::{PROBE, RELEASES, go, rust};
use serde_json::{Value, json};
use tonic::Code;

use crate::transcripts::{SCENARIOS, Transcripts, go_host_sees};

/// Returns what a Rust host sees of a plugin in one of the scenarios.
async fn play(plugin: &PluginHandle, scenario: &str, stdout: &Output, stderr: &Output) -> Value {
    match scenario {
        "start" => scenarios::start(plugin).await,
        "echo" => scenarios::echo(plugin, 1000).await,
        "fail" => scenarios::fail(plugin, Code::NotFound, 100_000).await,
        "stream" => scenarios::stream(plugin, 200, 100).await,
        "stdio" => scenarios::stdio(plugin, stdout, stderr).await,
        "health" => scenarios::health(plugin).await,
        "reflection" => scenarios::reflection(plugin).await,
        other => panic!("no scenario `{other}`"),
    }
}

fn launch(sandbox: &Sandbox, program: &Path, mutual_tls: bool) -> Launch {
    let launch = sandbox.launch(PROBE, program).version(1);
    if mutual_tls { launch } else { launch.dangerous().plaintext() }
}

/// Returns what a Rust host sees of a plugin in all of them, with a single start of the plugin.
async fn rust_host_sees(program: &Path, options: &[&str], mutual_tls: bool) -> Vec<Value> {
    let (sandbox, stdout, stderr) = (Sandbox::new(), Output::default(), Output::default());
    let launch = launch(&sandbox, program, mutual_tls).args(options.iter().copied());
    let plugin = launch.stdout(stdout.clone()).stderr(stderr.clone()).start().await;
    let plugin = plugin.unwrap_or_else(|error| panic!("{program:?}: {error:?}"));
    let mut seen = Vec::new();
    for scenario in SCENARIOS {
        seen.push(play(&plugin, scenario[0], &stdout, &stderr).await);
    }
    let stop = plugin.shutdown().await.expect("the shutdown works");
    assert_eq!(stop.phase, ShutdownPhase::Asked, "{program:?}: {stop:?}");
    assert!(stop.exit.expect("this host started the plugin").success());
    sandbox.assert_empty().await;
    seen
}

/// Adds what a Rust plugin offers on purpose beyond older releases: the newest grpc-go's `List` and
/// both reflection services.
fn as_the_newest(release: &str, scenario: &str, mut reference: Value) -> Value {
    if scenario == "health" && release != "1.8.0-newest" {
        assert_eq!(reference["list"]["name"], "Unimplemented", "{reference}");
        reference["list"] =
            json!({ "": { "status": "SERVING" }, "plugin": { "status": "SERVING" } });
    }
    if scenario == "reflection" && release == "1.4.8" {
        let mut services = reference["v1alpha"].clone();
        let all = services.as_array_mut().expect("1.4.8 has v1alpha");
        all.insert(1, "grpc.reflection.v1.ServerReflection".into());
        reference = json!({ "v1": services, "v1alpha": services });
    }
    reference
}

async fn pairings_of(release: &str) {
    let go_plugin = go::peer(release, "probe-plugin");
    let rust_plugin = rust::program("probe-plugin");
    let reference = Transcripts::of(release);
    for mutual_tls in [false, true] {
        let rust_go = rust_host_sees(&go_plugin, &[], mutual_tls).await;
        for (scenario, rust_go) in SCENARIOS.into_iter().zip(rust_go) {
            let case = format!("{release} {scenario:?}, mutual TLS {mutual_tls}");
            let go_go = reference.get(scenario, mutual_tls);
            assert_eq!(rust_go, go_go, "Rust host, Go plugin: {case}");

            let rust_plugin = [rust_plugin.as_os_str(), OsStr::new("--capture-stderr")];
            let go_rust = go_host_sees(release, scenario, mutual_tls, &rust_plugin).await;
            let expected = as_the_newest(release, scenario[0], go_go);
            assert_eq!(go_rust, expected, "Go host, Rust plugin: {case}");
        }
    }
}

#[tokio::test]
async fn go_1_4_8_and_rust() {
    pairings_of("1.4.8").await;
}

#[tokio::test]
async fn go_1_6_3_and_rust() {
    pairings_of("1.6.3").await;
}

#[tokio::test]
async fn go_1_7_0_and_rust() {
    pairings_of("1.7.0").await;
}

#[tokio::test]
async fn go_1_8_0_and_rust() {
    pairings_of("1.8.0").await;
}

#[tokio::test]
async fn go_1_8_0_with_the_newest_grpc_and_rust() {
    pairings_of("1.8.0-newest").await;
}

/// The reference is the newest Go host with the newest Go plugin.
#[tokio::test]
async fn rust_and_rust_as_go_and_go() {
    let transcripts = Transcripts::of("1.8.0-newest");
    let mut reference = SCENARIOS.map(|scenario| transcripts.get(scenario, false));
    for mutual_tls in [false, true] {
        let program = rust::program("probe-plugin");
        let mut seen = rust_host_sees(&program, &["--capture-stderr"], mutual_tls).await;
        assert_eq!(seen, reference, "unix, mutual TLS {mutual_tls}");
        seen = rust_host_sees(&program, &["--capture-stderr", "--tcp"], mutual_tls).await;
        reference[0]["network"] = "tcp".into();
        assert_eq!(seen, reference, "TCP, mutual TLS {mutual_tls}");
        reference[0]["network"] = "unix".into();
    }
}

/// Go plugins listen on TCP on Windows only; hosts accept it on any system. Go hosts pass the port
/// range 10000 to 25000.
#[tokio::test]
async fn go_hosts_reach_a_rust_plugin_on_tcp() {
    let plugin = rust::program("probe-plugin");
    for release in RELEASES {
        for tls in [&[][..], &["--auto-mtls"]] {
            let sandbox = Sandbox::new();
            let scenario: Vec<&str> = ["echo"].iter().chain(tls).copied().collect();
            let plugin = [plugin.as_os_str(), OsStr::new("--tcp")];
            let report = sandbox.go_host(release, &scenario, &plugin).await;
            assert_eq!(report["start"]["network"], "tcp", "{release}: {report:#}");
            let address = report["start"]["address"].as_str().expect("an address");
            assert_port(address, 10_000..=25_000);
            assert_eq!(report["result"]["payload_intact"], true, "{release}: {report:#}");
            sandbox.assert_empty().await;
        }
    }
}

fn assert_port(address: &str, range: std::ops::RangeInclusive<u16>) {
    let (host, port) = address.rsplit_once(':').expect("host and port");
    assert_eq!(host, "127.0.0.1");
    assert!(range.contains(&port.parse().expect("a port")), "{address}");
}

/// With a port range set by the host, and without one.
#[tokio::test]
async fn a_rust_plugin_on_tcp_takes_a_port_of_its_hosts_range() {
    for (range, expected) in [
        (PortRange::new(31_000, 31_999).ok(), 31_000..=31_999),
        (Some(PortRange::default()), 10_000..=25_000),
        (None, 1024..=u16::MAX),
    ] {
        let sandbox = Sandbox::new();
        let program = rust::program("probe-plugin");
        let launch = launch(&sandbox, &program, true).arg("--tcp").ports(range);
        let plugin = launch.start().await.expect("a start");
        assert_port(plugin.record().address.to_str().expect("text"), expected);
        plugin.ping().await.expect("the plugin answers");
        plugin.shutdown().await.expect("the shutdown works");
        sandbox.assert_empty().await;
    }
}

/// A handshake line of exactly six fields: this release has neither stdio nor reflection.
#[tokio::test]
async fn rust_host_and_go_plugin_1_0_1() {
    let program = go::peer("1.0.1", "probe-plugin");
    let reference = Transcripts::of("1.0.1");
    for mutual_tls in [false, true] {
        let (sandbox, stdout) = (Sandbox::new(), Output::default());
        let launch = launch(&sandbox, &program, mutual_tls).stdout(stdout.clone());
        let plugin = launch.start().await.expect("a start");
        for scenario in SCENARIOS.into_iter().filter(|scenario| scenario[0] != "stdio") {
            let go_go = reference.get(scenario, mutual_tls);
            let rust_go = play(&plugin, scenario[0], &stdout, &stdout).await;
            assert_eq!(rust_go, go_go, "{scenario:?}, mutual TLS {mutual_tls}");
        }
        let stop = plugin.shutdown().await.expect("the shutdown works");
        assert_eq!(stop.phase, ShutdownPhase::Asked);
        sandbox.assert_empty().await;
    }
}
