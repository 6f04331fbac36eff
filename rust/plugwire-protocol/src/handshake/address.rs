//! The network and the address at which a plugin listens, in a handshake line or a reattach record.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use thiserror::Error;

use crate::evidence::excerpt;

/// The longest path of a Unix socket, in bytes. Linux has room for 108 including the final zero.
pub const SOCKET_PATH_LIMIT: usize = 107;

/// The kind of socket on which a plugin listens.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Network {
    /// TCP on this machine.
    Tcp,
    /// A Unix socket.
    Unix,
}

impl Network {
    /// Returns the network with this name. Names are case-sensitive, as in go-plugin.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "tcp" => Some(Self::Tcp),
            "unix" => Some(Self::Unix),
            _ => None,
        }
    }

    /// Returns the name that is used on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
        }
    }

    /// Checks that a connection to this address is possible at all.
    ///
    /// # Errors
    ///
    /// Rejects the path of a Unix socket that is empty or longer than [`SOCKET_PATH_LIMIT`], and a
    /// TCP address that [`tcp_address`] rejects.
    pub fn check(self, address: impl AsRef<[u8]>) -> Result<(), AddressError> {
        let address = address.as_ref();
        match self {
            Self::Tcp => match str::from_utf8(address) {
                Ok(address) => tcp_address(address).map(drop),
                Err(_) => Err(AddressError::NotHostAndPort { address: excerpt(address) }),
            },
            Self::Unix => check_socket_path(address),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Parses `host:port` into the address to connect to.
///
/// The host is an IP address, `localhost`, or empty. As in Go, an empty host and the unspecified
/// addresses (`0.0.0.0`, `[::]`) mean `127.0.0.1`. Names are never resolved: a plugin runs on this
/// machine, and a name server must not decide where its host connects to.
pub fn tcp_address(address: &str) -> Result<SocketAddr, AddressError> {
    // This parses ordinary addresses, and IPv6 with a numeric zone.
    if let Ok(numeric) = address.parse::<SocketAddr>() {
        return Ok(reachable(numeric));
    }
    let malformed = || AddressError::NotHostAndPort { address: excerpt(address) };
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let port: u16 = port.parse().map_err(|_| malformed())?;
    let in_brackets = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let bare = in_brackets.unwrap_or(host);

    if bare.is_empty() || bare.eq_ignore_ascii_case("localhost") {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    match bare.parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv4() || in_brackets.is_some() => Ok(reachable((ip, port).into())),
        Err(_) if !bare.contains([':', '[', ']']) => {
            Err(AddressError::HostName { address: excerpt(address) })
        }
        _ => Err(malformed()),
    }
}

/// Replaces an unspecified address, which is valid for listening only, with the loopback address.
/// 127.0.0.1 also serves for `[::]`: a socket there accepts IPv4, too, and 127.0.0.1 exists on
/// machines where `[::1]` is disabled.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => (Ipv4Addr::LOCALHOST, address.port()).into(),
        false => address,
    }
}

fn check_socket_path(path: &[u8]) -> Result<(), AddressError> {
    match path.len() {
        0 => Err(AddressError::PathEmpty),
        length if length > SOCKET_PATH_LIMIT => {
            Err(AddressError::PathTooLong { path: excerpt(path), length, limit: SOCKET_PATH_LIMIT })
        }
        _ => Ok(()),
    }
}

/// Why an address cannot be connected to. The side that announced it is at fault.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum AddressError {
    /// A TCP address has a host name other than `localhost`. The plugin must announce an IP address.
    #[error(
        "tcp address \"{address}\" has a host name, but only IP addresses and localhost are accepted"
    )]
    HostName {
        /// The address.
        address: String,
    },
    /// A TCP address is not `host:port` with a numeric port.
    #[error("tcp address \"{address}\" is not a host and a numeric port")]
    NotHostAndPort {
        /// The address.
        address: String,
    },
    /// The path of a Unix socket is empty.
    #[error("the path of the unix socket is empty")]
    PathEmpty,
    /// The path of a Unix socket is longer than the system allows. Use a directory with a shorter path
    /// (`PLUGIN_UNIX_SOCKET_DIR`, `TMPDIR`).
    #[error(
        "the path of the unix socket has {length} bytes where the system allows {limit}: \"{path}\""
    )]
    PathTooLong {
        /// The path.
        path: String,
        /// Its length in bytes.
        length: usize,
        /// The greatest length, [`SOCKET_PATH_LIMIT`].
        limit: usize,
    },
    /// The path of a socket contains `|` or a line break, and the handshake line has no escaping. Use a directory with
    /// another path (`PLUGIN_UNIX_SOCKET_DIR`, `TMPDIR`).
    #[error("a handshake line cannot carry `|` or a line break, which are in \"{address}\"")]
    Unannounceable {
        /// The address.
        address: String,
    },
}

impl AddressError {
    /// Returns the stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::HostName { .. } => "address.host-name",
            Self::NotHostAndPort { .. } => "address.not-host-and-port",
            Self::PathEmpty => "address.path-empty",
            Self::PathTooLong { .. } => "address.path-too-long",
            Self::Unannounceable { .. } => "address.unannounceable",
        }
    }
}

#[cfg(test)]
mod tests;
