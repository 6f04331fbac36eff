//! What a process leaves in the file system.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::sweep::{self, remove_socket};
use crate::{PrivateDir, guardian};

/// What one process leaves in the file system, and the guardian's entry for it, if the guardian is to clean up.
#[derive(Debug)]
pub(crate) struct Leftovers {
    dir: Option<PathBuf>,
    socket: OnceLock<PathBuf>,
    pub(crate) guarded: Option<guardian::Entry>,
}

impl Leftovers {
    /// Registers them with the guardian, if it is to end the process when this one is killed.
    pub(crate) fn new(dir: Option<&PrivateDir>, guarded: bool) -> Self {
        let dir = dir.map(|dir| dir.path().to_owned());
        let guarded = guarded.then(|| guardian::Entry::new(dir.as_deref()));
        Self { dir, socket: OnceLock::new(), guarded }
    }

    pub(crate) fn remember_socket(&self, socket: &Path) {
        let first = self.socket.set(socket.to_owned()).is_ok();
        if first && socket.parent() != self.dir.as_deref() {
            if let Some(dir) = &self.dir {
                sweep::note(dir, socket);
            }
            if let Some(entry) = &self.guarded {
                entry.listens_at(socket);
            }
        }
    }

    pub(crate) fn remove_socket(&self) {
        if let Some(socket) = self.socket.get() {
            remove_socket(socket);
        }
    }

    /// Removes the entry from the guardian: it has nothing left to do.
    pub(crate) fn forget(&self) {
        if let Some(entry) = &self.guarded {
            entry.forget();
        }
    }
}

/// Removes a private directory, and logs if that fails.
pub(crate) fn remove_dir(dir: PrivateDir) {
    let path = dir.path().to_owned();
    if let Err(error) = dir.close() {
        tracing::warn!(%error, path = %path.display(), "a process's private directory was not removed");
    }
}
