//! The plugin's process: how it is started, and what is wanted of its line, its pipes and its end.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::case::Span;

/// How the plugin is started.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Start {
    /// The cookie that it gets.
    pub cookie: Cookie,
    /// `PLUGIN_PROTOCOL_VERSIONS`; `{version}` where nothing is said.
    pub versions: Option<String>,
    /// Whether the host asks for mutual TLS, and with which key.
    pub tls: HostTls,
    /// `PLUGIN_MULTIPLEX_GRPC`.
    pub multiplex: Option<String>,
    /// Further variables, which win over all others.
    pub env: BTreeMap<String, String>,
    /// Variables that are not set, `PLUGIN_MIN_PORT` for one.
    pub unset: Vec<String>,
    /// A directory for sockets, made for the case and named in `PLUGIN_UNIX_SOCKET_DIR`.
    pub socket_dir: bool,
    /// What standard input is.
    pub stdin: Stdin,
    /// How long it takes to the line, for `session`.
    pub within: Option<Span>,
}

/// The cookie that a plugin gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cookie {
    /// The right one.
    #[default]
    Right,
    /// The right name with another value.
    Wrong,
    /// The right name with an empty value.
    Empty,
    /// None.
    Missing,
}

/// What the host shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostTls {
    /// Nothing: it does not ask for mutual TLS.
    #[default]
    None,
    /// A new certificate on P-256.
    Mutual,
    /// A certificate on P-521 that is an authority's, as Go's hosts have.
    MutualP521,
}

/// What standard input is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stdin {
    /// `/dev/null`: at its end from the beginning.
    #[default]
    Null,
    /// A pipe that stays open until `close-stdin`.
    Pipe,
}

/// What is wanted of the handshake line. It has four fields or more in any case.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LineWanted {
    /// How many fields it has.
    pub fields: Option<usize>,
    /// Field 1, to the letter.
    pub core: Option<String>,
    /// Field 2, as a number.
    pub version: Option<String>,
    /// Field 2 is an app version of the subject.
    pub own_version: bool,
    /// Field 3.
    pub network: Option<Vec<String>>,
    /// In which directory the socket of field 4 is.
    pub folder: Option<String>,
    /// The range of the port in field 4, inclusive.
    pub ports: Option<(u16, u16)>,
    /// Field 5.
    pub protocol: Option<String>,
    /// Field 6.
    pub certificate: Option<CertificateWanted>,
    /// Field 7: any of these.
    pub multiplex: Option<Vec<String>>,
    /// The time limit.
    pub within: Option<Span>,
}

/// What is wanted of the sixth field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateWanted {
    /// It is empty.
    None,
    /// The DER of a certificate for `localhost`, in base64 without padding.
    Good,
    /// As `good`, and another than in the line before.
    New,
}

/// See `Step::Exit`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Exit {
    /// The time limit.
    pub within: Option<Span>,
    /// The exit status; anything where nothing is said.
    pub code: Option<i32>,
    /// What the exit status must not be.
    pub code_is_not: Option<i32>,
    /// That both pipes are at their end soon after, and no process is left.
    pub alone: bool,
}

/// What is wanted of the pipes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Output {
    /// Standard output has nothing at all.
    pub stdout_empty: bool,
    /// Standard output has the handshake line, and nothing before or after it.
    pub stdout_only_line: bool,
    /// Standard error has something.
    pub stderr_something: bool,
    /// In lines of standard error that are JSON objects, `@message`, `@level` and `@timestamp` are texts.
    pub stderr_texts: bool,
    /// Each line of standard error that begins like a JSON object is one, with hclog's message and time.
    pub stderr_hclog: bool,
    /// Each of these has one of hclog's levels.
    pub stderr_levels: bool,
    /// One of these has this level.
    pub stderr_level: Option<String>,
    /// No line of standard error is longer than this many bytes.
    pub stderr_longest_line: Option<usize>,
    /// How long to wait until it is so.
    pub within: Option<Span>,
}

/// What is wanted of the announced socket.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SocketWanted {
    /// Its permissions, such as `0660`.
    pub mode: Option<String>,
    /// Its group's number.
    pub group: Option<String>,
    /// It is not there any more.
    pub gone: bool,
    /// The sockets of brokered connections as well: nothing is left in its directory.
    pub folder_empty: bool,
}
