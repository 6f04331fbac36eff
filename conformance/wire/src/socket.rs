//! Sockets of either kind.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A bidirectional byte stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection, whatever carries it.
pub type Io = Box<dyn Duplex>;

/// The address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`, as it was announced.
    Tcp(String),
}

impl Address {
    /// From a network and an address as they are announced.
    pub fn parse(network: &str, address: &str) -> Result<Self, String> {
        match network {
            "unix" => Ok(Self::Unix(PathBuf::from(address))),
            "tcp" => Ok(Self::Tcp(address.to_owned())),
            other => Err(format!("{other:?} is neither unix nor tcp")),
        }
    }

    /// `unix` or `tcp`.
    pub fn network(&self) -> &'static str {
        match self {
            Self::Unix(_) => "unix",
            Self::Tcp(_) => "tcp",
        }
    }

    /// Returns the path, if it has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp(_) => None,
        }
    }

    /// Connects. Waits as long as the system does: the caller bounds it.
    pub async fn connect(&self) -> io::Result<Io> {
        match self {
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Self::Tcp(address) => {
                // Only this machine: an address is a subject's word, and must not make the suite call others.
                let address: SocketAddr = loopback(address)?;
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
        }
    }
}

fn loopback(address: &str) -> io::Result<SocketAddr> {
    let refuse =
        |why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{address}: {why}"));
    let numeric = match address.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}"),
        None => address.replace("localhost:", "127.0.0.1:"),
    };
    let address: SocketAddr = numeric.parse().map_err(|_| refuse("not a numeric address"))?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(refuse("not on this machine")),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

/// Something that others connect to. Dropping it removes a unix socket's file.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    /// What to announce.
    pub address: Address,
    /// Leave the file behind.
    pub keep_file: bool,
}

#[derive(Debug)]
enum Kind {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Returns a unix socket at this path, which must not exist.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let address = Address::Unix(path.to_owned());
        Ok(Self { kind: Kind::Unix(listener), address, keep_file: false })
    }

    /// Returns a port of the loopback interface; 0 is any free one.
    pub async fn tcp(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = Address::Tcp(listener.local_addr()?.to_string());
        Ok(Self { kind: Kind::Tcp(listener), address, keep_file: false })
    }

    /// Returns the next connection. Cancel safe.
    pub async fn accept(&self) -> io::Result<Io> {
        match &self.kind {
            Kind::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
            Kind::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let (Address::Unix(path), false) = (&self.address, self.keep_file) {
            let _ = std::fs::remove_file(path);
        }
    }
}
