//! Removes what dead processes left behind.
//!
//! When a parent is killed, its guardian cleans up. The sweep is for what both leave when the whole machine, or a whole
//! container, stops at once.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::private_dir::{self, Lock, PREFIX};

/// The symbolic link in a private directory that names a socket outside of it.
const NOTE: &str = "elsewhere";
/// The directory inside a private one that holds the verified copy of a program.
pub(crate) const COPY: &str = "verified-program";

/// Notes a process's socket outside its private directory, for the sweep of a later parent.
pub(crate) fn note(dir: &Path, socket: &Path) {
    if let Err(error) = std::os::unix::fs::symlink(socket, dir.join(NOTE)) {
        tracing::debug!(%error, "a process's socket could not be noted");
    }
}

/// Removes from `base` the [private directories](crate::PrivateDir) of this user whose owners are gone, with the sockets
/// that they note, the first time that this process is asked to for this `base`. Blocks.
///
/// A directory is left as it is if it contains anything that this crate does not put there, and where its file system
/// has no locks.
pub fn sweep(base: &Path) {
    static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let first = SWEPT.lock().insert(base.to_owned());
    if first {
        sweep_now(base);
    }
}

fn sweep_now(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    let us = rustix::process::geteuid().as_raw();
    let left = entries.flatten().filter(|entry| {
        entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())
            && entry.metadata().is_ok_and(|file| file.is_dir() && file.uid() == us)
    });
    for entry in left {
        // No warning: every parent would repeat it at its first start, for as long as the directory stays.
        if let Err(error) = remove(&entry.path(), us) {
            let path = entry.path();
            tracing::info!(%error, path = %path.display(), "a directory that may be a dead host's was not removed");
        }
    }
}

/// Removes a directory whose owner is dead. Only sockets, the note and a verified copy are ours: a directory with anything
/// else in it stays as it is, because other programs may use the same prefix. The note counts only if this user owns it: a
/// process that runs as another user may put one there.
fn remove(path: &Path, us: u32) -> io::Result<()> {
    // The lock is held until the directory is gone, so that no new owner can take it meanwhile.
    // Where there are no locks, no owner is known to be dead.
    let Lock::Held(_lock) = private_dir::lock(path)? else { return Ok(()) };
    let mut sockets = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let ours_besides = (kind.is_symlink() && name == NOTE) || (kind.is_dir() && name == COPY);
        if kind.is_socket() {
            sockets.push(entry.path());
        } else if !ours_besides {
            return Err(io::Error::other(format!("{name:?} in it is not plugwire's")));
        }
    }
    let note = path.join(NOTE);
    if let Ok(socket) = fs::read_link(&note) {
        if fs::symlink_metadata(&note)?.uid() == us && is_dead(&socket) {
            remove_socket(&socket);
        }
        fs::remove_file(note)?;
    }
    match fs::remove_dir_all(path.join(COPY)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for socket in sockets {
        fs::remove_file(socket)?;
    }
    fs::remove_dir(path)?;
    tracing::debug!(path = %path.display(), "a dead host's directory was removed");
    Ok(())
}

/// Removes a unix socket, and nothing else: paths may come from an untrusted process.
pub fn remove_socket(path: &Path) {
    if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a process's socket was not removed");
    }
}

/// Returns whether no process listens at a socket. By now its name may belong to another process, which may be too busy to
/// accept: that must not block the sweep.
fn is_dead(socket: &Path) -> bool {
    let (Ok(address), Ok(caller)) = (
        SocketAddrUnix::new(socket),
        rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None),
    ) else {
        return false;
    };
    let prepared = rustix::io::fcntl_setfd(&caller, FdFlags::CLOEXEC)
        .and_then(|()| rustix::io::ioctl_fionbio(&caller, true));
    prepared.is_ok() && rustix::net::connect(&caller, &address) == Err(Errno::CONNREFUSED)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::PrivateDir;
    use crate::eventually::eventually;

    /// Makes a directory as a parent leaves it that was killed together with its guardian.
    fn abandoned(base: &Path) -> PathBuf {
        let path = base.join("plugwire-gone");
        fs::create_dir(&path).expect("a directory");
        drop(UnixListener::bind(path.join("plugin1")).expect("a socket"));
        path
    }

    #[test]
    fn what_a_dead_host_left_goes_and_what_a_living_one_has_stays() {
        let base = tempfile::tempdir().expect("a directory");
        let living = PrivateDir::new(base.path(), None).expect("a directory");
        fs::write(living.path().join("plugin1"), "").expect("a file");
        let dead = abandoned(base.path());
        fs::create_dir(dead.join(COPY)).expect("a directory");
        fs::write(dead.join(COPY).join("greeter"), "").expect("a file");
        sweep_now(base.path());
        assert!(!dead.exists());
        assert!(living.path().join("plugin1").exists());
    }

    #[test]
    fn a_noted_socket_goes_unless_a_process_listens_there() {
        let base = tempfile::tempdir().expect("a directory");
        let (dead, living) = (base.path().join("plugin1"), base.path().join("plugin2"));
        drop(UnixListener::bind(&dead).expect("a socket"));
        let refused = eventually(|| UnixStream::connect(&dead).err());
        assert!(refused.is_some());
        let _listener = UnixListener::bind(&living).expect("a socket");
        for socket in [&dead, &living] {
            note(&abandoned(base.path()), socket);
            sweep_now(base.path());
        }
        assert!(!dead.exists());
        assert!(living.exists());
        assert!(!base.path().join("plugwire-gone").exists());
    }

    /// No process accepts here; a caller that waits would wait forever.
    #[test]
    fn a_noted_socket_whose_listener_is_too_busy_stays_and_does_not_block_the_sweep() {
        let base = tempfile::tempdir().expect("a directory");
        let path = base.path().join("plugin1");
        let listener =
            rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
        let address = SocketAddrUnix::new(&path).expect("an address");
        rustix::net::bind(&listener, &address).expect("a name");
        rustix::net::listen(&listener, 0).expect("it listens");
        let _first = UnixStream::connect(&path).expect("there is room for one");
        note(&abandoned(base.path()), &path);
        let (done, waiting) = std::sync::mpsc::channel();
        let dir = base.path().to_owned();
        std::thread::spawn(move || {
            sweep_now(&dir);
            done.send(())
        });
        waiting.recv_timeout(std::time::Duration::from_secs(20)).expect("it does not wait");
        assert!(path.exists());
        assert!(!base.path().join("plugwire-gone").exists());
    }

    #[test]
    fn a_note_of_another_user_removes_nothing() {
        let base = tempfile::tempdir().expect("a directory");
        let socket = base.path().join("plugin1");
        drop(UnixListener::bind(&socket).expect("a socket"));
        let dir = abandoned(base.path());
        note(&dir, &socket);
        remove(&dir, rustix::process::geteuid().as_raw() + 1).expect("it goes");
        assert!(socket.exists());
        assert!(!dir.exists());
    }

    /// Not even a socket in it is removed, nor a noted one.
    #[test]
    fn a_directory_with_anything_else_in_it_stays_as_it_is() {
        let foreign: [fn(&Path); 4] = [
            |dir| fs::write(dir.join("notes.txt"), "precious").expect("a file"),
            |dir| fs::create_dir_all(dir.join("subdirectory/deeper")).expect("a directory"),
            |dir| fs::write(dir.join(COPY), "precious").expect("a file"),
            |dir| std::os::unix::fs::symlink("/", dir.join("root")).expect("a link"),
        ];
        for put in foreign {
            let base = tempfile::tempdir().expect("a directory");
            let noted = base.path().join("plugin1");
            drop(UnixListener::bind(&noted).expect("a socket"));
            let dir = abandoned(base.path());
            note(&dir, &noted);
            put(&dir);
            let names = || {
                let entries = fs::read_dir(&dir).expect("it is there").flatten();
                entries.map(|entry| entry.file_name()).collect::<BTreeSet<_>>()
            };
            let before = names();
            sweep_now(base.path());
            assert_eq!((names(), noted.exists()), (before, true));
            let us = rustix::process::geteuid().as_raw();
            // A directory that is locked is left alone, without an error.
            let refused = eventually(|| {
                assert!(dir.exists());
                remove(&dir, us).err()
            });
            let why = refused.expect("it stays").to_string();
            assert!(why.ends_with("in it is not plugwire's"), "{why}");
        }
    }
}
