//! The handshake line, which a plugin prints on standard output to announce where it listens.
//!
//! ```text
//! 1|5|unix|/tmp/plugin123|grpc|MIIB…|true
//! │ │ │    │              │    │     └ multiplexing, only if the host asked
//! │ │ │    │              │    └ the plugin's certificate, may be empty
//! │ │ │    │              └ protocol
//! │ │ └────┴ network and address
//! │ └ app protocol version
//! └ core protocol version
//! ```
//!
//! The format has no escaping, so an address that contains `|` or a line break cannot be announced.

mod address;
mod error;

pub use address::{AddressError, Network, SOCKET_PATH_LIMIT, tcp_address};
pub use error::HandshakeError;

use std::fmt;

use crate::certificate;
use crate::evidence::excerpt;

/// The version of the handshake itself. go-plugin: `CoreProtocolVersion`.
pub const CORE_PROTOCOL_VERSION: u32 = 1;

/// The only protocol that plugwire speaks. go-plugin: `ProtocolGRPC`.
const PROTOCOL_GRPC: &str = "grpc";

/// The protocol of plugins that never opted into gRPC. go-plugin: `ProtocolNetRPC`.
pub(crate) const PROTOCOL_NETRPC: &str = "netrpc";

/// A sixth field up to this length is not a certificate. Plugins older than mutual TLS put other data
/// there, and every host skips it.
const LONGEST_NON_CERTIFICATE: usize = 50;

/// A handshake line of the gRPC protocol.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct HandshakeLine {
    /// The version of the handshake. Always [`CORE_PROTOCOL_VERSION`] in a line that was parsed.
    pub core_version: u32,
    /// The app protocol version that the plugin chose. Version 0 is valid.
    pub app_version: u32,
    /// The kind of socket.
    pub network: Network,
    /// The socket's path, or `host:port`. Must not contain `|` or a line break.
    pub address: String,
    /// The plugin's certificate for mutual TLS, in DER.
    pub certificate: Option<Vec<u8>>,
    /// Whether the plugin multiplexes brokered connections. `None` if the line has no such field, or
    /// the host did not ask. A plugin must leave this `None` unless the host asked, because hosts
    /// before go-plugin 1.6.0 read a seventh field as part of the certificate.
    pub multiplex: Option<bool>,
}

/// What a host accepts in a handshake line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Expectation<'a> {
    /// The app protocol versions that the host offered.
    /// go-plugin: the keys of `ClientConfig.VersionedPlugins`.
    pub app_versions: &'a [u32],
    /// Whether the host asked for multiplexing. Default: [`MultiplexWish::No`].
    /// go-plugin: `ClientConfig.GRPCBrokerMultiplex`.
    pub multiplex: MultiplexWish,
}

impl<'a> Expectation<'a> {
    /// Expects one of these app protocol versions, and no multiplexing.
    #[must_use]
    pub const fn new(app_versions: &'a [u32]) -> Self {
        Self { app_versions, multiplex: MultiplexWish::No }
    }

    /// Sets whether the host asked for multiplexing.
    #[must_use]
    pub const fn with_multiplex(mut self, wish: MultiplexWish) -> Self {
        self.multiplex = wish;
        self
    }
}

/// Whether a host asks for multiplexed brokered connections.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum MultiplexWish {
    /// The host does not ask, and ignores the field.
    #[default]
    No,
    /// The host asks, and accepts a plugin that does not answer or answers `false`.
    Prefer,
    /// The host asks, and rejects a plugin without multiplexing, as go-plugin's host does.
    Require,
}

impl HandshakeLine {
    /// Creates a line without a certificate and without a field for multiplexing.
    #[must_use]
    pub fn new(app_version: u32, network: Network, address: impl Into<String>) -> Self {
        Self {
            core_version: CORE_PROTOCOL_VERSION,
            app_version,
            network,
            address: address.into(),
            certificate: None,
            multiplex: None,
        }
    }

    /// Sets the plugin's certificate for mutual TLS, in DER.
    #[must_use]
    pub fn with_certificate(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.certificate = Some(der.into());
        self
    }

    /// Sets the field for multiplexing.
    #[must_use]
    pub fn with_multiplex(mut self, multiplex: bool) -> Self {
        self.multiplex = Some(multiplex);
        self
    }

    /// Parses the first line of a plugin's standard output, with or without its line end.
    ///
    /// Makes every check that go-plugin's host makes, in the same order, and is as lenient: white
    /// space around the line is ignored, versions may have a sign or leading zeros, a sixth field
    /// that is too short for a certificate is skipped, and so is everything after the seventh. Two
    /// checks are additions: an address that cannot be connected to is an error here instead of
    /// later, and a line that is not UTF-8 is not a handshake line.
    pub fn parse(line: &[u8], expected: &Expectation<'_>) -> Result<Self, HandshakeError> {
        let unrecognized = || HandshakeError::Unrecognized { line: excerpt(line) };
        let text = str::from_utf8(line).map_err(|_| unrecognized())?.trim();
        let fields: Vec<&str> = text.split('|').take(7).collect();
        let [core_version, app_version, network, address, rest @ ..] = fields.as_slice() else {
            return Err(unrecognized());
        };

        let core_version = parse_core_version(core_version)?;
        let app_version = parse_app_version(app_version, expected.app_versions)?;
        let network = Network::from_name(network)
            .ok_or_else(|| HandshakeError::NetworkUnknown { got: excerpt(network) })?;
        network
            .check(address)
            .map_err(|cause| HandshakeError::Address { line: excerpt(text), cause })?;
        // A line of four fields means net/rpc: such a plugin is older than the choice of protocols.
        check_protocol(rest.first().unwrap_or(&PROTOCOL_NETRPC), text)?;
        let certificate = rest.get(1).map_or(Ok(None), |field| parse_certificate(field))?;
        let multiplex = parse_multiplex(rest.get(2).copied(), expected.multiplex, text)?;

        Ok(Self {
            core_version,
            app_version,
            network,
            address: (*address).to_owned(),
            certificate,
            multiplex,
        })
    }

    /// Formats the line as a plugin prints it, without a line end.
    ///
    /// The line always has six fields, with an empty one if there is no certificate. It has a seventh
    /// only if [`multiplex`](Self::multiplex) is set.
    pub fn to_line(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for HandshakeLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { core_version, app_version, network, address, .. } = self;
        write!(f, "{core_version}|{app_version}|{network}|{address}|{PROTOCOL_GRPC}|")?;
        if let Some(der) = &self.certificate {
            f.write_str(&certificate::encode_field(der))?;
        }
        match self.multiplex {
            Some(multiplex) => write!(f, "|{multiplex}"),
            None => Ok(()),
        }
    }
}

/// Parses a boolean as go-plugin does (`strconv.ParseBool`): `1 t T TRUE true True` and
/// `0 f F FALSE false False`, nothing else.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn parse_core_version(field: &str) -> Result<u32, HandshakeError> {
    // Go parses an int. With i64, the same texts count as numbers, and so as a version mismatch.
    let number: i64 =
        field.parse().map_err(|_| HandshakeError::CoreVersionNotANumber { got: excerpt(field) })?;
    if number != i64::from(CORE_PROTOCOL_VERSION) {
        return Err(HandshakeError::CoreVersionUnsupported {
            got: excerpt(field),
            supported: CORE_PROTOCOL_VERSION,
        });
    }
    Ok(CORE_PROTOCOL_VERSION)
}

fn parse_app_version(field: &str, offered: &[u32]) -> Result<u32, HandshakeError> {
    let number: i64 =
        field.parse().map_err(|_| HandshakeError::AppVersionNotANumber { got: excerpt(field) })?;
    offered.iter().copied().find(|version| i64::from(*version) == number).ok_or_else(|| {
        HandshakeError::AppVersionNotOffered { got: excerpt(field), offered: offered.to_vec() }
    })
}

fn check_protocol(field: &str, line: &str) -> Result<(), HandshakeError> {
    match field {
        PROTOCOL_GRPC => Ok(()),
        PROTOCOL_NETRPC => Err(HandshakeError::NetRpc { line: excerpt(line) }),
        _ => Err(HandshakeError::ProtocolUnknown { got: excerpt(field) }),
    }
}

fn parse_certificate(field: &str) -> Result<Option<Vec<u8>>, HandshakeError> {
    if field.len() <= LONGEST_NON_CERTIFICATE {
        return Ok(None);
    }
    certificate::decode_field(field)
        .map(Some)
        .map_err(|cause| HandshakeError::Certificate { field: excerpt(field), cause })
}

fn parse_multiplex(
    field: Option<&str>,
    wish: MultiplexWish,
    line: &str,
) -> Result<Option<bool>, HandshakeError> {
    let required = match wish {
        MultiplexWish::No => return Ok(None),
        MultiplexWish::Prefer => false,
        MultiplexWish::Require => true,
    };
    let Some(field) = field else {
        return match required {
            true => Err(HandshakeError::MultiplexMissing { line: excerpt(line) }),
            false => Ok(None),
        };
    };
    match parse_bool(field) {
        None => Err(HandshakeError::MultiplexNotABool { got: excerpt(field) }),
        Some(false) if required => Err(HandshakeError::MultiplexRefused { got: excerpt(field) }),
        answer => Ok(answer),
    }
}

#[cfg(test)]
mod tests;
