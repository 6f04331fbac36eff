//! The plugin's private folder for sockets, its own and the host's (SOCK-4).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

/// The folder. Dropping it removes it, with what is left in it.
#[derive(Debug)]
pub(super) struct Sockets {
    folder: TempDir,
    made: AtomicU32,
    keep: bool,
}

impl Sockets {
    /// A new one; only this user gets in. `keep` leaves it behind.
    pub(super) fn new(keep: bool) -> io::Result<Self> {
        let mut folder = tempfile::Builder::new().prefix("host").tempdir()?;
        folder.disable_cleanup(keep);
        Ok(Self { folder, made: AtomicU32::new(0), keep })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path for a socket of the host.
    pub(super) fn path(&self) -> PathBuf {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.folder().join(format!("b{number}"))
    }

    /// Removes the folder and all that is in it. A second time does nothing.
    pub(super) fn remove(&self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(self.folder());
        }
    }
}
