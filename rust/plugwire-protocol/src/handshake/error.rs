//! What is wrong with a handshake line.

use std::error::Error;
use std::fmt;

use super::AddressError;
use crate::certificate::CertificateFieldError;

/// Why a host refuses a plugin's handshake line.
///
/// Texts of the plugin are kept as [excerpts](crate::evidence::excerpt).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Nobody can connect to the announced address. The plugin misbehaves, or its folder for
    /// sockets has too long a path.
    Address {
        /// The whole line.
        line: String,
        /// What is wrong with the address.
        cause: AddressError,
    },
    /// The app protocol version is not a number. The plugin misbehaves.
    AppVersionNotANumber {
        /// The second field.
        got: String,
    },
    /// The plugin chose an app protocol version that this host did not offer. The two are
    /// incompatible: one of them is too old for the other.
    AppVersionNotOffered {
        /// The second field.
        got: String,
        /// What the host offered.
        offered: Vec<u32>,
    },
    /// The sixth field is long enough for a certificate and is none. The plugin misbehaves.
    Certificate {
        /// The sixth field.
        field: String,
        /// What is wrong with it.
        cause: CertificateFieldError,
    },
    /// The core protocol version is not a number. Nearly always a program that is no plugin and
    /// prints something with `|` in it.
    CoreVersionNotANumber {
        /// The first field.
        got: String,
    },
    /// The plugin speaks another version of the handshake itself. There is only 1 so far.
    CoreVersionUnsupported {
        /// The first field.
        got: String,
        /// What this host speaks, [`CORE_PROTOCOL_VERSION`](super::CORE_PROTOCOL_VERSION).
        supported: u32,
    },
    /// Multiplexing is required and the line does not mention it: the plugin is older than
    /// go-plugin 1.6.0, or its implementation does not know the feature.
    MultiplexMissing {
        /// The whole line.
        line: String,
    },
    /// The field for multiplexing is not a boolean. The plugin misbehaves.
    MultiplexNotABool {
        /// The seventh field.
        got: String,
    },
    /// Multiplexing is required and the plugin says that it does not do it.
    MultiplexRefused {
        /// The seventh field.
        got: String,
    },
    /// The plugin speaks net/rpc, go-plugin's Go-only protocol, which plugwire does not. Its author
    /// must serve it over gRPC (go-plugin: `ServeConfig.GRPCServer`).
    NetRpc {
        /// The whole line.
        line: String,
    },
    /// The network is neither `unix` nor `tcp`. The plugin misbehaves.
    NetworkUnknown {
        /// The third field.
        got: String,
    },
    /// The protocol is neither `grpc` nor `netrpc`. The plugin misbehaves.
    ProtocolUnknown {
        /// The fifth field.
        got: String,
    },
    /// Not a handshake line: fewer than four fields, or not UTF-8. Usually a program that is no
    /// plugin, or a plugin that prints something else first.
    Unrecognized {
        /// The whole line.
        line: String,
    },
}

impl HandshakeError {
    /// The stable name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "start.address",
            Self::AppVersionNotANumber { .. } => "start.app-version-not-a-number",
            Self::AppVersionNotOffered { .. } => "start.app-version",
            Self::Certificate { .. } => "start.certificate",
            Self::CoreVersionNotANumber { .. } => "start.core-version-not-a-number",
            Self::CoreVersionUnsupported { .. } => "start.core-version",
            Self::MultiplexMissing { .. } => "start.multiplex-missing",
            Self::MultiplexNotABool { .. } => "start.multiplex-not-a-bool",
            Self::MultiplexRefused { .. } => "start.multiplex-refused",
            Self::NetRpc { .. } => "start.netrpc",
            Self::NetworkUnknown { .. } => "start.network",
            Self::ProtocolUnknown { .. } => "start.protocol",
            Self::Unrecognized { .. } => "start.unrecognized",
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { line, .. } => {
                write!(f, "the plugin announced an address that cannot be connected to: \"{line}\"")
            }
            Self::AppVersionNotANumber { got } => {
                write!(f, "the plugin's app protocol version \"{got}\" is not a number")
            }
            Self::AppVersionNotOffered { got, offered } => {
                write!(f, "the plugin speaks app protocol version {got}, this host ")?;
                write_versions(f, offered)
            }
            Self::Certificate { field, .. } => {
                write!(f, "the plugin's certificate cannot be read: \"{field}\"")
            }
            Self::CoreVersionNotANumber { got } => {
                write!(f, "the plugin's core protocol version \"{got}\" is not a number")
            }
            Self::CoreVersionUnsupported { got, supported } => write!(
                f,
                "the plugin speaks core protocol version {got}, this host only {supported}"
            ),
            Self::MultiplexMissing { line } => write!(
                f,
                "multiplexing is required and the plugin does not know it (go-plugin does since 1.6.0): \"{line}\""
            ),
            Self::MultiplexNotABool { got } => {
                write!(f, "the plugin's field for multiplexing is not a boolean: \"{got}\"")
            }
            Self::MultiplexRefused { got } => {
                write!(f, "multiplexing is required and the plugin answers \"{got}\"")
            }
            Self::NetRpc { line } => write!(
                f,
                "the plugin speaks net/rpc, and plugwire speaks go-plugin's gRPC protocol only: \"{line}\""
            ),
            Self::NetworkUnknown { got } => {
                write!(f, "the plugin listens on network \"{got}\", known are unix and tcp")
            }
            Self::ProtocolUnknown { got } => {
                write!(f, "the plugin speaks protocol \"{got}\", this host only grpc")
            }
            Self::Unrecognized { line } => {
                write!(f, "not a handshake line of a plugin: \"{line}\"")
            }
        }
    }
}

impl Error for HandshakeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Address { cause, .. } => Some(cause),
            Self::Certificate { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

/// Ends a sentence about a host: "offered 1, 2".
fn write_versions(f: &mut fmt::Formatter<'_>, versions: &[u32]) -> fmt::Result {
    let Some((first, others)) = versions.split_first() else {
        return f.write_str("offered none");
    };
    write!(f, "offered {first}")?;
    others.iter().try_for_each(|version| write!(f, ", {version}"))
}
