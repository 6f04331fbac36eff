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
            let Some(lock) = lock(folder.path())? else { continue };
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

/// Locks a folder; `None` if somebody else has it or has removed it. A file system without locks has none for those who
/// sweep either.
pub(crate) fn lock(folder: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::open(folder, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => tracing::debug!(%error, "folders cannot be locked here"),
        Ok(()) => {}
    }
    // It may have been removed between the two calls, and its name be another's.
    let (locked, named) = (file.metadata()?, std::fs::symlink_metadata(folder));
    let same = named.is_ok_and(|named| (named.dev(), named.ino()) == (locked.dev(), locked.ino()));
    Ok(same.then_some(file))
}
