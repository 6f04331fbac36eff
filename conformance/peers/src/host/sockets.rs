//! The plugin's private directory for sockets, its own and the host's (SOCK-4).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

/// The directory. Dropping it removes it, with what is left in it.
#[derive(Debug)]
pub(super) struct Sockets {
    folder: TempDir,
    made: AtomicU32,
    keep: bool,
}

impl Sockets {
    /// Creates the directory, accessible only to this user. With `keep` it is left behind.
    pub(super) fn new(keep: bool) -> io::Result<Self> {
        let mut folder = tempfile::Builder::new().prefix("host").tempdir()?;
        folder.disable_cleanup(keep);
        Ok(Self { folder, made: AtomicU32::new(0), keep })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a path for a socket of the host.
    pub(super) fn path(&self) -> PathBuf {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.folder().join(format!("b{number}"))
    }

    /// Removes the directory and its contents. A second call does nothing.
    pub(super) fn remove(&self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(self.folder());
        }
    }
}
