//! A private folder for sockets, which tells everybody else whether its owner lives.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, Gid, Mode, OFlags, Uid, flock};
use rustix::io::Errno;
use tempfile::TempDir;

use super::socket::group_id;

/// What the names of all such folders begin with.
pub(crate) const PREFIX: &str = "plugwire-";
/// Somebody who sweeps may take a folder in the moment before it is locked.
const ATTEMPTS: usize = 16;

/// A folder, mode 0700, or 1770 for a group: whoever is in that cannot remove what others put there. Dropping it removes
/// it with what is in it.
///
/// Its owner holds a lock on the folder itself: no file that a plugin could remove, and gone with the owner however
/// that ends. A process id would say less: it may be somebody else's by now.
#[derive(Debug)]
pub(crate) struct PrivateFolder {
    folder: TempDir,
    lock: File,
}

impl PrivateFolder {
    /// Makes one in this folder.
    pub(crate) fn make(base: &Path, group: Option<&str>) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(base)?;
            // Without a lock, whoever sweeps finds none either, and leaves it alone.
            let lock = match lock(folder.path())? {
                Lock::Held(lock) | Lock::NoneHere(lock) => lock,
                Lock::NotOurs => continue,
            };
            let mode = match group {
                Some(group) => {
                    let group = Gid::from_raw(group_id(group)?);
                    rustix::fs::chown(folder.path(), None::<Uid>, Some(group))?;
                    0o1770
                }
                None => 0o700,
            };
            std::fs::set_permissions(folder.path(), Permissions::from_mode(mode))?;
            return Ok(Self { folder, lock });
        }
        Err(io::Error::other("each new folder was removed at once"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whoever holds a copy of this descriptor owns the folder, too.
    pub(crate) fn owner(&self) -> &File {
        &self.lock
    }

    /// Removes it.
    pub(crate) fn close(self) -> io::Result<()> {
        self.folder.close()
    }
}

/// What an attempt to lock a folder comes to.
#[derive(Debug)]
pub(crate) enum Lock {
    /// It is ours, as long as this is open.
    Held(File),
    /// Somebody else has it, or it is gone.
    NotOurs,
    /// The file system has no locks, so nobody knows whose it is.
    NoneHere(File),
}

/// Locks a folder, without waiting.
pub(crate) fn lock(folder: &Path) -> io::Result<Lock> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::open(folder, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(Lock::NotOurs),
        Err(error) => return Err(error.into()),
    };
    let taken = flock(&file, FlockOperation::NonBlockingLockExclusive);
    // It may have been removed between the two calls, and its name be another's.
    let (locked, named) = (file.metadata()?, std::fs::symlink_metadata(folder));
    let same = named.is_ok_and(|named| (named.dev(), named.ino()) == (locked.dev(), locked.ino()));
    Ok(if same { decide(file, taken) } else { Lock::NotOurs })
}

/// Whatever fails but for another's lock is not known to be nobody's.
fn decide(file: File, taken: rustix::io::Result<()>) -> Lock {
    match taken {
        Ok(()) => Lock::Held(file),
        Err(Errno::WOULDBLOCK) => Lock::NotOurs,
        Err(error) => {
            tracing::debug!(%error, "folders cannot be locked here");
            Lock::NoneHere(file)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patience::soon;

    #[test]
    fn only_a_lock_that_was_taken_is_held() {
        let base = tempfile::tempdir().expect("a folder");
        let decide = |taken| decide(File::open(base.path()).expect("a folder"), taken);
        assert!(matches!(decide(Ok(())), Lock::Held(_)));
        assert!(matches!(decide(Err(Errno::WOULDBLOCK)), Lock::NotOurs));
        for without in [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INTR] {
            assert!(matches!(decide(Err(without)), Lock::NoneHere(_)), "{without}");
        }
    }

    #[test]
    fn a_folder_has_one_owner_until_that_is_gone() {
        let base = tempfile::tempdir().expect("a folder");
        let owner = lock(base.path()).expect("it opens");
        assert!(matches!(owner, Lock::Held(_)));
        assert!(matches!(lock(base.path()), Ok(Lock::NotOurs)));
        drop(owner);
        let free = || matches!(lock(base.path()), Ok(Lock::Held(_))).then_some(());
        assert!(soon(free).is_some());
        assert!(matches!(lock(&base.path().join("gone")), Ok(Lock::NotOurs)));
    }
}
