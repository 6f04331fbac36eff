//! The handshake line: what a plugin prints on its standard output to say where it listens.
//!
//! ```text
//! 1|5|unix|/tmp/plugin123|grpc|MIIB…|true
//! │ │ │    │              │    │     └ multiplexing, only if the host asked
//! │ │ │    │              │    └ the plugin's certificate (may be empty)
//! │ │ │    │              └ protocol
//! │ │ └────┴ where it listens
//! │ └ app protocol version
//! └ core protocol version
//! ```
//!
//! The format has no escaping: an address that holds `|` or a line break cannot be announced.

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

/// A sixth field up to this length is not a certificate: plugins from before mutual TLS put other
/// things there, and every host skips them.
const LONGEST_NON_CERTIFICATE: usize = 50;

/// One handshake line of the gRPC protocol.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HandshakeLine {
    /// Always [`CORE_PROTOCOL_VERSION`] in a line that was parsed.
    pub core_version: u32,
    /// The app protocol version that the plugin chose. Version 0 is a real version.
    pub app_version: u32,
    /// The kind of socket.
    pub network: Network,
    /// The socket's path, or `host:port`. Must not contain `|` or a line break.
    pub address: String,
    /// The plugin's certificate (DER) under mutual TLS.
    pub certificate: Option<Vec<u8>>,
    /// Whether the plugin multiplexes brokered connections. `None`: the line says nothing about
    /// it, or the host did not ask. A plugin must leave it `None` unless the host asked: hosts
    /// before go-plugin 1.6.0 take a seventh field for a part of the certificate.
    pub multiplex: Option<bool>,
}

/// What a host accepts in a handshake line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expectation<'a> {
    /// The app protocol versions that the host offered.
    /// go-plugin: the keys of `ClientConfig.VersionedPlugins`.
    pub app_versions: &'a [u32],
    /// Whether the host asked for multiplexing. go-plugin: `ClientConfig.GRPCBrokerMultiplex`.
    pub multiplex: MultiplexWish,
}

/// What a host wants to know about multiplexing.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum MultiplexWish {
    /// Not asked for: the field is never looked at.
    #[default]
    No,
    /// Asked for, but a plugin that says nothing or `false` is taken as it is.
    Prefer,
    /// Asked for, and a plugin without it is refused, as go-plugin's host does.
    Require,
}

impl HandshakeLine {
    /// Reads the first line of a plugin's standard output, with or without its line end.
    ///
    /// Makes every check that go-plugin's host makes, in the same order, and is as lenient: white
    /// space around the line does not matter, versions may have a sign or leading zeros, a sixth
    /// field that is too short for a certificate is skipped, and so is everything after the
    /// seventh. Two checks are ours: an address to which nobody can connect is an error here and
    /// not later, and a line that is not UTF-8 is no handshake line.
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
        // Four fields are how plugins said net/rpc before there was a choice.
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

    /// The line as a plugin prints it, without a line end.
    ///
    /// Always six fields, the certificate's empty if there is none; a seventh only if
    /// [`multiplex`](Self::multiplex) is set.
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

/// A boolean as go-plugin reads it (Go: `strconv.ParseBool`): `1 t T TRUE true True` and
/// `0 f F FALSE false False`, nothing else.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn parse_core_version(field: &str) -> Result<u32, HandshakeError> {
    // i64 is Go's int: what is a number there, and so a mismatch, is one here.
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
