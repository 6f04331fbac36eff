//! The files in `conformance/vectors` as types. The JSON Schemas are generated from these types, and unknown members are
//! an error.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Returns the directory of the files.
pub(crate) fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../conformance/vectors")
}

pub(crate) fn read<F: DeserializeOwned>(name: &str) -> F {
    let path = directory().join(format!("{name}.json"));
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{name}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A file of vectors.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for the schema, and for people")]
pub(crate) struct File<C> {
    format: Format,
    about: String,
    pub(crate) cases: Vec<C>,
}

/// A file of vectors with shared certificates.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for the schema, and for people")]
pub(crate) struct Certificates {
    format: Format,
    about: String,
    pub(crate) certificates: BTreeMap<String, Identity>,
    pub(crate) cases: Vec<Certificate>,
}

/// The format's number. There is only one format so far.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "u32")]
#[schemars(extend("const" = 1))]
struct Format(#[expect(dead_code, reason = "checked while parsing")] u32);

impl TryFrom<u32> for Format {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        if number == 1 { Ok(Self(number)) } else { Err("a format other than 1") }
    }
}

/// Bytes, given as text or as a sequence of parts.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Bytes {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Part {
    Text(String),
    Base64 { base64: String },
    Repeat { repeat: String, times: usize },
}

impl Bytes {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone().into_bytes(),
            Part::Base64 { base64 } => STANDARD.decode(base64).expect("base64"),
            Part::Repeat { repeat, times } => repeat.repeat(*times).into_bytes(),
        };
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Parts(parts) => parts.iter().flat_map(part).collect(),
        }
    }
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "`why` is for people")]
pub(crate) struct HandshakeLine {
    pub(crate) name: String,
    pub(crate) clause: Vec<String>,
    why: Option<String>,
    pub(crate) host: Asking,
    pub(crate) stdout: Bytes,
    pub(crate) line: Option<Line>,
    pub(crate) error: Option<LineError>,
    go_plugin: Option<GoHost>,
}

/// What a host offers and asks for.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asking {
    pub(crate) versions: Vec<u32>,
    pub(crate) multiplex: bool,
    pub(crate) mutual_tls: bool,
}

/// The content of a line.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) version: u32,
    pub(crate) network: String,
    pub(crate) address: String,
    pub(crate) certificate_sha256: Option<String>,
    pub(crate) multiplex: Option<bool>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LineError {
    Address,
    AppVersion,
    AppVersionNotANumber,
    Certificate,
    CertificateMissing,
    CertificateUnasked,
    CoreVersion,
    CoreVersionNotANumber,
    MultiplexMissing,
    MultiplexNotABool,
    MultiplexRefused,
    Netrpc,
    Network,
    Protocol,
    Unrecognized,
}

/// The deviating behaviour of a host in Go.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum GoHost {
    Accepts,
    Panics,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "`why` is for people")]
pub(crate) struct Negotiation {
    pub(crate) name: String,
    pub(crate) clause: Vec<String>,
    why: Option<String>,
    pub(crate) own: Vec<u32>,
    pub(crate) offered: Option<String>,
    pub(crate) chosen: u32,
    pub(crate) skipped: Option<Vec<String>>,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(tag = "role", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(dead_code, reason = "`why` is for people, `go_plugin` for Go")]
pub(crate) enum Environment {
    Host {
        name: String,
        clause: Vec<String>,
        why: Option<String>,
        config: Box<HostConfig>,
        set: BTreeMap<String, String>,
        absent: Vec<String>,
        go_plugin: Option<String>,
    },
    Plugin {
        name: String,
        clause: Vec<String>,
        why: Option<String>,
        cookie: Cookie,
        environment: BTreeMap<String, String>,
        concludes: Option<Box<Conclusions>>,
        refuses: Option<Refusal>,
        go_plugin: Option<String>,
    },
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cookie {
    pub(crate) key: String,
    pub(crate) value: String,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostConfig {
    pub(crate) cookie: Cookie,
    pub(crate) versions: Vec<u32>,
    pub(crate) ports: Ports,
    pub(crate) multiplex: bool,
    pub(crate) client_certificate: Option<String>,
    pub(crate) socket_group: Option<String>,
    pub(crate) socket_dir: Option<String>,
    pub(crate) inherited: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ports {
    pub(crate) min: u16,
    pub(crate) max: u16,
}

#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Conclusions {
    pub(crate) offered: Vec<u32>,
    pub(crate) multiplex_field: bool,
    pub(crate) multiplex: bool,
    pub(crate) mutual_tls: bool,
    pub(crate) socket_dir: Option<String>,
    pub(crate) socket_group: Option<String>,
    pub(crate) ports: PortChoice,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(untagged)]
pub(crate) enum PortChoice {
    Range(Ports),
    Word(PortWord),
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PortWord {
    Any,
    Error,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Refusal {
    ClientCertificate,
    Cookie,
    Misconfigured,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the key is for those who serve with it")]
pub(crate) struct Identity {
    pub(crate) pem: String,
    key: String,
    pub(crate) sha256: String,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(dead_code, reason = "`why` is for people, `go_plugin` for Go")]
pub(crate) enum Certificate {
    Field {
        name: String,
        clause: Vec<String>,
        why: Option<String>,
        field: String,
        certificate: Option<String>,
        error: Option<String>,
    },
    Variable {
        name: String,
        clause: Vec<String>,
        why: Option<String>,
        pem: String,
        certificate: Option<String>,
        error: Option<String>,
    },
    Peer {
        name: String,
        clause: Vec<String>,
        why: Option<String>,
        announced: String,
        presented: String,
        key: String,
        result: Verdict,
        go_plugin: Option<Verdict>,
    },
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Accept,
    Refuse,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "`why` is for people, `go_plugin` for Go")]
pub(crate) struct LogLines {
    pub(crate) name: String,
    pub(crate) clause: Vec<String>,
    why: Option<String>,
    pub(crate) stderr: Bytes,
    pub(crate) entries: Vec<LogEntry>,
    go_plugin: Option<GoLog>,
}

/// An entry of a log. Only a record has fields, and optionally a module and a timestamp.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogEntry {
    pub(crate) level: String,
    pub(crate) message: Bytes,
    pub(crate) fields: Option<Map<String, Value>>,
    pub(crate) module: Option<String>,
    pub(crate) timestamp: Option<String>,
    #[serde(default)]
    pub(crate) pieces: bool,
}

/// What a host in Go logs instead, if it does not crash.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "for Go")]
enum GoLog {
    Entries(Vec<LogEntry>),
    Word(GoHost),
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "`why` is for people, `go_plugin` for Go")]
pub(crate) struct ReattachRecords {
    pub(crate) name: String,
    pub(crate) clause: Vec<String>,
    why: Option<String>,
    pub(crate) json: String,
    pub(crate) records: Option<BTreeMap<String, Record>>,
    pub(crate) error: Option<String>,
    go_plugin: Option<String>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) pid: u32,
    pub(crate) test: bool,
    pub(crate) network: String,
    pub(crate) address: String,
}

/// A message of the broker's stream, or a conversation. Only the format is checked here; `sdk-go-compat/vectors` plays it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(dead_code, reason = "played in Go")]
pub(crate) enum Broker {
    Message {
        name: String,
        clause: Vec<String>,
        why: Option<String>,
        hex: String,
        canonical: Option<bool>,
        message: Option<ConnInfo>,
        error: Option<bool>,
    },
    Sequence {
        name: String,
        clause: Vec<String>,
        why: Option<String>,
        multiplex: bool,
        steps: Vec<BrokerStep>,
    },
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "played in Go")]
pub(crate) struct ConnInfo {
    service_id: u32,
    #[serde(default)]
    network: String,
    #[serde(default)]
    address: String,
    knock: Option<Knock>,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "played in Go")]
struct Knock {
    knock: bool,
    ack: bool,
    error: String,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[expect(dead_code, reason = "played in Go")]
pub(crate) enum BrokerStep {
    Do { r#do: BrokerAction, id: u32 },
    Sends { sends: ConnInfo },
    Receives { receives: ConnInfo },
    Peer { peer: PeerAction, id: u32 },
    Outcome { outcome: Outcome, id: u32 },
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BrokerAction {
    Accept,
    Dial,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PeerAction {
    Connects,
    IsConnectedTo,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Connected,
    Failed,
}

/// A frame of yamux, or a conversation. `sdk-go-compat/vectors` plays it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(dead_code, reason = "played in Go")]
pub(crate) enum Yamux {
    Frame {
        name: String,
        clause: Vec<String>,
        why: Option<String>,
        hex: String,
        version: u8,
        r#type: u8,
        flags: u16,
        stream: u32,
        length: u32,
        payload: Option<String>,
    },
    Sequence {
        name: String,
        clause: Vec<String>,
        why: Option<String>,
        role: YamuxRole,
        steps: Vec<YamuxStep>,
    },
}

/// The client is the side that connected: the host.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum YamuxRole {
    Client,
    Server,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[expect(dead_code, reason = "played in Go")]
pub(crate) enum YamuxStep {
    Do { r#do: YamuxAction, hex: Option<String> },
    Sends { sends: String },
    Receives { receives: String },
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum YamuxAction {
    Accept,
    Ends,
    Open,
    Read,
    Write,
}

/// A message of gRPC, or a call byte by byte. `sdk-go-compat/vectors` plays it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(dead_code, reason = "played in Go")]
pub(crate) enum Grpc {
    Message {
        name: String,
        clause: Vec<String>,
        why: Option<String>,
        hex: String,
        r#type: String,
        message: String,
    },
    Exchange {
        name: String,
        clause: Vec<String>,
        why: Option<String>,
        send: String,
        answer: Option<String>,
        status: u32,
    },
}
