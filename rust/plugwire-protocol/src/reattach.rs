//! The reattach record, from which a host finds a plugin that is already running.
//!
//! go-plugin defines no JSON for the record (`ReattachConfig` holds an interface). This module uses the
//! format of Terraform's `TF_REATTACH_PROVIDERS`, an object with one entry for each plugin:
//!
//! ```json
//! {"greeter":{"Protocol":"grpc","ProtocolVersion":1,"Pid":4242,"Test":true,
//!             "Addr":{"Network":"unix","String":"/tmp/plugin123"}}}
//! ```
//!
//! JSON is text, and a path need not be. An address that is not UTF-8 has its bytes in a further member,
//! `"Base64"` beside `"String"`, which then only approximates it (U+FFFD for what is not text). Go hosts skip the
//! member, and cannot reach such a plugin by its record.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::evidence::excerpt;
use crate::handshake::{AddressBytes, AddressError, Network, PROTOCOL_NETRPC};

/// The process and the address of a running plugin. go-plugin: `ReattachConfig`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct Reattach {
    /// The app protocol version; 0 if the record does not have one.
    /// go-plugin: `ReattachConfig.ProtocolVersion`.
    pub protocol_version: u32,
    /// The plugin's process ID; 0 if the record does not have one. go-plugin: `ReattachConfig.Pid`.
    pub pid: u32,
    /// Whether the plugin runs in test mode. Then the host does not end it.
    /// go-plugin: `ReattachConfig.Test`.
    pub test: bool,
    /// The kind of socket.
    pub network: Network,
    /// The socket's path, or `host:port`.
    pub address: AddressBytes,
}

impl Reattach {
    /// Creates a record without a process ID, and not in test mode.
    #[must_use]
    pub fn new(protocol_version: u32, network: Network, address: impl Into<AddressBytes>) -> Self {
        Self { protocol_version, pid: 0, test: false, network, address: address.into() }
    }

    /// Sets the plugin's process ID.
    #[must_use]
    pub fn with_pid(mut self, pid: u32) -> Self {
        self.pid = pid;
        self
    }

    /// Sets whether the plugin runs in test mode.
    #[must_use]
    pub fn with_test(mut self, test: bool) -> Self {
        self.test = test;
        self
    }

    /// Formats a JSON object on one line, with this record under the plugin's name.
    pub fn to_json(&self, name: &str) -> String {
        let mut record = json!({
            "Protocol": "grpc",
            "ProtocolVersion": self.protocol_version,
            "Pid": self.pid,
            "Test": self.test,
            "Addr": { "Network": self.network.as_str(), "String": self.address.to_string_lossy() },
        });
        if self.address.to_str().is_none() {
            record["Addr"]["Base64"] = STANDARD.encode(&self.address).into();
        }
        Value::Object(Map::from_iter([(name.to_owned(), record)])).to_string()
    }

    /// Formats a line for a shell that sets an environment variable to [`Reattach::to_json`], to be
    /// pasted before the host is started there: `export TF_REATTACH_PROVIDERS='{"greeter":…}'`.
    pub fn to_shell_line(&self, variable: &str, name: &str) -> String {
        format!("export {variable}='{}'", self.to_json(name).replace('\'', r"'\''"))
    }
}

/// Parses the records of all plugins, by name.
///
/// `Protocol` and `Addr` are required. All other members have their type's default, and unknown
/// members are skipped. The address is checked as in a handshake line.
pub fn parse_map(json: &str) -> Result<BTreeMap<String, Reattach>, ReattachError> {
    let value: Value = serde_json::from_str(json).map_err(|cause| ReattachError::NotJson {
        json: excerpt(json),
        line: cause.line(),
        column: cause.column(),
    })?;
    let Value::Object(entries) = value else {
        return Err(ReattachError::NotAnObject { json: excerpt(json) });
    };
    entries
        .into_iter()
        .map(|(name, value)| {
            let record = Entry { name: &name, value: &value }.parse()?;
            Ok((name, record))
        })
        .collect()
}

/// An entry of the object, whose members are still to be parsed.
struct Entry<'a> {
    name: &'a str,
    value: &'a Value,
}

impl Entry<'_> {
    fn parse(&self) -> Result<Reattach, ReattachError> {
        self.check_protocol()?;
        let network = self.text("/Addr/Network")?;
        let network =
            Network::from_name(network).ok_or_else(|| self.wrong_member("/Addr/Network"))?;
        let address = self.address()?;
        network.check(&address).map_err(|cause| ReattachError::Address {
            name: excerpt(self.name),
            address: excerpt(&address),
            cause,
        })?;
        Ok(Reattach {
            protocol_version: self.number("/ProtocolVersion")?,
            pid: self.number("/Pid")?,
            test: match self.value.pointer("/Test") {
                None => false,
                Some(value) => value.as_bool().ok_or_else(|| self.wrong_member("/Test"))?,
            },
            network,
            address,
        })
    }

    /// The bytes come first: beside them, the text is only for people.
    fn address(&self) -> Result<AddressBytes, ReattachError> {
        let text = self.text("/Addr/String")?;
        match self.value.pointer("/Addr/Base64") {
            None => Ok(text.into()),
            Some(bytes) => bytes
                .as_str()
                .and_then(|bytes| STANDARD.decode(bytes).ok())
                .map(AddressBytes::from)
                .ok_or_else(|| self.wrong_member("/Addr/Base64")),
        }
    }

    fn check_protocol(&self) -> Result<(), ReattachError> {
        match self.text("/Protocol")? {
            "grpc" => Ok(()),
            // In go-plugin, the empty name means net/rpc.
            "" | PROTOCOL_NETRPC => Err(ReattachError::NetRpc { name: excerpt(self.name) }),
            other => Err(ReattachError::ProtocolUnknown {
                name: excerpt(self.name),
                got: excerpt(other),
            }),
        }
    }

    fn text(&self, pointer: &'static str) -> Result<&str, ReattachError> {
        let value = self.value.pointer(pointer).and_then(Value::as_str);
        value.ok_or_else(|| self.wrong_member(pointer))
    }

    fn number(&self, pointer: &'static str) -> Result<u32, ReattachError> {
        let Some(value) = self.value.pointer(pointer) else {
            return Ok(0);
        };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| self.wrong_member(pointer))
    }

    fn wrong_member(&self, pointer: &'static str) -> ReattachError {
        ReattachError::Member {
            name: excerpt(self.name),
            member: pointer,
            got: self.value.pointer(pointer).map(|value| excerpt(value.to_string())),
        }
    }
}

/// Why a reattach record cannot be parsed. The author of the JSON is at fault.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ReattachError {
    /// The address cannot be connected to.
    #[error("plugin \"{name}\" cannot be reached at \"{address}\"")]
    Address {
        /// The plugin's name in the object.
        name: String,
        /// The address.
        address: String,
        /// What is wrong with the address.
        #[source]
        cause: AddressError,
    },
    /// A member is missing or has the wrong type.
    #[error("the record of plugin \"{name}\" has {}", wrong(member, got.as_deref()))]
    Member {
        /// The plugin's name in the object.
        name: String,
        /// The member as a JSON pointer, such as `/Addr/Network`.
        member: &'static str,
        /// The member's value, or `None` if it is missing.
        got: Option<String>,
    },
    /// The plugin speaks net/rpc, go-plugin's protocol for Go only, which plugwire does not support.
    /// A record with an empty protocol means the same.
    #[error("plugin \"{name}\" speaks net/rpc, and plugwire speaks go-plugin's gRPC protocol only")]
    NetRpc {
        /// The plugin's name in the object.
        name: String,
    },
    /// The text is JSON, but not an object.
    #[error("the reattach text is not a JSON object: \"{json}\"")]
    NotAnObject {
        /// The text.
        json: String,
    },
    /// The text is not JSON, or is nested too deeply.
    #[error("the reattach text stops being JSON at line {line}, column {column}: \"{json}\"")]
    NotJson {
        /// The text.
        json: String,
        /// The line of the first error, counted from 1.
        line: usize,
        /// The column of the first error.
        column: usize,
    },
    /// The protocol is neither `grpc` nor `netrpc`.
    #[error("plugin \"{name}\" speaks protocol \"{got}\", but plugwire supports only grpc")]
    ProtocolUnknown {
        /// The plugin's name in the object.
        name: String,
        /// The protocol.
        got: String,
    },
}

impl ReattachError {
    /// Returns the stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "reattach.address",
            Self::Member { .. } => "reattach.member",
            Self::NetRpc { .. } => "reattach.netrpc",
            Self::NotAnObject { .. } => "reattach.not-an-object",
            Self::NotJson { .. } => "reattach.not-json",
            Self::ProtocolUnknown { .. } => "reattach.protocol",
        }
    }
}

/// Ends the message of [`ReattachError::Member`].
fn wrong(member: &str, got: Option<&str>) -> String {
    match got {
        Some(got) => format!("a wrong {member}: {got}"),
        None => format!("no {member}"),
    }
}

#[cfg(test)]
mod tests;
