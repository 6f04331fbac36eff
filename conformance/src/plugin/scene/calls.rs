//! Calls, and what the plugin prints.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::case::Span;
use crate::matching::Wanted;

/// A call and its expected answer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Call {
    /// `package.Service/Method`; Probe and BrokerProbe need no package.
    pub method: String,
    /// The connection. Default: `main`.
    #[serde(default)]
    pub on: Option<String>,
    /// The request, as JSON; bytes in base64.
    #[serde(default = "nothing")]
    pub request: Value,
    /// Fills the request's member `data` with this many bytes.
    #[serde(default)]
    pub fill: Option<usize>,
    /// Metadata that is sent.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The deadline that is sent as `grpc-timeout`.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// The status: one of these names. Default: `OK`.
    #[serde(default = "ok")]
    pub code: Vec<String>,
    /// The status's text.
    #[serde(default)]
    pub message: Option<Wanted>,
    /// What the first message of the answer has to have.
    #[serde(default)]
    pub reply: Option<Wanted>,
    /// That the reply's member `data` is what was sent.
    #[serde(default)]
    pub same: bool,
    /// What the answer's headers have to have.
    #[serde(default)]
    pub headers: Option<Wanted>,
    /// What its trailers have to have.
    #[serde(default)]
    pub trailers: Option<Wanted>,
    /// The time limit.
    #[serde(default)]
    pub within: Option<Span>,
}

/// See `Step::Concurrently`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Concurrently {
    /// How many.
    pub calls: usize,
    /// The method, with a streamed answer that stays open.
    pub method: String,
    /// Its request.
    #[serde(default = "nothing")]
    pub request: Value,
    /// What the first message of each has to have.
    pub reply: Wanted,
    /// How long it may take until all have their first message.
    #[serde(default)]
    pub within: Option<Span>,
}

/// A call that is left open.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Open {
    /// Its name.
    pub name: String,
    /// As in [`Call`].
    pub method: String,
    /// The connection. Default: `main`.
    #[serde(default)]
    pub on: Option<String>,
    /// The only request.
    #[serde(default = "nothing")]
    pub request: Value,
    /// The deadline that is sent as `grpc-timeout`.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// See `Step::Receive`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Receive {
    /// Which open call.
    pub name: String,
    /// What the next message has to have.
    #[serde(default)]
    pub reply: Option<Wanted>,
    /// The time limit.
    #[serde(default)]
    pub within: Option<Span>,
}

/// See `Step::Silent`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Silent {
    /// Which open call.
    pub name: String,
    /// For how long.
    pub throughout: Span,
}

/// See `Step::Shutdown`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Shutdown {
    /// The connection. Default: `main`.
    pub on: Option<String>,
}

/// See `Step::Print`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Print {
    /// To standard output.
    pub stdout: String,
    /// To standard error.
    pub stderr: String,
    /// To standard output, all 256 bytes in order, this many times.
    pub every_byte: usize,
    /// To standard output, this many bytes.
    pub fill: usize,
    /// The time limit.
    pub within: Option<Span>,
}

/// See `Step::Printed`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Printed {
    /// Which open call of `StreamStdio`; `stdio` where nothing is said.
    pub name: Option<String>,
    /// Everything that arrived on STDOUT since the call began.
    pub stdout: Option<String>,
    /// Everything that arrived on STDERR since the call began.
    pub stderr: Option<String>,
    /// As in [`Print`].
    pub every_byte: usize,
    /// As in [`Print`].
    pub fill: usize,
    /// That `stderr` may come by the pipe of standard error as well.
    pub or_pipe: bool,
    /// For how long no more than that may come, afterwards.
    pub then_silent: Option<Span>,
    /// The time limit.
    pub within: Option<Span>,
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

fn ok() -> Vec<String> {
    vec!["OK".to_owned()]
}
