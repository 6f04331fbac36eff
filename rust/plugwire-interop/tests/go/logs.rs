//! Logs and crash messages reach the host through standard error. Spec: LOG-3, LOG-7, LOG-11,
//! LOG-12.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use plugwire::protocol::hclog::{Kind, Level, Runtime};
use plugwire_interop::collected::Log;
use plugwire_interop::probe::DieRequest;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
use plugwire_interop::{PROBE, RELEASES, go, rust};
use serde_json::Value;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

/// One entry: its level, its message, and everything else by key.
type Line = (String, String, BTreeMap<String, Value>);

/// Returns the entries of a Go host's log for a plugin with `--logs`. Timestamps are checked for
/// presence and left out.
async fn go_host_logs(release: &str, plugin: &Path) -> Vec<Line> {
    let sandbox = Sandbox::new();
    let plugin = [plugin.as_os_str(), OsStr::new("--logs")];
    let report = sandbox.go_host(release, &["logs"], &plugin).await;
    let entries = report["result"]["entries"].as_array().expect("entries");
    let mut lines = Vec::new();
    for entry in entries {
        let message = entry["message"].as_str().expect("a message").to_owned();
        if !message.starts_with("a line at ") {
            continue; // go-plugin's own
        }
        assert_eq!(entry["name"], "probe-host.probe-plugin", "{entry}");
        let args = entry["args"].as_array().expect("args").iter();
        let mut args: BTreeMap<String, Value> = args
            .map(|arg| (arg["key"].as_str().expect("a key").to_owned(), arg["value"].clone()))
            .collect();
        let time = args.remove("timestamp").expect("a time");
        assert!(!time.as_str().expect("text").starts_with("0001"), "{time}");
        lines.push((entry["level"].as_str().expect("a level").to_owned(), message, args));
    }
    assert_eq!(lines.len(), 5, "{report:#}");
    lines
}

/// Returns the entries of a Rust host's sink in the same form.
async fn rust_host_logs(plugin: &Path) -> Vec<Line> {
    let (sandbox, log) = (Sandbox::new(), Log::default());
    let launch = sandbox.launch(PROBE, plugin).version(1).arg("--logs").log_sink(log.clone());
    let plugin = launch.start().await.expect("a start");
    plugin.shutdown().await.expect("the shutdown works");
    let mut lines = Vec::new();
    for (name, entry) in log.now() {
        let record = entry.record;
        if !record.message.starts_with("a line at ") {
            continue;
        }
        assert_eq!(name, "probe-plugin");
        assert_eq!(entry.kind, Kind::Structured);
        assert!(record.timestamp.is_some(), "{record:?}");
        let module = record.module.expect("a module");
        let fields = record.fields.into_iter();
        let fields = fields.chain([("@module".to_owned(), module.into())]).collect();
        lines.push((record.level.to_string(), record.message, fields));
    }
    lines
}

#[tokio::test]
async fn records_arrive_with_level_message_and_fields() {
    for release in RELEASES {
        let go_plugin = go::peer(release, "probe-plugin");
        let go_go = go_host_logs(release, &go_plugin).await;
        assert_eq!(rust_host_logs(&go_plugin).await, go_go, "Rust host, Go plugin {release}");
        let rust_plugin = rust::program("probe-plugin");
        let go_rust = go_host_logs(release, &rust_plugin).await;
        assert_eq!(go_rust, go_go, "Go host {release}, Rust plugin");
        assert_eq!(rust_host_logs(&rust_plugin).await, go_go, "Rust host, Rust plugin");
    }
}

/// Returns the entries of a Rust host's log for a plugin that was told to end in a call, which gets
/// no answer or a status.
async fn log_of_a_death(plugin: &Path, how: &str) -> Vec<(Kind, Level, String)> {
    let (sandbox, log) = (Sandbox::new(), Log::default());
    let launch = sandbox.launch(PROBE, plugin).version(1).log_sink(log.clone());
    let plugin = launch.start().await.expect("a start");
    let mut client = probe(&plugin);
    let died = client.die(DieRequest { how: how.to_owned() });
    let _ = timeout(LIMIT, died).await.expect("the call ends");
    plugin.shutdown().await.expect("the plugin is gone");
    log.now()
        .into_iter()
        .map(|(_, entry)| (entry.kind, entry.record.level, entry.record.message))
        .collect()
}

/// go-plugin's host does this since 1.7.0; ours does it with plugins of any release.
#[tokio::test]
async fn a_go_panic_is_logged_at_error_with_all_its_lines() {
    for release in ["1.0.1", "1.4.8", "1.8.0-newest"] {
        for how in ["panic", "panic-thread"] {
            let log = log_of_a_death(&go::peer(release, "probe-plugin"), how).await;
            let crash = log.iter().position(|(kind, ..)| *kind == Kind::Crash(Runtime::Go));
            let crash = crash.unwrap_or_else(|| panic!("{release} {how}: {log:?}"));
            assert!(log[crash].2.starts_with("panic: the probe panics"), "{:?}", log[crash]);
            let rest = &log[crash..];
            assert!(rest.len() > 3, "{release} {how}: the goroutine dump is missing: {log:?}");
            assert!(rest.iter().all(|(_, level, _)| *level == Level::Error), "{log:?}");
        }
    }
}

/// Spec: LOG-7, STD-10.
#[tokio::test]
async fn a_rust_panic_is_logged_at_error() {
    for how in ["panic", "panic-thread"] {
        let log = log_of_a_death(&rust::program("probe-plugin"), how).await;
        let crash = log.iter().find(|(kind, ..)| *kind == Kind::Crash(Runtime::Rust));
        let (_, level, message) = crash.unwrap_or_else(|| panic!("{how}: {log:?}"));
        assert_eq!(*level, Level::Error, "{message}");
        assert!(log.iter().any(|(.., message)| message.contains("was told to panic")), "{log:?}");
    }
}

/// A Go host does not recognise Rust panics: their text is in its log at debug level.
#[tokio::test]
async fn a_rust_panic_is_in_a_go_hosts_log() {
    for release in RELEASES {
        let sandbox = Sandbox::new();
        let plugin = rust::program("probe-plugin");
        let scenario = ["die", "--how", "panic", "--patience", "3s"];
        let report = sandbox.go_host(release, &scenario, &[plugin.as_os_str()]).await;
        let log = report["log"].as_array().expect("a log");
        let words = |words: &str| {
            log.iter().any(|line| {
                line["name"] == "probe-host.probe-plugin"
                    && line["message"].as_str().is_some_and(|message| message.contains(words))
            })
        };
        assert!(words("panicked at") && words("the probe was told to panic"), "{report:#}");
    }
}
