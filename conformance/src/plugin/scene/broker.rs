//! Brokered connections.

use schemars::JsonSchema;
use serde::Deserialize;

use super::connect::Certificate;
use crate::case::Span;

/// See `Step::Broker`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Broker {
    /// On which connection; `main` where nothing is said.
    pub on: Option<String>,
}

/// See `Step::Offer`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Offer {
    /// What later steps call the id.
    pub name: String,
    /// How long the plugin waits until it accepts.
    #[serde(default)]
    pub delay: Option<Span>,
    /// On which connection the plugin is asked; `main` where nothing is said.
    #[serde(default)]
    pub on: Option<String>,
}

/// See `Step::Announced`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Announced {
    /// Which id, by the name that `offer` gave it.
    pub name: String,
    /// In which folder its socket is.
    pub folder: String,
}

/// See `Step::Serve`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Serve {
    /// The id.
    pub id: u32,
}

/// See `Step::Dial`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dial {
    /// Which id, by the name that `offer` gave it.
    pub name: String,
    /// What later steps call the connection; the id's name where nothing is said.
    #[serde(default)]
    pub connection: Option<String>,
    /// What is shown, under mutual TLS.
    #[serde(default)]
    pub certificate: Certificate,
    /// Speaks plaintext although mutual TLS was asked for.
    #[serde(default)]
    pub plaintext: bool,
    /// That nobody is reached: the connection is refused or cut.
    #[serde(default)]
    pub refused: bool,
    /// Opens the stream without a knock, and has to reach the main connection's services.
    #[serde(default)]
    pub without_knock: bool,
    /// How long it may take.
    #[serde(default)]
    pub within: Option<Span>,
}

/// See `Step::DialBack`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DialBack {
    /// The id of the host's side.
    pub id: u32,
    /// What the host does about it.
    #[serde(default)]
    pub host: HostAccepts,
    /// How long the host waits until it accepts.
    #[serde(default)]
    pub delay: Option<Span>,
    /// That the plugin's dial, or its first call, fails.
    #[serde(default)]
    pub fails: bool,
    /// The deadline of the call that asks the plugin; 8 s where nothing is said.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// How long the plugin waits at the least.
    #[serde(default)]
    pub not_before: Option<Span>,
    /// How long it may take.
    #[serde(default)]
    pub within: Option<Span>,
}

/// What the host does when the plugin dials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostAccepts {
    /// It accepts: announces a socket of its own, or acknowledges the knock and takes the stream.
    #[default]
    Serves,
    /// As `serves`, and under mutual TLS it shows a certificate that is not the announced one.
    ServesWithOtherCertificate,
    /// Nothing further: what no `serve` did before is not done.
    Nothing,
}

/// See `Step::Knock`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Knock {
    /// The name of an id that was offered.
    #[serde(default)]
    pub name: Option<String>,
    /// Or an id that nobody accepts.
    #[serde(default)]
    pub id: Option<u32>,
    /// That no acknowledgement without an error comes for so long.
    #[serde(default)]
    pub not_acknowledged: Option<Span>,
    /// Or what comes, be it nothing, for so long: any answer is right.
    #[serde(default)]
    pub whatever: Option<Span>,
}
