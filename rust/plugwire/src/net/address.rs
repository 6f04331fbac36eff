//! Where a side listens, and how the other side connects to it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use plugwire_protocol::handshake::{AddressBytes, AddressError, Network, tcp_address};
use tokio::net::{TcpStream, UnixStream};

use super::io::BoxIo;

/// The address of a listening socket. Displays as printable text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A port. go-plugin listens on one on Windows only; a plugwire plugin does so on request.
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(_) => write!(f, "{}", self.to_bytes()),
            Address::Tcp(address) => write!(f, "{address}"),
        }
    }
}

impl Address {
    /// Reads the two fields of a handshake line or an announcement.
    pub(crate) fn parse(network: Network, address: &AddressBytes) -> Result<Self, AddressError> {
        network.check(address)?;
        Ok(match network {
            Network::Unix => Address::Unix(AsRef::<Path>::as_ref(address).to_owned()),
            Network::Tcp => Address::Tcp(tcp_address(&address.to_string_lossy())?),
        })
    }

    /// Returns the address as a handshake line or a reattach record has it.
    pub(crate) fn to_bytes(&self) -> AddressBytes {
        match self {
            Address::Unix(path) => AddressBytes::from(path.as_path()),
            Address::Tcp(address) => AddressBytes::from(address.to_string()),
        }
    }

    /// Returns the directory of a socket that has one.
    #[cfg(feature = "host")]
    pub(crate) fn directory(&self) -> Option<&Path> {
        match self {
            Address::Unix(path) => path.parent(),
            Address::Tcp(_) => None,
        }
    }

    pub(crate) fn network(&self) -> Network {
        match self {
            Address::Unix(_) => Network::Unix,
            Address::Tcp(_) => Network::Tcp,
        }
    }

    pub(crate) async fn connect(&self) -> io::Result<BoxIo> {
        Ok(self.connect_to_process().await?.0)
    }

    /// Connects, and returns the pid of the listening process where the system knows it.
    pub(crate) async fn connect_to_process(&self) -> io::Result<(BoxIo, Option<i32>)> {
        match self {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                let pid = stream.peer_cred().ok().and_then(|credentials| credentials.pid());
                Ok((Box::new(stream), pid))
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), None))
            }
        }
    }
}
