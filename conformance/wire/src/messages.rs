//! The messages on the wire, and their form as JSON in case files and drivers' answers. Bytes are base64 there, as in
//! protobuf's own JSON; numbers are numbers.
//!
//! They are written down here by hand, from the specification (GRPC-1) and the probe's `.proto`, so that no generated code
//! is shared with what is judged.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// No fields: `google.protobuf.Empty` and `plugin.Empty`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Empty {}

/// `plugin.ConnInfo`: an announcement, or in multiplexed sessions a knock.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnInfo {
    /// The broker's id.
    #[prost(uint32, tag = "1")]
    pub service_id: u32,
    /// `unix` or `tcp`.
    #[prost(string, tag = "2")]
    pub network: String,
    /// Where to connect.
    #[prost(string, tag = "3")]
    pub address: String,
    /// In place of both, where streams are multiplexed.
    #[prost(message, optional, tag = "4")]
    pub knock: Option<Knock>,
}

/// `plugin.Knock`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knock {
    /// Always true.
    #[prost(bool, tag = "1")]
    pub knock: bool,
    /// Set in the answer.
    #[prost(bool, tag = "2")]
    pub ack: bool,
    /// Why the answer is no.
    #[prost(string, tag = "3")]
    pub error: String,
}

/// `plugin.StdioData`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StdioData {
    /// 1 is standard output, 2 standard error.
    #[prost(int32, tag = "1")]
    pub channel: i32,
    /// What was printed.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "base64_bytes")]
    pub data: Vec<u8>,
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheckRequest {
    /// The service asked for.
    #[prost(string, tag = "1")]
    pub service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheckResponse {
    /// 0 unknown, 1 serving, 2 not serving, 3 service unknown.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// `grpc.health.v1.HealthListResponse`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthListResponse {
    /// Each service's status.
    #[prost(map = "string, message", tag = "1")]
    pub statuses: HashMap<String, HealthCheckResponse>,
}

/// `grpc.reflection.*.ServerReflectionRequest`, as far as the suite asks.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReflectionRequest {
    /// Not looked at by anybody.
    #[prost(string, tag = "1")]
    pub host: String,
    /// Asks for the file that defines a symbol.
    #[prost(string, optional, tag = "4")]
    pub file_containing_symbol: Option<String>,
    /// Asks for all services, whatever the text.
    #[prost(string, optional, tag = "7")]
    pub list_services: Option<String>,
}

/// `grpc.reflection.*.ServerReflectionResponse`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReflectionResponse {
    /// As it was asked.
    #[prost(string, tag = "1")]
    pub valid_host: String,
    /// The request.
    #[prost(message, optional, tag = "2")]
    pub original_request: Option<ReflectionRequest>,
    /// Descriptors.
    #[prost(message, optional, tag = "4")]
    pub file_descriptor_response: Option<FileDescriptors>,
    /// Services.
    #[prost(message, optional, tag = "6")]
    pub list_services_response: Option<ServiceList>,
    /// In place of an answer.
    #[prost(message, optional, tag = "7")]
    pub error_response: Option<ReflectionError>,
}

/// Encoded `google.protobuf.FileDescriptorProto`s.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileDescriptors {
    /// One a file.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub file_descriptor_proto: Vec<Vec<u8>>,
}

/// The services of a connection.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceList {
    /// Each.
    #[prost(message, repeated, tag = "1")]
    pub service: Vec<ServiceName>,
}

/// A service.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceName {
    /// Its full name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// Why reflection has no answer.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReflectionError {
    /// A gRPC code.
    #[prost(int32, tag = "1")]
    pub error_code: i32,
    /// Its text.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// The probe's `Payload`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Payload {
    /// Anything.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "base64_bytes")]
    pub data: Vec<u8>,
}

/// Asks for messages.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DownloadRequest {
    /// How many.
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// Of how many bytes each.
    #[prost(uint64, tag = "2")]
    pub size: u64,
}

/// What an upload came to.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UploadSummary {
    /// How many messages.
    #[prost(uint64, tag = "1")]
    pub messages: u64,
    /// How many bytes in them.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
}

/// Asks for an error.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FailRequest {
    /// Its code.
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// Its text.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Its details.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(with = "base64_bytes")]
    pub details: Vec<u8>,
}

/// Names a call that never answers.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HangRequest {
    /// Its name.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// Waits for what becomes of it.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AwaitHangRequest {
    /// Its name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Whether it is to be cancelled, too.
    #[prost(bool, tag = "2")]
    pub cancelled: bool,
    /// The longest wait, in milliseconds.
    #[prost(uint64, tag = "3")]
    pub wait_ms: u64,
}

/// What became of it.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HangReport {
    /// It has begun.
    #[prost(bool, tag = "1")]
    pub started: bool,
    /// It was cancelled.
    #[prost(bool, tag = "2")]
    pub cancelled: bool,
    /// `canceled`, `deadline` or `dropped`.
    #[prost(string, tag = "3")]
    pub reason: String,
}

/// What to print.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrintRequest {
    /// To standard output.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "base64_bytes")]
    pub stdout: Vec<u8>,
    /// To standard error.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "base64_bytes")]
    pub stderr: Vec<u8>,
}

/// How to end.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DieRequest {
    /// `exit:N`, `panic`, `panic-thread`, `kill`, `abort` or `stop`.
    #[prost(string, tag = "1")]
    pub how: String,
}

/// What the plugin was given.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InspectReport {
    /// Its arguments.
    #[prost(string, repeated, tag = "1")]
    pub args: Vec<String>,
    /// Its environment.
    #[prost(map = "string, string", tag = "2")]
    pub env: HashMap<String, String>,
    /// Its working directory.
    #[prost(string, tag = "3")]
    pub cwd: String,
    /// This call's deadline, 0 where there is none.
    #[prost(uint64, tag = "4")]
    pub deadline_ms: u64,
    /// This call's metadata.
    #[prost(map = "string, string", tag = "5")]
    pub metadata: HashMap<String, String>,
    /// Standard input is at its end.
    #[prost(bool, tag = "6")]
    pub stdin_eof: bool,
    /// Its process.
    #[prost(uint32, tag = "7")]
    pub pid: u32,
    /// Its open descriptors.
    #[prost(uint64, tag = "8")]
    pub open_files: u64,
}

/// Asks for a brokered connection that the other side accepts.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OfferRequest {
    /// When it begins to accept.
    #[prost(uint64, tag = "1")]
    pub delay_ms: u64,
    /// Without the session's TLS.
    #[prost(bool, tag = "2")]
    pub raw: bool,
}

/// Names it.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OfferReply {
    /// The broker's id.
    #[prost(uint32, tag = "1")]
    pub id: u32,
}

/// Asks the other side to dial, and to call there.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DialBackRequest {
    /// The id.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// What to echo.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "base64_bytes")]
    pub data: Vec<u8>,
    /// How many messages to chat.
    #[prost(uint64, tag = "3")]
    pub count: u64,
    /// Of how many bytes.
    #[prost(uint64, tag = "4")]
    pub size: u64,
}

/// What that came to.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DialBackReport {
    /// The dial came back with a connection.
    #[prost(bool, tag = "1")]
    pub dialled: bool,
    /// Or with this.
    #[prost(string, tag = "2")]
    pub dial_error: String,
    /// How long it took.
    #[prost(uint64, tag = "3")]
    pub dial_ms: u64,
    /// The echo's status.
    #[prost(uint32, tag = "4")]
    pub code: u32,
    /// Its text.
    #[prost(string, tag = "5")]
    pub message: String,
    /// How long the echo took.
    #[prost(uint64, tag = "6")]
    pub call_ms: u64,
    /// What came back.
    #[prost(bytes = "vec", tag = "7")]
    #[serde(with = "base64_bytes")]
    pub data: Vec<u8>,
    /// How many messages of the chat came back intact.
    #[prost(uint64, tag = "8")]
    pub messages: u64,
    /// Which id answered, where it said so.
    #[prost(uint32, tag = "9")]
    pub served_id: u32,
}

/// Asks for a callback within a callback.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NestRequest {
    /// Where the next call goes.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// How many are still to come.
    #[prost(uint32, tag = "2")]
    pub depth: u32,
    /// What the innermost answers.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(with = "base64_bytes")]
    pub data: Vec<u8>,
}

/// Stops serving an id.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReleaseRequest {
    /// The id.
    #[prost(uint32, tag = "1")]
    pub id: u32,
}

/// Full method names.
pub mod method {
    /// The broker's stream.
    pub const START_STREAM: &str = "/plugin.GRPCBroker/StartStream";
    /// What the plugin prints.
    pub const STREAM_STDIO: &str = "/plugin.GRPCStdio/StreamStdio";
    /// The end.
    pub const SHUTDOWN: &str = "/plugin.GRPCController/Shutdown";
    /// Health.
    pub const CHECK: &str = "/grpc.health.v1.Health/Check";
    /// Health, and its changes.
    pub const WATCH: &str = "/grpc.health.v1.Health/Watch";
    /// Health of everything.
    pub const LIST: &str = "/grpc.health.v1.Health/List";
    /// Reflection.
    pub const REFLECT_V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    /// Reflection, older.
    pub const REFLECT_V1ALPHA: &str =
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
    /// The probe's service, as the beginning of its methods.
    pub const PROBE: &str = "/plugwire.probe.v1.Probe/";
    /// The broker probe's.
    pub const BROKER_PROBE: &str = "/plugwire.probe.v1.BrokerProbe/";
}

/// Translates one message.
trait Translate {
    fn encode(json: Value) -> Result<Bytes, String>;
    fn decode(bytes: &[u8]) -> Result<Value, String>;
}

impl<M: Message + Default + Serialize + DeserializeOwned> Translate for M {
    fn encode(json: Value) -> Result<Bytes, String> {
        let message: M = serde_json::from_value(json).map_err(|error| error.to_string())?;
        Ok(message.encode_to_vec().into())
    }

    fn decode(bytes: &[u8]) -> Result<Value, String> {
        let message = M::decode(bytes).map_err(|error| error.to_string())?;
        serde_json::to_value(message).map_err(|error| error.to_string())
    }
}

type Encode = fn(Value) -> Result<Bytes, String>;
type Decode = fn(&[u8]) -> Result<Value, String>;

/// The request's and the answer's translators of each method that the suite knows.
fn translators(full_method: &str) -> Option<(Encode, Decode, Encode, Decode)> {
    fn pair<I: Translate, O: Translate>() -> (Encode, Decode, Encode, Decode) {
        (I::encode, I::decode, O::encode, O::decode)
    }
    let probe = full_method.strip_prefix(method::PROBE);
    let broker = full_method.strip_prefix(method::BROKER_PROBE);
    Some(match (probe.or(broker).unwrap_or(full_method), probe.is_some(), broker.is_some()) {
        (method::START_STREAM, ..) => pair::<ConnInfo, ConnInfo>(),
        (method::STREAM_STDIO, ..) => pair::<Empty, StdioData>(),
        (method::SHUTDOWN, ..) => pair::<Empty, Empty>(),
        (method::CHECK | method::WATCH, ..) => pair::<HealthCheckRequest, HealthCheckResponse>(),
        (method::LIST, ..) => pair::<Empty, HealthListResponse>(),
        (method::REFLECT_V1 | method::REFLECT_V1ALPHA, ..) => {
            pair::<ReflectionRequest, ReflectionResponse>()
        }
        ("Echo" | "Chat", true, _) => pair::<Payload, Payload>(),
        ("Download", true, _) => pair::<DownloadRequest, Payload>(),
        ("Upload", true, _) => pair::<Payload, UploadSummary>(),
        ("Fail", true, _) => pair::<FailRequest, Payload>(),
        ("Hang" | "HangStream", true, _) => pair::<HangRequest, Payload>(),
        ("AwaitHang", true, _) => pair::<AwaitHangRequest, HangReport>(),
        ("Print", true, _) => pair::<PrintRequest, Payload>(),
        ("Die", true, _) => pair::<DieRequest, Payload>(),
        ("Inspect", true, _) => pair::<Empty, InspectReport>(),
        ("Offer", _, true) => pair::<OfferRequest, OfferReply>(),
        ("DialBack", _, true) => pair::<DialBackRequest, DialBackReport>(),
        ("Nest", _, true) => pair::<NestRequest, Payload>(),
        ("Release", _, true) => pair::<ReleaseRequest, Empty>(),
        _ => return None,
    })
}

/// A request's bytes from its JSON. A method that the suite does not know has only the empty request.
pub fn encode_request(full_method: &str, json: &Value) -> Result<Bytes, String> {
    match translators(full_method) {
        Some((encode, ..)) => encode(json.clone()),
        None if json.as_object().is_some_and(|members| members.is_empty()) => Ok(Bytes::new()),
        None => Err(format!("the messages of {full_method} are not known here")),
    }
}

/// A request's JSON from its bytes.
pub fn decode_request(full_method: &str, bytes: &[u8]) -> Result<Value, String> {
    let (_, decode, ..) = translators(full_method).ok_or("an unknown method")?;
    decode(bytes)
}

/// An answer's bytes from its JSON.
pub fn encode_reply(full_method: &str, json: &Value) -> Result<Bytes, String> {
    let (_, _, encode, _) = translators(full_method).ok_or("an unknown method")?;
    encode(json.clone())
}

/// An answer's JSON from its bytes.
pub fn decode_reply(full_method: &str, bytes: &[u8]) -> Result<Value, String> {
    let (.., decode) = translators(full_method).ok_or("an unknown method")?;
    decode(bytes)
}

/// Bytes as base64 text.
mod base64_bytes {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_becomes_bytes_and_comes_back() {
        let knock = json!({"service_id": 300, "knock": {"knock": true}});
        let bytes = encode_request(method::START_STREAM, &knock).unwrap();
        assert_eq!(bytes.as_ref(), [0x08, 0xac, 0x02, 0x22, 0x02, 0x08, 0x01]);
        let back = decode_request(method::START_STREAM, &bytes).unwrap();
        assert_eq!(back["knock"]["knock"], true);
        assert_eq!(back["service_id"], 300);
    }

    #[test]
    fn a_member_that_no_message_has_is_refused() {
        let request = json!({"dato": ""});
        assert!(encode_request("/plugwire.probe.v1.Probe/Echo", &request).is_err());
        assert!(encode_request("/some.Other/Method", &request).is_err());
        assert!(encode_request("/some.Other/Method", &json!({})).unwrap().is_empty());
    }
}
