//! Where a plugin listens: the network and the address of a line or a reattach record.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::evidence::excerpt;

/// The longest path of a unix socket, in bytes: Linux has room for 108 with the closing zero.
pub const SOCKET_PATH_LIMIT: usize = 107;

/// The kind of socket on which a plugin listens.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Network {
    /// TCP on this machine.
    Tcp,
    /// A unix socket.
    Unix,
}

impl Network {
    /// The network with this name. Names are case-sensitive, as in go-plugin.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "tcp" => Some(Self::Tcp),
            "unix" => Some(Self::Unix),
            _ => None,
        }
    }

    /// The name that stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
        }
    }

    /// Whether a connection to such an address can be tried at all.
    ///
    /// # Errors
    ///
    /// For a unix socket an empty path and one above [`SOCKET_PATH_LIMIT`]; for TCP whatever
    /// [`tcp_address`] refuses.
    pub fn check(self, address: &str) -> Result<(), AddressError> {
        match self {
            Self::Tcp => tcp_address(address).map(drop),
            Self::Unix => check_socket_path(address),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads `host:port` into the address to connect to.
///
/// The host is an IP address, `localhost`, or empty. Like Go, an empty host and one that means
/// "all addresses" (`0.0.0.0`, `[::]`) are reached as `127.0.0.1`. Names are never looked up: a
/// plugin runs on this machine, and a name server has no say in where it listens.
pub fn tcp_address(address: &str) -> Result<SocketAddr, AddressError> {
    // This reads every ordinary address, and IPv6 with a numeric zone.
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

/// "All addresses" is where one listens, not where one connects. 127.0.0.1 also for IPv6: a socket
/// on `[::]` takes both, and it is there on machines where `[::1]` is switched off.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => (Ipv4Addr::LOCALHOST, address.port()).into(),
        false => address,
    }
}

fn check_socket_path(path: &str) -> Result<(), AddressError> {
    match path.len() {
        0 => Err(AddressError::PathEmpty),
        length if length > SOCKET_PATH_LIMIT => {
            Err(AddressError::PathTooLong { path: excerpt(path), length, limit: SOCKET_PATH_LIMIT })
        }
        _ => Ok(()),
    }
}

/// Why nobody can connect to an address. Whoever announced it is at fault.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AddressError {
    /// A TCP address with a host name other than `localhost`. The plugin must announce a number.
    HostName {
        /// The address.
        address: String,
    },
    /// A TCP address that is not `host:port` with a numeric port.
    NotHostAndPort {
        /// The address.
        address: String,
    },
    /// An empty path of a unix socket.
    PathEmpty,
    /// A unix socket's path that the system has no room for. A shorter folder for sockets helps
    /// (`PLUGIN_UNIX_SOCKET_DIR`, `TMPDIR`).
    PathTooLong {
        /// The path.
        path: String,
        /// Its length in bytes.
        length: usize,
        /// The greatest possible length, [`SOCKET_PATH_LIMIT`].
        limit: usize,
    },
}

impl AddressError {
    /// The stable name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::HostName { .. } => "address.host-name",
            Self::NotHostAndPort { .. } => "address.not-host-and-port",
            Self::PathEmpty => "address.path-empty",
            Self::PathTooLong { .. } => "address.path-too-long",
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostName { address } => write!(
                f,
                "tcp address \"{address}\" has a host name where only numbers and localhost are taken"
            ),
            Self::NotHostAndPort { address } => {
                write!(f, "tcp address \"{address}\" is not a host and a numeric port")
            }
            Self::PathEmpty => f.write_str("the path of the unix socket is empty"),
            Self::PathTooLong { path, length, limit } => write!(
                f,
                "the path of the unix socket has {length} bytes where the system allows {limit}: \"{path}\""
            ),
        }
    }
}

impl Error for AddressError {}

#[cfg(test)]
mod tests;
