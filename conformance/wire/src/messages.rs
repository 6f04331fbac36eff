//! The messages on the wire, and their JSON form in case files and drivers' answers: bytes are base64, as in protobuf's own
//! JSON, and numbers are numbers.
//!
//! `build.rs` generates the types from `proto/` with prost-build alone, so that no code is shared with the library that the
//! suite judges. Only reflection is written by hand: of its `oneof`s the suite needs three members, as plain fields.

use bytes::Bytes;
use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use contracts::{grpc, plugin, plugwire};

pub use contracts::grpc::health::v1::*;
pub use contracts::plugin::*;
pub use contracts::plugwire::probe::v1::*;

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "generated; the comments are those of the .proto files"
)]
mod contracts {
    include!(concat!(env!("OUT_DIR"), "/contracts.rs"));
}

/// `grpc.reflection.*.ServerReflectionRequest`, as far as the suite uses it.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReflectionRequest {
    /// Ignored by servers.
    #[prost(string, tag = "1")]
    pub host: String,
    /// Asks for the file that defines this symbol.
    #[prost(string, optional, tag = "4")]
    pub file_containing_symbol: Option<String>,
    /// Asks for all services; the text does not matter.
    #[prost(string, optional, tag = "7")]
    pub list_services: Option<String>,
}

/// `grpc.reflection.*.ServerReflectionResponse`.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReflectionResponse {
    /// The host of the request.
    #[prost(string, tag = "1")]
    pub valid_host: String,
    /// The request.
    #[prost(message, optional, tag = "2")]
    pub original_request: Option<ReflectionRequest>,
    /// The descriptors.
    #[prost(message, optional, tag = "4")]
    pub file_descriptor_response: Option<FileDescriptors>,
    /// The services.
    #[prost(message, optional, tag = "6")]
    pub list_services_response: Option<ServiceList>,
    /// The error, instead of an answer.
    #[prost(message, optional, tag = "7")]
    pub error_response: Option<ReflectionError>,
}

/// Encoded `google.protobuf.FileDescriptorProto`s.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileDescriptors {
    /// One for each file.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub file_descriptor_proto: Vec<Vec<u8>>,
}

/// The services of a connection.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceList {
    /// The services.
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

/// The reason why reflection gave no answer.
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

/// Full names of methods.
pub mod method {
    /// The broker's stream.
    pub const START_STREAM: &str = "/plugin.GRPCBroker/StartStream";
    /// The stream of what the plugin prints.
    pub const STREAM_STDIO: &str = "/plugin.GRPCStdio/StreamStdio";
    /// The request to end.
    pub const SHUTDOWN: &str = "/plugin.GRPCController/Shutdown";
    /// A health check.
    pub const CHECK: &str = "/grpc.health.v1.Health/Check";
    /// Health, and every change of it.
    pub const WATCH: &str = "/grpc.health.v1.Health/Watch";
    /// The health of every service.
    pub const LIST: &str = "/grpc.health.v1.Health/List";
    /// Reflection, v1.
    pub const REFLECT_V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    /// Reflection, v1alpha.
    pub const REFLECT_V1ALPHA: &str =
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
    /// The prefix of the probe's methods.
    pub const PROBE: &str = "/plugwire.probe.v1.Probe/";
    /// The prefix of the broker probe's methods.
    pub const BROKER_PROBE: &str = "/plugwire.probe.v1.BrokerProbe/";
}

/// Translates a message between bytes and JSON.
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

/// How a method's request and answer are translated.
struct Method {
    request: (Encode, Decode),
    reply: (Encode, Decode),
}

impl Method {
    /// Returns the method of this name.
    fn named(full_method: &str) -> Option<Self> {
        match full_method {
            method::REFLECT_V1 | method::REFLECT_V1ALPHA => {
                Some(Self::new::<ReflectionRequest, ReflectionResponse>())
            }
            _ => generated_method(full_method),
        }
    }

    fn known(full_method: &str) -> Result<Self, String> {
        let method = Self::named(full_method);
        method.ok_or_else(|| format!("the messages of {full_method} are unknown"))
    }

    fn new<I: Translate, O: Translate>() -> Self {
        Self { request: (I::encode, I::decode), reply: (O::encode, O::decode) }
    }
}

include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// Encodes a request. A method that the suite does not know takes only the empty request.
pub fn encode_request(full_method: &str, json: &Value) -> Result<Bytes, String> {
    match Method::named(full_method) {
        None if json.as_object().is_some_and(|members| members.is_empty()) => Ok(Bytes::new()),
        _ => (Method::known(full_method)?.request.0)(json.clone()),
    }
}

/// Decodes a request.
pub fn decode_request(full_method: &str, bytes: &[u8]) -> Result<Value, String> {
    (Method::known(full_method)?.request.1)(bytes)
}

/// Encodes an answer.
pub fn encode_reply(full_method: &str, json: &Value) -> Result<Bytes, String> {
    (Method::known(full_method)?.reply.0)(json.clone())
}

/// Decodes an answer.
pub fn decode_reply(full_method: &str, bytes: &[u8]) -> Result<Value, String> {
    (Method::known(full_method)?.reply.1)(bytes)
}

/// Writes bytes as base64 text.
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
