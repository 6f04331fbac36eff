//! Output of plugins, with Go on one side.

use std::ffi::OsStr;
use std::time::Duration;

use plugwire::host::PluginHandle;
use plugwire_interop::collected::{Log, Output};
use plugwire_interop::probe::{PrintRequest, pattern};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
use plugwire_interop::{PROBE, RELEASES, go, rust};
use serde_json::Value;
use tokio::time::timeout;

const MIB: u64 = 1024 * 1024;
const LIMIT: Duration = Duration::from_secs(60);

async fn go_host(release: &str, scenario: &[&str], plugin_options: &[&str]) -> Value {
    let sandbox = Sandbox::new();
    let program = rust::program("probe-plugin");
    let options = plugin_options.iter().map(OsStr::new);
    let plugin: Vec<&OsStr> = [program.as_os_str()].into_iter().chain(options).collect();
    sandbox.go_host(release, scenario, &plugin).await
}

/// Half of the output is printed with `println!`, half bypasses its handle. On a current-thread
/// runtime the handler prints on the thread that would forward the output, and must not wait for
/// it. Spec: STD-1, STD-6.
#[tokio::test]
async fn go_hosts_get_8_mib_that_a_rust_handler_prints() {
    let size = (8 * MIB).to_string();
    for release in ["1.4.8", "1.8.0-newest"] {
        for runtime in [&[][..], &["--multi-thread"]] {
            for tls in [&[][..], &["--auto-mtls"]] {
                let scenario = [
                    &["stdio", "--size", &size, "--patience", "100s", "--timeout", "120s"][..],
                    tls,
                ]
                .concat();
                let options = [&["--capture-stderr"][..], runtime].concat();
                let report = go_host(release, &scenario, &options).await;
                for channel in ["stdout", "stderr"] {
                    let seen = &report["result"][channel];
                    let case = format!("{release} {options:?} {channel}: {seen:#}");
                    assert_eq!(seen["bytes"], 8 * MIB, "{case}");
                    assert_eq!(seen["intact"], true, "{case}");
                }
            }
        }
    }
}

/// Descriptor 2 is unchanged: its text is in the host's log, and a crash cannot lose it. Spec:
/// STD-10.
#[tokio::test]
async fn standard_error_stays_real_under_go_hosts() {
    for release in RELEASES {
        let scenario = ["stdio", "--raw-stderr", "--patience", "25s", "--stderr-patience", "100ms"];
        let report = go_host(release, &scenario, &[]).await;
        assert_eq!(report["result"]["stdout"]["intact"], true, "{report:#}");
        assert_eq!(report["result"]["stderr"]["bytes"], 0, "{report:#}");
        assert_eq!(report["raw_stderr"]["text"], "printed to stderr\n", "{report:#}");
        let log = report["log"].as_array().expect("a log");
        let logged = |line: &&Value| {
            line["name"] == "probe-host.probe-plugin" && line["message"] == "printed to stderr"
        };
        assert_eq!(log.iter().filter(logged).count(), 1, "{report:#}");
    }
}

/// With standard error captured, prints go to the stream like a Go plugin's, and panics still go to
/// the real one. Spec: STD-10.
#[tokio::test]
async fn panics_reach_the_real_standard_error_also_when_it_is_captured() {
    for release in ["1.4.8", "1.8.0-newest"] {
        let scenario = ["die", "--how", "panic", "--raw-stderr", "--patience", "3s"];
        for options in [&[][..], &["--capture-stderr"]] {
            let report = go_host(release, &scenario, options).await;
            let stderr = report["raw_stderr"]["text"].as_str().unwrap_or_default();
            assert!(stderr.contains("panicked at"), "{options:?} {report:#}");
            assert!(stderr.contains("the probe was told to panic"), "{options:?} {report:#}");
        }
    }
}

async fn print(plugin: &PluginHandle, stdout: &[u8], stderr: &[u8]) {
    let request = PrintRequest { stdout: stdout.to_vec().into(), stderr: stderr.to_vec().into() };
    let mut client = probe(plugin);
    timeout(LIMIT, client.print(request)).await.expect("in time").expect("the plugin prints");
}

/// Go replaces `os.Stdout` and `os.Stderr`, so both arrive on the stream, in pieces of 1 KiB. Spec:
/// STD-2.
#[tokio::test]
async fn a_rust_host_gets_8_mib_that_a_go_plugin_prints() {
    let (out, err) = (pattern(0, 8 * MIB), pattern(128, 8 * MIB));
    for release in RELEASES {
        let sandbox = Sandbox::new();
        let (stdout, stderr, raw) = (Output::default(), Output::default(), Output::default());
        let launch = sandbox.launch(PROBE, go::peer(release, "probe-plugin")).version(1);
        let launch = launch.arg("--unlimited").stdout(stdout.clone()).stderr(stderr.clone());
        let launch = launch.raw_stderr(raw.clone()).dangerous().plaintext();
        let plugin = launch.start().await.expect("a start");
        print(&plugin, &out, &err).await;
        assert!(stdout.wait(LIMIT, |seen| seen.len() >= out.len()).await == out, "{release}");
        assert!(stderr.wait(LIMIT, |seen| seen.len() >= err.len()).await == err, "{release}");
        plugin.shutdown().await.expect("the shutdown works");
        let raw = String::from_utf8_lossy(&raw.now()).into_owned();
        assert!(!raw.contains('\u{1}'), "{release}: the stream's bytes are not in the log: {raw}");
    }
}

/// go-plugin 1.0.1 has no stdio stream: its output is discarded, and everything else works. Spec:
/// STD-4.
#[tokio::test]
async fn a_go_plugin_without_stdio() {
    let sandbox = Sandbox::new();
    let (stdout, log) = (Output::default(), Log::default());
    let launch = sandbox.launch(PROBE, go::peer("1.0.1", "probe-plugin")).version(1);
    let launch = launch.stdout(stdout.clone()).log_sink(log.clone());
    let plugin = launch.start().await.expect("a start");
    print(&plugin, b"discarded\n", b"").await;
    plugin.ping().await.expect("the plugin answers");
    plugin.shutdown().await.expect("the shutdown works");
    assert_eq!(stdout.now(), b"");
}
