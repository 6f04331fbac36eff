//! A private directory for one process's sockets, whose lock shows whether its owner is alive.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, Gid, Mode, OFlags, Uid, flock};
use rustix::io::Errno;
use tempfile::TempDir;

/// The prefix of the names of all such directories.
pub(crate) const PREFIX: &str = "plugwire-";
/// A concurrent sweep may remove a directory before it is locked.
const ATTEMPTS: usize = 16;

/// A directory that only this user can use, for a process's sockets. Its name begins with `plugwire-`. Dropping it
/// removes it with its contents.
///
/// Its mode is 0700, or 1770 with a group: members of the group cannot remove each other's files.
///
/// The owner holds a lock on the directory itself, not on a file in it that a process could remove. The lock ends with
/// the owner, whatever ends it, so that [`sweep`](crate::sweep) recognizes directories whose owner is gone. A pid would be
/// less reliable, because it may have been reused.
#[derive(Debug)]
pub struct PrivateDir {
    dir: TempDir,
    lock: File,
    group: Option<u32>,
}

impl PrivateDir {
    /// Creates one in `base`, which should be an absolute path. With a group, its members can use the directory; this
    /// process must be a member, or root.
    pub fn new(base: &Path, group: Option<u32>) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(base)?;
            // Where directories cannot be locked, a sweep cannot lock it either, and leaves it alone.
            let lock = match lock(dir.path())? {
                Lock::Held(lock) | Lock::Unsupported(lock) => lock,
                Lock::InUse => continue,
            };
            let mode = match group {
                Some(group) => {
                    rustix::fs::chown(dir.path(), None::<Uid>, Some(Gid::from_raw(group)))?;
                    0o1770
                }
                None => 0o700,
            };
            std::fs::set_permissions(dir.path(), Permissions::from_mode(mode))?;
            return Ok(Self { dir, lock, group });
        }
        Err(io::Error::other("each new directory was removed at once"))
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the group that can use it, if it has one.
    pub fn group(&self) -> Option<u32> {
        self.group
    }

    /// Returns the descriptor that holds the lock. A process that inherits it owns the directory, too.
    pub(crate) fn owner(&self) -> &File {
        &self.lock
    }

    /// Removes it with its contents. Succeeds if it is gone already.
    pub fn close(self) -> io::Result<()> {
        match self.dir.close() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The result of an attempt to lock a directory.
#[derive(Debug)]
pub(crate) enum Lock {
    /// This process holds the lock until the file is closed.
    Held(File),
    /// Another process holds the lock, or the directory is gone.
    InUse,
    /// The file system has no locks, so it is unknown whether the directory is in use.
    Unsupported(File),
}

/// Locks a directory, without waiting.
pub(crate) fn lock(dir: &Path) -> io::Result<Lock> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::open(dir, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(Lock::InUse),
        Err(error) => return Err(error.into()),
    };
    let taken = flock(&file, FlockOperation::NonBlockingLockExclusive);
    // The directory may have been removed between the two calls, and another created with its name.
    let (locked, named) = (file.metadata()?, std::fs::symlink_metadata(dir));
    let same = named.is_ok_and(|named| (named.dev(), named.ino()) == (locked.dev(), locked.ino()));
    Ok(if same { lock_result(file, taken) } else { Lock::InUse })
}

/// Interprets what `flock` returned. Any error other than a held lock means that nothing is known about the owner.
fn lock_result(file: File, taken: rustix::io::Result<()>) -> Lock {
    match taken {
        Ok(()) => Lock::Held(file),
        Err(Errno::WOULDBLOCK) => Lock::InUse,
        Err(error) => {
            tracing::debug!(%error, "directories cannot be locked here");
            Lock::Unsupported(file)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventually::eventually;

    #[test]
    fn only_a_lock_that_was_taken_is_held() {
        let base = tempfile::tempdir().expect("a directory");
        let result = |taken| lock_result(File::open(base.path()).expect("a directory"), taken);
        assert!(matches!(result(Ok(())), Lock::Held(_)));
        assert!(matches!(result(Err(Errno::WOULDBLOCK)), Lock::InUse));
        for without in [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INTR] {
            assert!(matches!(result(Err(without)), Lock::Unsupported(_)), "{without}");
        }
    }

    #[test]
    fn a_directory_has_one_owner_until_that_is_gone() {
        let base = tempfile::tempdir().expect("a directory");
        let owner = lock(base.path()).expect("it opens");
        assert!(matches!(owner, Lock::Held(_)));
        assert!(matches!(lock(base.path()), Ok(Lock::InUse)));
        drop(owner);
        let free = || matches!(lock(base.path()), Ok(Lock::Held(_))).then_some(());
        assert!(eventually(free).is_some());
        assert!(matches!(lock(&base.path().join("gone")), Ok(Lock::InUse)));
    }
}
