//! Unix and TCP sockets: where a side listens, and how the other gets there.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plugwire_protocol::handshake::{AddressError, Network, tcp_address};
use rustix::fs::{Gid, Uid};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::BoxIo;

/// How long a connection waits that could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Where somebody listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A port. go-plugin listens on one on Windows only; a plugwire plugin when it is told to.
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "{}", path.display()),
            Address::Tcp(address) => write!(f, "{address}"),
        }
    }
}

impl Address {
    /// Reads the two fields of a handshake line or an announcement.
    pub(crate) fn parse(network: Network, address: &str) -> Result<Self, AddressError> {
        network.check(address)?;
        Ok(match network {
            Network::Unix => Address::Unix(PathBuf::from(address)),
            Network::Tcp => Address::Tcp(tcp_address(address)?),
        })
    }

    /// The folder of a socket that has one.
    pub(crate) fn folder(&self) -> Option<&Path> {
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
        Ok(self.reach().await?.0)
    }

    /// Connects, and says which process listens, where the system knows.
    pub(crate) async fn reach(&self) -> io::Result<(BoxIo, Option<i32>)> {
        match self {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                let listens = stream.peer_cred().ok().and_then(|cred| cred.pid());
                Ok((Box::new(stream), listens))
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), None))
            }
        }
    }
}

/// How to listen. go-plugin: `PLUGIN_UNIX_SOCKET_DIR`, `PLUGIN_UNIX_SOCKET_GROUP`, `PLUGIN_MIN_PORT`, `PLUGIN_MAX_PORT`.
#[derive(Debug, Clone)]
pub(crate) enum Listen {
    Unix { directory: PathBuf, group: Option<String> },
    Tcp { ports: Option<(u16, u16)> },
}

/// A bound socket. Its file goes when the listener goes.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix { listener: UnixListener, file: SocketFile },
    Tcp { listener: TcpListener, address: SocketAddr },
}

#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Already gone where the folder around it was removed first; nobody can be told here anyway.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    pub(crate) fn bind(how: &Listen) -> io::Result<Self> {
        match how {
            Listen::Unix { directory, group } => bind_unix(directory, group.as_deref()),
            Listen::Tcp { ports } => bind_tcp(*ports),
        }
    }

    pub(crate) fn address(&self) -> Address {
        match self {
            Listener::Unix { file, .. } => Address::Unix(file.0.clone()),
            Listener::Tcp { address, .. } => Address::Tcp(*address),
        }
    }

    /// Takes the next connection. Where one cannot be taken (no descriptors are left, say) it is tried again for ever, after a
    /// pause, and told once. Cancel safe.
    pub(crate) async fn accept(&self, tell: impl Fn(io::Error)) -> BoxIo {
        let mut told = false;
        loop {
            match self.try_accept().await {
                Ok(io) => return io,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tell(error);
                    }
                    // The connection still waits: trying again at once would spin.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<BoxIo> {
        match self {
            Listener::Unix { listener, .. } => Ok(Box::new(listener.accept().await?.0)),
            Listener::Tcp { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
        }
    }
}

/// go-plugin's names: `plugin` and some digits. The kernel refuses a name that is taken, so no file is made first.
fn bind_unix(directory: &Path, group: Option<&str>) -> io::Result<Listener> {
    for attempt in 0.. {
        let path = directory.join(format!("plugin{}", random_digits()));
        match UnixListener::bind(&path) {
            Ok(listener) => {
                let file = SocketFile(path);
                if let Some(group) = group {
                    open_to_group(&file.0, group)?;
                }
                return Ok(Listener::Unix { listener, file });
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < 16 => {}
            Err(error) => {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())));
            }
        }
    }
    unreachable!("the loop ends by returning")
}

/// Ten digits that nobody has to guess or not guess: the folder is what protects the socket.
fn random_digits() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() % 10_000_000_000
}

fn open_to_group(path: &Path, group: &str) -> io::Result<()> {
    rustix::fs::chown(path, None::<Uid>, Some(Gid::from_raw(group_id(group)?)))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
}

/// The group is a number or a name, in this order (go-plugin: `UnixSocketConfig.Group`).
pub(crate) fn group_id(group: &str) -> io::Result<u32> {
    match group.parse() {
        Ok(number) => Ok(number),
        Err(_) => group_named(group)?.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("no group is named `{group}`"))
        }),
    }
}

/// Looks only into the local group file: a directory service would need libc's resolver and its locks.
fn group_named(name: &str) -> io::Result<Option<u32>> {
    let groups = std::fs::read_to_string("/etc/group")?;
    Ok(groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    }))
}

/// Takes the first free port of the range, or any where there is no range.
fn bind_tcp(ports: Option<(u16, u16)>) -> io::Result<Listener> {
    let (min, max) = ports.unwrap_or((0, 0));
    let mut last = None;
    for port in min..=max {
        match std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => {
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                return Ok(Listener::Tcp { listener: TcpListener::from_std(listener)?, address });
            }
            Err(error) => last = Some(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!(
            "no free TCP port from {min} to {max}: {}",
            last.map_or_else(String::new, |e| e.to_string())
        ),
    ))
}
