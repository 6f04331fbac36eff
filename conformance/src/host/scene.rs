//! The format of a case for hosts.

use std::collections::BTreeMap;

use plugwire_conformance_peers::script::Script;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::kind::Kind;
use crate::case::Span;
use crate::matching::Wanted;

/// What a case about a host has besides its header.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scene {
    /// How the host is to start the plugin.
    #[serde(default)]
    pub plugin: Setting,
    /// How the plugin misbehaves.
    #[serde(default)]
    #[schemars(with = "Value")]
    pub script: Script,
    /// The operations of the driver, and their expected results.
    pub steps: Vec<Step>,
    /// Other ways that are tolerated.
    #[serde(default)]
    pub accept: Vec<Accepted>,
    /// What proves that the plugin did what the script says. Without it the case proves nothing and
    /// is an error.
    #[serde(default)]
    pub witness: Vec<Sighting>,
    /// What the plugin has to see of its host.
    #[serde(default)]
    pub sees: Vec<Sighting>,
    /// What the plugin must not see.
    #[serde(default)]
    pub never: Vec<Sighting>,
    /// The driver is killed in its last step, once the plugin has noted this.
    #[serde(default)]
    pub killed_at: Option<Sighting>,
    /// What remains afterwards.
    #[serde(default)]
    pub after: After,
}

/// How the host is to start the plugin.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Setting {
    /// The app versions that it offers.
    pub app_versions: Vec<u32>,
    /// Whether it asks for mutual TLS.
    pub tls: Tls,
    /// Whether it asks for multiplexing.
    pub multiplex: bool,
    /// How long it waits for the line.
    pub start_timeout: Span,
    /// Variables that the host's user gives to the plugin.
    pub env: BTreeMap<String, String>,
    /// Variables of the host itself.
    pub host_env: BTreeMap<String, String>,
    /// The plugin runs already, and the host attaches to it.
    pub reattach: Option<Reattach>,
}

/// Transport security between host and plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// None.
    None,
    /// Certificates on both sides, exchanged at the start.
    Mutual,
}

/// The record of a plugin that runs already.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Reattach {
    /// Whether it is in test mode.
    pub test: bool,
    /// The protocol of the record.
    pub protocol: String,
}

/// One step.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Step {
    /// Starts the plugin, or fails with one of these.
    Start(Start),
    /// Must not become a working host: the start fails, or a later step if the host is that
    /// tolerant.
    Refused(Refused),
    /// The host's own health check.
    Ping(Ping),
    /// A unary call.
    Call(Call),
    /// A call with a streamed answer.
    Stream(Stream),
    /// The host serves an echo on a brokered id.
    BrokerAccept(BrokerAccept),
    /// The host dials a brokered id, and makes one call there.
    BrokerDial(BrokerDial),
    /// What came by the stdio stream so far.
    CollectStdio(CollectStdio),
    /// What is in the host's log of the plugin's standard error.
    CollectLogs(CollectLogs),
    /// Waits until the host has noticed that the process is gone.
    WaitExit(WaitExit),
    /// Ends the plugin in order.
    Kill(Kill),
}

/// See [`Step::Start`].
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Start {
    /// The kinds of error with which it may fail; if empty, it has to succeed.
    pub fails: Vec<Kind>,
    /// The app version that was agreed on.
    pub version: Option<u32>,
    /// The time limit.
    pub within: Option<Span>,
}

/// See [`Step::Refused`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Refused {
    /// The kinds of error with which the start may fail.
    pub kinds: Vec<Kind>,
    /// The deadline: go-plugin's hosts connect at the first call.
    #[serde(default)]
    pub latest: Latest,
    /// How long it may take, start and ping together.
    pub within: Option<Span>,
}

/// The last step that may still detect the mistake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Latest {
    /// The start.
    #[default]
    Start,
    /// A ping after the start, which may fail in any way.
    Ping,
}

/// See [`Step::Ping`].
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ping {
    /// The kinds of error with which it may fail; if empty, it has to succeed.
    pub fails: Vec<Kind>,
    /// The time limit.
    pub within: Option<Span>,
}

/// See [`Step::Call`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Call {
    /// `Service/Method`; Probe and BrokerProbe need no package.
    pub method: String,
    /// The request.
    #[serde(default = "nothing")]
    pub request: Value,
    /// The call's deadline. Default: 5 s.
    pub timeout: Option<Span>,
    /// Metadata to send.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// When it is cancelled.
    pub cancel_after: Option<Span>,
    /// The kinds of error with which it has to fail; if empty, it has to succeed.
    #[serde(default)]
    pub fails: Vec<Kind>,
    /// The status's text, where it fails.
    pub message: Option<Wanted>,
    /// What the reply has to have.
    pub reply: Option<Wanted>,
    /// What the response's headers have to have.
    pub headers: Option<Wanted>,
    /// What its trailers have to have.
    pub trailers: Option<Wanted>,
    /// The time limit.
    pub within: Option<Span>,
}

/// See [`Step::Stream`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stream {
    /// As in [`Call`].
    pub method: String,
    /// The request.
    #[serde(default = "nothing")]
    pub request: Value,
    /// The call's deadline. Default: 5 s.
    pub timeout: Option<Span>,
    /// The kinds of error with which it has to end; if empty, it has to end successfully.
    #[serde(default)]
    pub fails: Vec<Kind>,
    /// How many messages come.
    pub messages: Option<u64>,
    /// How many bytes they have.
    pub bytes: Option<u64>,
    /// The time limit.
    pub within: Option<Span>,
}

/// See [`Step::BrokerAccept`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BrokerAccept {
    /// The id.
    pub id: u32,
}

/// See [`Step::BrokerDial`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BrokerDial {
    /// The id.
    pub id: u32,
    /// The call's method. Default: `Probe/Echo`.
    #[serde(default = "echo")]
    pub method: String,
    /// The call's request.
    #[serde(default = "nothing")]
    pub request: Value,
    /// The limit for dial and call together. Default: 8 s, since a failing dial alone takes 5 s.
    pub timeout: Option<Span>,
    /// The kinds of error with which it has to fail; if empty, it has to succeed.
    #[serde(default)]
    pub fails: Vec<Kind>,
    /// What the reply has to have.
    pub reply: Option<Wanted>,
    /// The time limit.
    pub within: Option<Span>,
}

/// See [`Step::CollectStdio`].
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CollectStdio {
    /// All of standard output so far.
    pub stdout: String,
    /// All of standard error so far.
    pub stderr: String,
    /// The same in hexadecimal digits, for bytes that are not text.
    pub stdout_hex: Option<String>,
    /// Only how much has come on standard output, at the least.
    pub stdout_bytes: Option<u64>,
    /// How long to wait for it.
    pub within: Option<Span>,
}

/// See [`Step::CollectLogs`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CollectLogs {
    /// The entries, from the first, in this order and with nothing between them.
    pub entries: Vec<Entry>,
    /// How long to wait for them.
    pub within: Option<Span>,
}

/// One entry of a log, or several that are pieces of one line.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Entry {
    /// Its level.
    pub level: Option<String>,
    /// Its message.
    pub message: Option<Wanted>,
    /// What its fields have to have.
    pub fields: Option<Wanted>,
    /// This many bytes of message, in one or more entries.
    pub pieces: Option<u64>,
}

/// See [`Step::WaitExit`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WaitExit {
    /// How long.
    pub within: Span,
}

/// See [`Step::Kill`].
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Kill {
    /// The time limit.
    pub within: Option<Span>,
}

/// A tolerated result: not what is required, but not a failure.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Accepted {
    /// The step, from 1.
    pub step: usize,
    /// The kinds of error with which it may fail.
    #[serde(default)]
    pub fails: Vec<Kind>,
    /// Whether it may succeed although it should fail.
    #[serde(default)]
    pub succeeds: bool,
    /// Why that is tolerable.
    pub reason: String,
}

/// Something that the plugin noted, as it noted it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sighting {
    /// The event's name.
    pub event: String,
    /// What else it has to have.
    pub with: Option<Wanted>,
    /// The exact number of times. Default: once or more.
    pub times: Option<usize>,
}

/// What remains when the driver has ended.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct After {
    /// The plugin's process.
    pub plugin: Fate,
    /// What the plugin started; not checked by default.
    pub children: Option<Fate>,
    /// The plugin's sockets; not checked by default.
    pub sockets: Option<Fate>,
}

/// Whether something is still there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is gone, or disappears within moments.
    #[default]
    Gone,
    /// It is there.
    Alive,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            app_versions: vec![1],
            tls: Tls::None,
            multiplex: false,
            start_timeout: Span::seconds(10),
            env: BTreeMap::new(),
            host_env: BTreeMap::new(),
            reattach: None,
        }
    }
}

impl Default for Reattach {
    fn default() -> Self {
        Self { test: false, protocol: "grpc".to_owned() }
    }
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

fn echo() -> String {
    "Probe/Echo".to_owned()
}
