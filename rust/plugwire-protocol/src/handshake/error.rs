//! Why a handshake line is rejected.

use thiserror::Error;

use super::AddressError;
use crate::certificate::CertificateFieldError;

/// Why a host rejects a plugin's handshake line.
///
/// Text from the plugin is kept as an [excerpt](crate::evidence::excerpt).
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The announced address cannot be connected to. The plugin misbehaves, or the path of its socket
    /// directory is too long.
    #[error("the plugin announced an address that cannot be connected to: \"{line}\"")]
    Address {
        /// The whole line.
        line: String,
        /// What is wrong with the address.
        #[source]
        cause: AddressError,
    },
    /// The app protocol version is not a number. The plugin misbehaves.
    #[error("the plugin's app protocol version \"{got}\" is not a number")]
    AppVersionNotANumber {
        /// The second field.
        got: String,
    },
    /// The plugin chose an app protocol version that this host did not offer. The two are
    /// incompatible: one is too old for the other.
    #[error("the plugin speaks app protocol version {got}, but this host offers {}", list(offered))]
    AppVersionNotOffered {
        /// The second field.
        got: String,
        /// The versions that the host offered.
        offered: Vec<u32>,
    },
    /// The sixth field is long enough for a certificate, but is not one. The plugin misbehaves.
    #[error("the plugin's certificate cannot be read: \"{field}\"")]
    Certificate {
        /// The sixth field.
        field: String,
        /// What is wrong with the field.
        #[source]
        cause: CertificateFieldError,
    },
    /// The core protocol version is not a number. The program is most likely not a plugin, and prints
    /// text that contains `|`.
    #[error("the plugin's core protocol version \"{got}\" is not a number")]
    CoreVersionNotANumber {
        /// The first field.
        got: String,
    },
    /// The plugin uses another version of the handshake. So far, version 1 is the only one.
    #[error(
        "the plugin speaks core protocol version {got}, but this host supports only {supported}"
    )]
    CoreVersionUnsupported {
        /// The first field.
        got: String,
        /// The version that this host supports, [`CORE_PROTOCOL_VERSION`](super::CORE_PROTOCOL_VERSION).
        supported: u32,
    },
    /// Multiplexing is required, but the line has no field for it. The plugin is older than go-plugin
    /// 1.6.0, or its implementation does not support multiplexing.
    #[error(
        "multiplexing is required, but the plugin does not support it (go-plugin does since 1.6.0): \"{line}\""
    )]
    MultiplexMissing {
        /// The whole line.
        line: String,
    },
    /// The field for multiplexing is not a boolean. The plugin misbehaves.
    #[error("the plugin's field for multiplexing is not a boolean: \"{got}\"")]
    MultiplexNotABool {
        /// The seventh field.
        got: String,
    },
    /// Multiplexing is required, but the plugin declines it.
    #[error("multiplexing is required, but the plugin answers \"{got}\"")]
    MultiplexRefused {
        /// The seventh field.
        got: String,
    },
    /// The plugin speaks net/rpc, go-plugin's protocol for Go only, which plugwire does not support.
    /// The plugin's author must serve it over gRPC (go-plugin: `ServeConfig.GRPCServer`).
    #[error(
        "the plugin speaks net/rpc, and plugwire speaks go-plugin's gRPC protocol only: \"{line}\""
    )]
    NetRpc {
        /// The whole line.
        line: String,
    },
    /// The network is neither `unix` nor `tcp`. The plugin misbehaves.
    #[error("the plugin listens on network \"{got}\", but this host supports only unix and tcp")]
    NetworkUnknown {
        /// The third field.
        got: String,
    },
    /// The protocol is neither `grpc` nor `netrpc`. The plugin misbehaves.
    #[error("the plugin speaks protocol \"{got}\", but this host supports only grpc")]
    ProtocolUnknown {
        /// The fifth field.
        got: String,
    },
    /// The line has fewer than four fields. The program is usually not a plugin, or it
    /// prints something else before its handshake line.
    #[error("not a handshake line: \"{line}\"")]
    Unrecognized {
        /// The whole line.
        line: String,
    },
}

impl HandshakeError {
    /// Returns the stable code of this error.
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

/// Formats versions as "1, 2", or "none".
fn list(versions: &[u32]) -> String {
    if versions.is_empty() {
        return "none".to_owned();
    }
    versions.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}
