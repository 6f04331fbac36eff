//! The reattach record: how a host finds a plugin that somebody else started.
//!
//! go-plugin has no JSON of its own for it (`ReattachConfig` holds an interface); this is the one of
//! Terraform's `TF_REATTACH_PROVIDERS`, an object with one entry for each plugin:
//!
//! ```json
//! {"greeter":{"Protocol":"grpc","ProtocolVersion":1,"Pid":4242,"Test":true,
//!             "Addr":{"Network":"unix","String":"/tmp/plugin123"}}}
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::evidence::excerpt;
use crate::handshake::{AddressError, Network, PROTOCOL_NETRPC};

/// Where a running plugin is. go-plugin: `ReattachConfig`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Reattach {
    /// The app protocol version; 0 in records that do not say.
    /// go-plugin: `ReattachConfig.ProtocolVersion`.
    pub protocol_version: u32,
    /// The plugin's process; 0 in records that do not say. go-plugin: `ReattachConfig.Pid`.
    pub pid: u32,
    /// Whether the plugin runs in test mode: then its end is not the host's business.
    /// go-plugin: `ReattachConfig.Test`.
    pub test: bool,
    /// The kind of socket.
    pub network: Network,
    /// The socket's path, or `host:port`.
    pub address: String,
}

impl Reattach {
    /// A JSON object in one line with this record under the plugin's name.
    pub fn to_json(&self, name: &str) -> String {
        let record = json!({
            "Protocol": "grpc",
            "ProtocolVersion": self.protocol_version,
            "Pid": self.pid,
            "Test": self.test,
            "Addr": { "Network": self.network.as_str(), "String": self.address },
        });
        Value::Object(Map::from_iter([(name.to_owned(), record)])).to_string()
    }

    /// A line for a shell that sets an environment variable to [`Reattach::to_json`], to be pasted before a host is
    /// started there: `export TF_REATTACH_PROVIDERS='{"greeter":…}'`.
    pub fn to_shell_line(&self, variable: &str, name: &str) -> String {
        format!("export {variable}='{}'", self.to_json(name).replace('\'', r"'\''"))
    }
}

/// Reads the records of all plugins by name.
///
/// `Protocol` and `Addr` are required, everything else has the default of its type; members that
/// are not known are skipped. The address is checked as in a handshake line.
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

/// One entry of the object, and how its members are read.
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
        let address = self.text("/Addr/String")?;
        network.check(address).map_err(|cause| ReattachError::Address {
            name: excerpt(self.name),
            address: excerpt(address),
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
            address: address.to_owned(),
        })
    }

    fn check_protocol(&self) -> Result<(), ReattachError> {
        match self.text("/Protocol")? {
            "grpc" => Ok(()),
            // go-plugin takes the empty name for net/rpc.
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

/// Why there is no reattach record. Whoever wrote the JSON is at fault.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ReattachError {
    /// Nobody can connect to the address.
    Address {
        /// The plugin's name in the object.
        name: String,
        /// The address.
        address: String,
        /// What is wrong with it.
        cause: AddressError,
    },
    /// A member is missing or of the wrong type.
    Member {
        /// The plugin's name in the object.
        name: String,
        /// The member as a JSON pointer, such as `/Addr/Network`.
        member: &'static str,
        /// Its value, if it is there.
        got: Option<String>,
    },
    /// The plugin speaks net/rpc, go-plugin's Go-only protocol, which plugwire does not. A record
    /// with an empty protocol means the same.
    NetRpc {
        /// The plugin's name in the object.
        name: String,
    },
    /// JSON, but not an object.
    NotAnObject {
        /// The text.
        json: String,
    },
    /// Not JSON, or nested too deeply.
    NotJson {
        /// The text.
        json: String,
        /// The line, from 1, where it stops being JSON.
        line: usize,
        /// The column of that line.
        column: usize,
    },
    /// The protocol is neither `grpc` nor `netrpc`.
    ProtocolUnknown {
        /// The plugin's name in the object.
        name: String,
        /// The protocol.
        got: String,
    },
}

impl ReattachError {
    /// The stable name of this error.
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

impl fmt::Display for ReattachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { name, address, .. } => {
                write!(f, "plugin \"{name}\" cannot be reached at \"{address}\"")
            }
            Self::Member { name, member, got: None } => {
                write!(f, "the record of plugin \"{name}\" has no {member}")
            }
            Self::Member { name, member, got: Some(got) } => {
                write!(f, "the record of plugin \"{name}\" has a wrong {member}: {got}")
            }
            Self::NetRpc { name } => write!(
                f,
                "plugin \"{name}\" speaks net/rpc, and plugwire speaks go-plugin's gRPC protocol only"
            ),
            Self::NotAnObject { json } => {
                write!(f, "the reattach text is not a JSON object: \"{json}\"")
            }
            Self::NotJson { json, line, column } => write!(
                f,
                "the reattach text stops being JSON at line {line}, column {column}: \"{json}\""
            ),
            Self::ProtocolUnknown { name, got } => {
                write!(f, "plugin \"{name}\" speaks protocol \"{got}\", plugwire only grpc")
            }
        }
    }
}

impl Error for ReattachError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Address { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
