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
mod address_bytes;
mod error;

pub use address::{AddressError, Network, SOCKET_PATH_LIMIT, tcp_address};
pub use address_bytes::AddressBytes;
pub use error::HandshakeError;

use crate::certificate::{self, CertificateFieldError};
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
    /// The socket's path, or `host:port`.
    pub address: AddressBytes,
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
    pub fn new(app_version: u32, network: Network, address: impl Into<AddressBytes>) -> Self {
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
    /// that is too short for a certificate is skipped, and so is everything after the seventh. One
    /// check is an addition: an address that cannot be connected to is an error here instead of
    /// later.
    pub fn parse(line: &[u8], expected: &Expectation<'_>) -> Result<Self, HandshakeError> {
        let text = trim(line);
        let fields: Vec<&[u8]> = text.split(|byte| *byte == b'|').take(7).collect();
        let [core_version, app_version, network, address, rest @ ..] = fields.as_slice() else {
            return Err(HandshakeError::Unrecognized { line: excerpt(line) });
        };

        if str::from_utf8(core_version).is_err() {
            return Err(HandshakeError::Unrecognized { line: excerpt(line) });
        }
        let core_version = parse_core_version(core_version)?;
        let app_version = parse_app_version(app_version, expected.app_versions)?;
        let network = str::from_utf8(network)
            .ok()
            .and_then(Network::from_name)
            .ok_or_else(|| HandshakeError::NetworkUnknown { got: excerpt(network) })?;
        network
            .check(address)
            .map_err(|cause| HandshakeError::Address { line: excerpt(text), cause })?;
        // A line of four fields means net/rpc: such a plugin is older than the choice of protocols.
        check_protocol(rest.first().unwrap_or(&PROTOCOL_NETRPC.as_bytes()), text)?;
        let certificate = rest.get(1).map_or(Ok(None), |field| parse_certificate(field))?;
        let multiplex = parse_multiplex(rest.get(2).copied(), expected.multiplex, text)?;

        Ok(Self {
            core_version,
            app_version,
            network,
            address: AddressBytes::from(*address),
            certificate,
            multiplex,
        })
    }

    /// Formats the line as a plugin prints it, without a line end.
    ///
    /// The line always has six fields, with an empty one if there is no certificate. It has a seventh
    /// only if [`multiplex`](Self::multiplex) is set.
    ///
    /// # Errors
    ///
    /// [`AddressError::Unannounceable`] if the address contains `|` or a line break.
    pub fn to_line(&self) -> Result<Vec<u8>, AddressError> {
        self.address.check_announceable()?;
        let mut line =
            format!("{}|{}|{}|", self.core_version, self.app_version, self.network).into_bytes();
        line.extend_from_slice(self.address.as_bytes());
        line.extend_from_slice(format!("|{PROTOCOL_GRPC}|").as_bytes());
        if let Some(der) = &self.certificate {
            line.extend_from_slice(certificate::encode_field(der).as_bytes());
        }
        if let Some(multiplex) = self.multiplex {
            line.extend_from_slice(format!("|{multiplex}").as_bytes());
        }
        Ok(line)
    }
}

/// Strips white space from both ends, as Go does: that of Unicode, and only where the bytes are UTF-8.
fn trim(line: &[u8]) -> &[u8] {
    let start = line
        .utf8_chunks()
        .next()
        .map_or(0, |chunk| chunk.valid().len() - chunk.valid().trim_start().len());
    let line = &line[start..];
    let end = line.utf8_chunks().last().filter(|chunk| chunk.invalid().is_empty());
    let end = end.map_or(0, |chunk| chunk.valid().len() - chunk.valid().trim_end().len());
    &line[..line.len() - end]
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

fn parse_core_version(field: &[u8]) -> Result<u32, HandshakeError> {
    let number = parse_number(field)
        .ok_or_else(|| HandshakeError::CoreVersionNotANumber { got: excerpt(field) })?;
    if number != i64::from(CORE_PROTOCOL_VERSION) {
        return Err(HandshakeError::CoreVersionUnsupported {
            got: excerpt(field),
            supported: CORE_PROTOCOL_VERSION,
        });
    }
    Ok(CORE_PROTOCOL_VERSION)
}

/// Parses what Go parses as an int: with i64, the same texts count as numbers, and so as a version
/// mismatch.
fn parse_number(field: &[u8]) -> Option<i64> {
    str::from_utf8(field).ok()?.parse().ok()
}

fn parse_app_version(field: &[u8], offered: &[u32]) -> Result<u32, HandshakeError> {
    let number = parse_number(field)
        .ok_or_else(|| HandshakeError::AppVersionNotANumber { got: excerpt(field) })?;
    offered.iter().copied().find(|version| i64::from(*version) == number).ok_or_else(|| {
        HandshakeError::AppVersionNotOffered { got: excerpt(field), offered: offered.to_vec() }
    })
}

fn check_protocol(field: &[u8], line: &[u8]) -> Result<(), HandshakeError> {
    match str::from_utf8(field) {
        Ok(PROTOCOL_GRPC) => Ok(()),
        Ok(PROTOCOL_NETRPC) => Err(HandshakeError::NetRpc { line: excerpt(line) }),
        _ => Err(HandshakeError::ProtocolUnknown { got: excerpt(field) }),
    }
}

fn parse_certificate(field: &[u8]) -> Result<Option<Vec<u8>>, HandshakeError> {
    if field.len() <= LONGEST_NON_CERTIFICATE {
        return Ok(None);
    }
    str::from_utf8(field)
        .map_err(|cause| CertificateFieldError::NotBase64 { offset: cause.valid_up_to() })
        .and_then(certificate::decode_field)
        .map(Some)
        .map_err(|cause| HandshakeError::Certificate { field: excerpt(field), cause })
}

fn parse_multiplex(
    field: Option<&[u8]>,
    wish: MultiplexWish,
    line: &[u8],
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
    match str::from_utf8(field).ok().and_then(parse_bool) {
        None => Err(HandshakeError::MultiplexNotABool { got: excerpt(field) }),
        Some(false) if required => Err(HandshakeError::MultiplexRefused { got: excerpt(field) }),
        answer => Ok(answer),
    }
}

#[cfg(test)]
mod tests;
