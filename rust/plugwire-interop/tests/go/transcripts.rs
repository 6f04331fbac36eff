//! What a Go host sees of a Go plugin of the same release: the reference for all other pairings.
//!
//! A pinned release of go-plugin does not change, so its transcripts are files. `PLUGWIRE_BLESS=1` writes them. The newest
//! release is recorded again in every run and compared with its file, and all others in `cargo xtask soak`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::comparable;
use plugwire_interop::{RELEASES, go, soaks};
use serde_json::Value;

/// The scenarios that a Rust host can play, with the Go host's options.
pub(crate) const SCENARIOS: [&[&str]; 7] = [
    &["start"],
    &["echo", "--size", "1000"],
    &["fail", "--size", "100000"],
    &["stream", "--count", "200", "--size", "100"],
    &["stdio"],
    &["health"],
    &["reflection"],
];

/// The plugins with their hosts: a release has both roles, but for 1.0.1, which is only a plugin.
const PAIRS: [(&str, &str); 6] = [
    ("1.0.1", "1.4.8"),
    ("1.4.8", "1.4.8"),
    ("1.6.3", "1.6.3"),
    ("1.7.0", "1.7.0"),
    ("1.8.0", "1.8.0"),
    (NEWEST, NEWEST),
];
const NEWEST: &str = "1.8.0-newest";

/// The transcripts of a plugin, by scenario and whether it was with mutual TLS.
#[derive(Debug)]
pub(crate) struct Transcripts(BTreeMap<String, Value>);

impl Transcripts {
    /// Reads the transcripts of a plugin with this release of go-plugin.
    pub(crate) fn of(plugin: &str) -> Self {
        let path = file(plugin);
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(serde_json::from_str(&text).expect("transcripts"))
    }

    /// Returns what the Go host saw.
    pub(crate) fn get(&self, scenario: &[&str], mutual_tls: bool) -> Value {
        self.0[&key(scenario, mutual_tls)].clone()
    }

    async fn record(plugin: &str, host: &str) -> Self {
        let program = go::peer(plugin, "probe-plugin");
        let mut all = BTreeMap::new();
        // The oldest has no stdio.
        let played = SCENARIOS.into_iter().filter(|it| plugin != "1.0.1" || it[0] != "stdio");
        for scenario in played {
            for mutual_tls in [false, true] {
                let seen = go_host_sees(host, scenario, mutual_tls, &[program.as_os_str()]).await;
                all.insert(key(scenario, mutual_tls), seen);
            }
        }
        Self(all)
    }
}

fn key(scenario: &[&str], mutual_tls: bool) -> String {
    let tls = if mutual_tls { "mutual TLS" } else { "plaintext" };
    format!("{}, {tls}", scenario.join(" "))
}

fn file(plugin: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/go/transcripts/{plugin}.json"))
}

/// Plays a scenario between a Go host and a plugin, and returns what the host saw.
pub(crate) async fn go_host_sees(
    release: &str,
    scenario: &[&str],
    mutual_tls: bool,
    plugin: &[&OsStr],
) -> Value {
    let sandbox = Sandbox::new();
    let mut scenario = scenario.to_vec();
    if mutual_tls {
        scenario.push("--auto-mtls");
    }
    let report = sandbox.go_host(release, &scenario, plugin).await;
    assert_eq!(report["kill"]["exited"], true, "{report:#}");
    assert_eq!(report["kill"]["hung"], false, "{report:#}");
    sandbox.assert_empty().await;
    comparable(&report)
}

#[tokio::test]
async fn soak_transcripts_are_what_go_hosts_see() {
    let bless = std::env::var_os("PLUGWIRE_BLESS").is_some();
    assert!(RELEASES.iter().all(|release| PAIRS.contains(&(release, release))));
    for (plugin, host) in PAIRS {
        if !(soaks() || bless || plugin == NEWEST) {
            continue;
        }
        let recorded = Transcripts::record(plugin, host).await;
        if bless {
            let text = serde_json::to_string_pretty(&recorded.0).expect("JSON") + "\n";
            fs::create_dir_all(file(plugin).parent().expect("a directory")).expect("a directory");
            fs::write(file(plugin), text).expect("it can be written");
        }
        assert_eq!(recorded.0, Transcripts::of(plugin).0, "go-plugin {plugin}");
    }
}
