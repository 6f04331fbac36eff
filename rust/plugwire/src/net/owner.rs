//! Who is at the other end of a connection that a plugin led this host to.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use plugwire_process::blocking;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, stat};
use tokio::net::{TcpStream, UnixStream};

use super::address::Address;
use super::io::BoxIo;

/// Why no connection was made.
#[derive(Debug)]
pub(crate) enum NotConnected {
    /// The address is not one of the plugin's.
    Refused,
    Io(io::Error),
}

impl From<io::Error> for NotConnected {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Connects to a socket directly inside one of these directories, or to a port of this machine, and only if
/// it belongs to this user, where that is known.
pub(crate) async fn connect(
    address: &Address,
    directories: &[PathBuf],
    user: Option<u32>,
) -> Result<BoxIo, NotConnected> {
    match address {
        Address::Unix(path) => {
            let (path, directories) = (path.clone(), directories.to_vec());
            // On a thread of its own: the path may lead to a file system that does not answer.
            let found = blocking::run(move |_| SocketFile::find(&path, &directories)).await?;
            let found = found?;
            let stream = UnixStream::connect(&found.path()).await?;
            if let Some(user) = user
                && stream.peer_cred()?.uid() != user
            {
                return Err(NotConnected::Refused);
            }
            Ok(Box::new(stream))
        }
        Address::Tcp(address) if !address.ip().is_loopback() => Err(NotConnected::Refused),
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            if let Some(user) = user {
                let (ours, theirs) = (stream.local_addr()?, *address);
                let is_theirs = blocking::run(move |_| belongs_to(theirs, ours, user)).await?;
                if !is_theirs {
                    return Err(NotConnected::Refused);
                }
            }
            Ok(Box::new(stream))
        }
    }
}

/// Returns whether this is a socket directly inside one of these directories. Blocks.
pub(crate) fn is_inside(path: &Path, directories: &[PathBuf]) -> bool {
    SocketFile::find(path, directories).is_ok()
}

/// A socket's file, by what it is and not by its path: a path could lead elsewhere a moment later.
struct SocketFile {
    file: rustix::fd::OwnedFd,
    path: PathBuf,
}

impl SocketFile {
    fn find(path: &Path, directories: &[PathBuf]) -> Result<Self, NotConnected> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(NotConnected::Refused);
        };
        let flags = OPEN_ONLY | OFlags::CLOEXEC;
        let Ok(parent) = openat(CWD, parent, flags | OFlags::DIRECTORY, Mode::empty()) else {
            return Err(NotConnected::Refused);
        };
        let opened = fstat(&parent).map_err(io::Error::from)?;
        let is_same = |directory: &PathBuf| {
            stat(directory).is_ok_and(|it| (it.st_dev, it.st_ino) == (opened.st_dev, opened.st_ino))
        };
        if !directories.iter().any(is_same) {
            return Err(NotConnected::Refused);
        }
        let file = openat(&parent, name, flags | OFlags::NOFOLLOW, Mode::empty());
        let file = file.map_err(io::Error::from)?;
        let kind = FileType::from_raw_mode(fstat(&file).map_err(io::Error::from)?.st_mode);
        match kind {
            FileType::Socket => Ok(Self { file, path: path.to_owned() }),
            _ => Err(NotConnected::Refused),
        }
    }

    /// Returns a path that leads to this very file, where the system has one.
    fn path(&self) -> PathBuf {
        let own = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        if own.exists() { own } else { self.path.clone() }
    }
}

#[cfg(target_os = "linux")]
const OPEN_ONLY: OFlags = OFlags::PATH;
/// Elsewhere a socket's file cannot be opened, and every address inside a directory is refused.
#[cfg(not(target_os = "linux"))]
const OPEN_ONLY: OFlags = OFlags::empty();

/// Returns whether the other end of a TCP connection is a socket of this user's. The system's tables say
/// it. Where they cannot be read, it is taken for granted; a connection that is not in them leads out of
/// this machine, or out of this network namespace.
fn belongs_to(theirs: SocketAddr, ours: SocketAddr, user: u32) -> bool {
    let tables: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .collect();
    tables.is_empty()
        || tables.iter().any(|table| owner_in(table, theirs, ours).is_some_and(|it| it == user))
}

/// Finds the user of a connection's socket in one of the tables (proc_pid_net(5)).
fn owner_in(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let (local, remote) = (written(local), written(remote));
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_it = |field: Option<&&str>, forms: &[String]| {
            field.is_some_and(|field| forms.iter().any(|form| form == field))
        };
        (is_it(fields.get(1), &local) && is_it(fields.get(2), &remote))
            .then(|| fields.get(7)?.parse().ok())?
    })
}

/// Returns how the tables write an address: each four bytes in the machine's order. An IPv4 address has
/// a second form, in the table of IPv6.
fn written(address: SocketAddr) -> Vec<String> {
    let words = |octets: &[u8]| -> String {
        let word = |four: &[u8]| {
            let four = [four[0], four[1], four[2], four[3]];
            format!("{:08X}", u32::from_ne_bytes(four))
        };
        octets.chunks_exact(4).map(word).collect()
    };
    let port = address.port();
    match address {
        SocketAddr::V4(address) => {
            let mapped = address.ip().to_ipv6_mapped().octets();
            vec![
                format!("{}:{port:04X}", words(&address.ip().octets())),
                format!("{}:{port:04X}", words(&mapped)),
            ]
        }
        SocketAddr::V6(address) => vec![format!("{}:{port:04X}", words(&address.ip().octets()))],
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn own_user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    async fn verdict(path: &Path, directories: &[PathBuf], user: Option<u32>) -> &'static str {
        match connect(&Address::Unix(path.to_owned()), directories, user).await {
            Ok(_) => "connected",
            Err(NotConnected::Refused) => "refused",
            Err(NotConnected::Io(error)) if error.kind() == io::ErrorKind::NotFound => "missing",
            Err(NotConnected::Io(error)) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn only_a_socket_inside_is_connected_to() {
        let [trusted, other] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let [inside, outside] = [trusted.path().join("a"), other.path().join("a")];
        let _listeners =
            [&inside, &outside].map(|path| UnixListener::bind(path).expect("a socket"));
        let link = trusted.path().join("link");
        std::os::unix::fs::symlink(&outside, &link).expect("a link");
        let way_in = other.path().join("trusted");
        std::os::unix::fs::symlink(trusted.path(), &way_in).expect("a link");
        std::fs::write(trusted.path().join("file"), "").expect("a file");
        let around = trusted.path().join("..").join(other.path().file_name().expect("a name"));
        let directories = [trusted.path().to_owned()];
        for (path, expected) in [
            (inside.clone(), "connected"),
            (way_in.join("a"), "connected"),
            (trusted.path().join("missing"), "missing"),
            (trusted.path().join("file"), "refused"),
            (link, "refused"),
            (outside, "refused"),
            (around.join("a"), "refused"),
            ("/".into(), "refused"),
            ("/nowhere/a".into(), "refused"),
        ] {
            assert_eq!(verdict(&path, &directories, None).await, expected, "{path:?}");
        }
        assert_eq!(verdict(&inside, &directories, Some(own_user())).await, "connected");
        assert_eq!(verdict(&inside, &directories, Some(own_user() + 1)).await, "refused");
    }

    #[tokio::test]
    async fn a_port_belongs_to_a_user() {
        for host in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(host) else { continue };
            let mut address = listener.local_addr().expect("it is bound");
            if address.ip().is_unspecified() {
                address.set_ip([127, 0, 0, 1].into());
            }
            let address = Address::Tcp(address);
            assert!(connect(&address, &[], None).await.is_ok(), "{host}");
            assert!(connect(&address, &[], Some(own_user())).await.is_ok(), "{host}");
            let other = connect(&address, &[], Some(own_user() + 1)).await;
            assert!(matches!(other, Err(NotConnected::Refused)), "{host}");
        }
        let elsewhere = Address::Tcp("192.0.2.1:80".parse().expect("an address"));
        let refused = connect(&elsewhere, &[], None).await;
        assert!(matches!(refused, Err(NotConnected::Refused)));
    }
}
