//! What a plugin leaves in the file system.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::host::guardian::Ward;
use crate::host::sweep;
use crate::net::private_dir::PrivateFolder;

/// What one plugin leaves in the file system, and who removes it if this process cannot.
pub(super) struct Traces {
    folder: PathBuf,
    socket: OnceLock<PathBuf>,
    /// The guardian is told by it.
    pub(super) ward: Option<Ward>,
}

impl Traces {
    /// `guarded` is what the guardian can kill and is to.
    pub(super) fn of(folder: &PrivateFolder, guarded: bool) -> Self {
        let folder = folder.path().to_owned();
        let ward = guarded.then(|| Ward::new(&folder));
        Self { folder, socket: OnceLock::new(), ward }
    }

    pub(super) fn remember(&self, socket: &Path) {
        let first = self.socket.set(socket.to_owned()).is_ok();
        if first && socket.parent() != Some(&self.folder) {
            sweep::note(&self.folder, socket);
            if let Some(ward) = &self.ward {
                ward.listens_at(socket);
            }
        }
    }

    pub(super) fn remove_socket(&self) {
        if let Some(socket) = self.socket.get() {
            remove_socket(socket);
        }
    }

    /// Nothing is left for the guardian to do.
    pub(super) fn forget(&self) {
        if let Some(ward) = &self.ward {
            ward.forget();
        }
    }
}

/// Only ever a socket: the path comes from the plugin.
pub(in crate::host) fn remove_socket(path: &Path) {
    use std::os::unix::fs::FileTypeExt;
    if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a plugin's socket was not removed");
    }
}

pub(super) fn remove_folder(folder: PrivateFolder) {
    let path = folder.path().to_owned();
    if let Err(error) = folder.close()
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "the folder of a plugin's sockets was not removed");
    }
}
