//! Removes what dead hosts left.
//!
//! A host that is killed has its guardian to do that; this is for what both leave when the whole machine, or a whole
//! container, stops at once.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use super::supervise::remove_socket;
use crate::net::private_dir::{self, Lock, PREFIX};

/// The link in a private folder that names a socket outside of it.
const NOTE: &str = "elsewhere";
/// The folder in a private one with the verified copy of a program.
pub(super) const COPY: &str = "verified-program";

/// Notes a plugin's socket outside its private folder, for the sweep of a later host.
pub(super) fn note(folder: &Path, socket: &Path) {
    if let Err(error) = std::os::unix::fs::symlink(socket, folder.join(NOTE)) {
        tracing::debug!(%error, "a plugin's socket could not be noted");
    }
}

/// Sweeps this folder, the first time in this process.
pub(super) fn once(base: &Path) {
    static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let first = SWEPT.lock().unwrap_or_else(PoisonError::into_inner).insert(base.to_owned());
    if first {
        sweep(base);
    }
}

fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    let us = rustix::process::geteuid().as_raw();
    let left = entries.flatten().filter(|entry| {
        entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())
            && entry.metadata().is_ok_and(|file| file.is_dir() && file.uid() == us)
    });
    for entry in left {
        // No warning: every host would repeat it at its first start, for as long as the folder stays.
        if let Err(error) = remove(&entry.path(), us) {
            let path = entry.path();
            tracing::info!(%error, path = %path.display(), "what may be a dead host's folder stays");
        }
    }
}

/// Removes a folder whose owner is dead. Only sockets, the note and a verified copy are ours: a folder with anything else in
/// it stays as it is, since somebody else may like the name, too. The note counts only if it is of this user: a plugin of
/// another may put one there.
fn remove(path: &Path, us: u32) -> io::Result<()> {
    // The lock is held until the folder is gone, so no new owner can be deceived.
    // Where none can be had, nobody is known to be dead.
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
    tracing::debug!(path = %path.display(), "a dead host's folder was removed");
    Ok(())
}

/// Whether nobody listens at a socket: by now its name may be another plugin's. Somebody who listens may be too busy to
/// let us in, and must not hold us up.
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
    use crate::net::private_dir::PrivateFolder;
    use crate::patience::soon;

    /// A folder as a host leaves it that was killed with its guardian.
    fn abandoned(base: &Path) -> PathBuf {
        let path = base.join("plugwire-gone");
        fs::create_dir(&path).expect("a folder");
        drop(UnixListener::bind(path.join("plugin1")).expect("a socket"));
        path
    }

    #[test]
    fn what_a_dead_host_left_goes_and_what_a_living_one_has_stays() {
        let base = tempfile::tempdir().expect("a folder");
        let living = PrivateFolder::make(base.path(), None).expect("a folder");
        fs::write(living.path().join("plugin1"), "").expect("a file");
        let dead = abandoned(base.path());
        fs::create_dir(dead.join(COPY)).expect("a folder");
        fs::write(dead.join(COPY).join("greeter"), "").expect("a file");
        sweep(base.path());
        assert!(!dead.exists());
        assert!(living.path().join("plugin1").exists());
    }

    #[test]
    fn a_noted_socket_goes_unless_somebody_listens_there() {
        let base = tempfile::tempdir().expect("a folder");
        let (dead, living) = (base.path().join("plugin1"), base.path().join("plugin2"));
        drop(UnixListener::bind(&dead).expect("a socket"));
        let nobody = soon(|| UnixStream::connect(&dead).err());
        assert!(nobody.is_some());
        let _listener = UnixListener::bind(&living).expect("a socket");
        for socket in [&dead, &living] {
            note(&abandoned(base.path()), socket);
            sweep(base.path());
        }
        assert!(!dead.exists());
        assert!(living.exists());
        assert!(!base.path().join("plugwire-gone").exists());
    }

    /// Nobody accepts here; a caller who waits would wait for ever.
    #[test]
    fn a_noted_socket_whose_listener_is_too_busy_stays_and_holds_nobody_up() {
        let base = tempfile::tempdir().expect("a folder");
        let path = base.path().join("plugin1");
        let listener =
            rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
        let address = SocketAddrUnix::new(&path).expect("an address");
        rustix::net::bind(&listener, &address).expect("a name");
        rustix::net::listen(&listener, 0).expect("it listens");
        let _first = UnixStream::connect(&path).expect("there is room for one");
        note(&abandoned(base.path()), &path);
        let (done, waiting) = std::sync::mpsc::channel();
        let folder = base.path().to_owned();
        std::thread::spawn(move || {
            sweep(&folder);
            done.send(())
        });
        waiting.recv_timeout(std::time::Duration::from_secs(20)).expect("it does not wait");
        assert!(path.exists());
        assert!(!base.path().join("plugwire-gone").exists());
    }

    #[test]
    fn a_note_of_another_user_removes_nothing() {
        let base = tempfile::tempdir().expect("a folder");
        let socket = base.path().join("plugin1");
        drop(UnixListener::bind(&socket).expect("a socket"));
        let folder = abandoned(base.path());
        note(&folder, &socket);
        remove(&folder, rustix::process::geteuid().as_raw() + 1).expect("it goes");
        assert!(socket.exists());
        assert!(!folder.exists());
    }

    /// Not even a socket in it is removed, nor a noted one.
    #[test]
    fn a_folder_with_anything_else_in_it_stays_as_it_is() {
        let foreign: [fn(&Path); 4] = [
            |folder| fs::write(folder.join("notes.txt"), "precious").expect("a file"),
            |folder| fs::create_dir_all(folder.join("subfolder/deeper")).expect("a folder"),
            |folder| fs::write(folder.join(COPY), "precious").expect("a file"),
            |folder| std::os::unix::fs::symlink("/", folder.join("root")).expect("a link"),
        ];
        for put in foreign {
            let base = tempfile::tempdir().expect("a folder");
            let noted = base.path().join("plugin1");
            drop(UnixListener::bind(&noted).expect("a socket"));
            let folder = abandoned(base.path());
            note(&folder, &noted);
            put(&folder);
            let names = || {
                let entries = fs::read_dir(&folder).expect("it is there").flatten();
                entries.map(|entry| entry.file_name()).collect::<BTreeSet<_>>()
            };
            let before = names();
            sweep(base.path());
            assert_eq!((names(), noted.exists()), (before, true));
            let us = rustix::process::geteuid().as_raw();
            // A folder that somebody holds is left alone, without an error.
            let refused = soon(|| {
                assert!(folder.exists());
                remove(&folder, us).err()
            });
            let why = refused.expect("it stays").to_string();
            assert!(why.ends_with("in it is not plugwire's"), "{why}");
        }
    }
}
