//! Unix and TCP sockets that accept connections.

use std::io;
#[cfg(feature = "plugin")]
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plugwire_protocol::handshake::AddressBytes;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::Pid;
#[cfg(feature = "plugin")]
use tokio::net::TcpListener;
use tokio::net::UnixListener;

use super::address::Address;
use super::group::group_id;
use super::io::BoxIo;

/// The pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// How many names are tried for a socket.
const MAX_NAMES: usize = 16;

/// How to listen. go-plugin: `PLUGIN_UNIX_SOCKET_DIR`, `PLUGIN_UNIX_SOCKET_GROUP`, `PLUGIN_MIN_PORT`,
/// `PLUGIN_MAX_PORT`.
#[derive(Debug, Clone)]
pub(crate) enum Listen {
    Unix {
        directory: PathBuf,
        /// The group that may connect, by name or number.
        group: Option<String>,
    },
    #[cfg(feature = "plugin")]
    Tcp { ports: Option<(u16, u16)> },
}

/// A bound socket. Its file is removed when the listener is dropped.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix {
        listener: UnixListener,
        file: SocketFile,
    },
    #[cfg(feature = "plugin")]
    Tcp {
        listener: TcpListener,
        address: SocketAddr,
    },
}

/// A connection that was accepted.
pub(crate) struct Accepted {
    pub(crate) io: BoxIo,
    /// The process that connected, where the system tells: not over TCP, nor from a pid namespace that
    /// is not visible here.
    #[cfg_attr(not(feature = "plugin"), expect(dead_code, reason = "only a plugin looks at it"))]
    pub(crate) peer: Option<Pid>,
}

#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Fails where the directory was removed first, and then there is nothing left to do.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Binds a socket. The group is looked up on a thread that may block.
    pub(crate) async fn bind(how: &Listen) -> io::Result<Self> {
        match how {
            Listen::Unix { directory, group: None } => Self::bind_unix(directory, None),
            Listen::Unix { directory, group: Some(group) } => {
                let group = group.clone();
                let found = tokio::task::spawn_blocking(move || group_id(&group)).await;
                let group = found.map_err(io::Error::other)??;
                Self::bind_unix(directory, Some(Gid::from_raw(group)))
            }
            #[cfg(feature = "plugin")]
            Listen::Tcp { ports } => bind_tcp(*ports),
        }
    }

    /// Binds a unix socket under go-plugin's kind of name: `plugin` and some digits. The kernel refuses
    /// a name that is taken, so no file is created first.
    pub(crate) fn bind_unix(directory: &Path, group: Option<Gid>) -> io::Result<Self> {
        for attempt in 1.. {
            let path = directory.join(format!("plugin{}", random_digits()));
            match UnixListener::bind(&path) {
                Ok(listener) => {
                    let file = SocketFile(path);
                    if let Some(group) = group {
                        open_to_group(&file.0, group)?;
                    }
                    return Ok(Self::Unix { listener, file });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < MAX_NAMES => {}
                Err(error) => {
                    let why = format!("{}: {error}", AddressBytes::from(path));
                    return Err(io::Error::new(error.kind(), why));
                }
            }
        }
        unreachable!("the loop ends by returning")
    }

    pub(crate) fn address(&self) -> Address {
        match self {
            Listener::Unix { file, .. } => Address::Unix(file.0.clone()),
            #[cfg(feature = "plugin")]
            Listener::Tcp { address, .. } => Address::Tcp(*address),
        }
    }

    /// Accepts the next connection. If no descriptor is left, it calls
    /// `make_room`. After a failure it reports the error once through `report`, and tries again, forever, with a pause in between. Cancel
    /// safe.
    pub(crate) async fn accept(
        &self,
        make_room: impl Fn(),
        report: impl Fn(io::Error),
    ) -> Accepted {
        let mut reported = false;
        loop {
            match self.try_accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    let errno = Errno::from_io_error(&error);
                    if matches!(errno, Some(Errno::MFILE | Errno::NFILE)) {
                        make_room();
                    }
                    if !std::mem::replace(&mut reported, true) {
                        report(error);
                    }
                    // The connection is still waiting: trying again at once would spin.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<Accepted> {
        match self {
            Listener::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
                Ok(Accepted { io: Box::new(stream), peer: pid.and_then(Pid::from_raw) })
            }
            #[cfg(feature = "plugin")]
            Listener::Tcp { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted { io: Box::new(stream), peer: None })
            }
        }
    }
}

/// Returns up to ten digits. They need not be hard to guess: the directory protects the socket.
fn random_digits() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() % 10_000_000_000
}

fn open_to_group(path: &Path, group: Gid) -> io::Result<()> {
    rustix::fs::chown(path, None::<Uid>, Some(group))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
}

/// Binds the first free port of the range, or any port if there is no range.
#[cfg(feature = "plugin")]
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
    let cause = last.map_or_else(String::new, |error| error.to_string());
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("no free TCP port from {min} to {max}: {cause}"),
    ))
}
