//! Where a side listens, and how the other side connects to it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use plugwire_protocol::evidence::excerpt;
use plugwire_protocol::handshake::{AddressBytes, AddressError, Network, tcp_address};
use tokio::net::unix::UCred;
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

/// Is printable: what could disturb a terminal is escaped, because a plugin chooses its address.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => f.write_str(&excerpt(path.as_os_str().as_bytes())),
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

    /// Connects, and returns what the system knows of the listening process: not over TCP.
    pub(crate) async fn connect_to_process(&self) -> io::Result<(BoxIo, Option<UCred>)> {
        match self {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                let process = stream.peer_cred().ok();
                Ok((Box::new(stream), process))
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), None))
            }
        }
    }
}
