//! The task of a driver, as defined by the driver contract.

use std::collections::BTreeMap;
use std::time::Duration;

use plugwire_conformance_wire::socket::Address;
use serde::Deserialize;
use serde_json::Value;

/// One task: a plugin, and what to do with it.
#[derive(Debug, Deserialize)]
pub(super) struct Task {
    /// The contract's version.
    #[serde(rename = "plugwire-conformance")]
    pub(super) contract: u32,
    pub(super) plugin: Plugin,
    /// Parsed one by one, so that an unknown step can be named.
    pub(super) steps: Vec<Value>,
}

/// The plugin, and how its host is set up.
#[derive(Debug, Deserialize)]
pub(super) struct Plugin {
    pub(super) command: Vec<String>,
    pub(super) cookie: Cookie,
    pub(super) app_versions: Vec<i64>,
    #[serde(default)]
    pub(super) tls: Tls,
    #[serde(default)]
    pub(super) multiplex: bool,
    pub(super) start_timeout_ms: u64,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) reattach: Option<Record>,
}

/// The magic cookie.
#[derive(Debug, Deserialize)]
pub(super) struct Cookie {
    pub(super) key: String,
    pub(super) value: String,
}

/// How connections are secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Tls {
    #[default]
    None,
    Mutual,
}

/// A plugin that runs already (RAT-1).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Record {
    pub(super) protocol: String,
    #[serde(default)]
    pub(super) protocol_version: i64,
    #[serde(default)]
    pub(super) test: bool,
    pub(super) addr: Addr,
}

/// Where it listens.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Addr {
    network: String,
    string: String,
}

impl Addr {
    pub(super) fn address(&self) -> Result<Address, String> {
        Address::parse(&self.network, &self.string)
    }
}

/// One thing to do.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(super) enum Step {
    Start,
    Ping,
    Call(Call),
    Stream(Call),
    BrokerAccept {
        id: u32,
    },
    BrokerDial {
        id: u32,
        #[serde(flatten)]
        call: Call,
    },
    CollectStdio {
        stdout: usize,
        stderr: usize,
        within_ms: u64,
    },
    CollectLogs {
        count: usize,
        within_ms: u64,
    },
    WaitExit {
        within_ms: u64,
    },
    Kill,
}

/// A call with raw bytes.
#[derive(Debug, Deserialize)]
pub(super) struct Call {
    pub(super) method: String,
    /// Base64.
    #[serde(default)]
    pub(super) request: String,
    pub(super) timeout_ms: u64,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) cancel_after_ms: Option<u64>,
}

impl Call {
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}
