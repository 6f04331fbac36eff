//! Brokered connections.

use schemars::JsonSchema;
use serde::Deserialize;

use super::connect::Certificate;
use crate::case::Span;

/// See `Step::Broker`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Broker {
    /// The connection. Default: `main`.
    pub on: Option<String>,
}

/// See `Step::Offer`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Offer {
    /// The name of the id in later steps.
    pub name: String,
    /// How long the plugin waits until it accepts.
    #[serde(default)]
    pub delay: Option<Span>,
    /// The connection on which the plugin is asked. Default: `main`.
    #[serde(default)]
    pub on: Option<String>,
}

/// See `Step::Announced`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Announced {
    /// The id, by the name that `offer` gave it.
    pub name: String,
    /// The directory of its socket.
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
    /// The id, by the name that `offer` gave it.
    pub name: String,
    /// The name of the connection in later steps. Default: the id's name.
    #[serde(default)]
    pub connection: Option<String>,
    /// The certificate that is presented under mutual TLS.
    #[serde(default)]
    pub certificate: Certificate,
    /// Speaks plaintext although mutual TLS was asked for.
    #[serde(default)]
    pub plaintext: bool,
    /// That no service is reached: the connection is refused or cut.
    #[serde(default)]
    pub refused: bool,
    /// Opens the stream without a knock, and has to reach the main connection's services.
    #[serde(default)]
    pub without_knock: bool,
    /// The time limit.
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
    /// The deadline of the call that asks the plugin. Default: 8 s.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// The minimum time that the plugin waits.
    #[serde(default)]
    pub not_before: Option<Span>,
    /// The time limit.
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
    /// Nothing more than earlier `serve` steps did.
    Nothing,
}

/// See `Step::Knock`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Knock {
    /// The name of an id that was offered.
    #[serde(default)]
    pub name: Option<String>,
    /// Or an id that is not accepted.
    #[serde(default)]
    pub id: Option<u32>,
    /// That no acknowledgement without an error arrives for this long.
    #[serde(default)]
    pub not_acknowledged: Option<Span>,
    /// Or that any answer, or none, arrives for this long.
    #[serde(default)]
    pub whatever: Option<Span>,
}
