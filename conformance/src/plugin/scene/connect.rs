//! Connections, right and wrong.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::case::Span;

/// See `Step::Alive`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Alive {
    /// How long it has to stay so, asked every 50 ms; once where nothing is said.
    pub throughout: Option<Span>,
}

/// How a connection is made.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Connect {
    /// Its name; `main` where nothing is said.
    pub name: Option<String>,
    /// That it has to be refused: no health check comes through, and the connection is cut.
    pub refused: bool,
    /// Speaks plaintext although mutual TLS was asked for.
    pub plaintext: bool,
    /// What it shows.
    pub certificate: Certificate,
    /// Which TLS it speaks.
    pub versions: TlsVersions,
    /// The server name that it asks for; `localhost` where nothing is said, none where it is empty.
    pub server_name: Option<String>,
    /// The `:authority` of its calls.
    pub authority: Option<String>,
    /// That `h2` was agreed on by ALPN.
    pub alpn: bool,
    /// The time limit.
    pub within: Option<Span>,
}

/// What a connection of the host shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Certificate {
    /// The host's own, with its key.
    #[default]
    Right,
    /// None.
    None,
    /// Another one, with its key.
    Other,
    /// The host's own with another key: what a thief of the environment has.
    Stolen,
}

/// Which versions of TLS a connection speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    #[serde(rename = "both")]
    Both,
    /// 1.2 alone.
    #[serde(rename = "1.2")]
    Only12,
    /// 1.3 alone.
    #[serde(rename = "1.3")]
    Only13,
}

/// See `Step::Disconnect`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Disconnect {
    /// Which; `main` where nothing is said.
    pub name: Option<String>,
    /// For how long the process has to live afterwards, before the next step.
    pub alone_for: Option<Span>,
}

/// See `Step::Raw`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Raw {
    /// What is sent, in hexadecimal digits; white space is left out.
    #[serde(default)]
    pub hex: String,
    /// What has to come of it.
    pub expect: RawWanted,
    /// How long that may take.
    #[serde(default)]
    pub within: Option<Span>,
}

/// What has to come of raw bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawWanted {
    /// Nothing is waited for: the connection is closed at once.
    Nothing,
    /// The plugin closes it.
    Closed,
    /// The plugin closes it, and no TLS handshake message came before.
    NoTls,
}
