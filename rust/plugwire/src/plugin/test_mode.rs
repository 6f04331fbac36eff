//! Serving inside a test, without a separate process.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use plugwire_protocol::reattach::Reattach;
use tokio_util::task::AbortOnDropHandle;

use super::builder::Plugin;
use super::error::ServeError;
use super::running::Running;
use crate::net::{self, Listen, Listener};

impl Plugin {
    /// Serves inside this process, for tests: without cookie, handshake line, signals and captured output.
    /// Uses the given version, which must be registered. go-plugin: `ServeTestConfig`.
    ///
    /// Must be called inside a tokio runtime.
    pub fn serve_in_test(self, version: u32) -> Result<TestPlugin, ServeError> {
        let directory = TestDirectory::create().map_err(ServeError::Listen)?;
        let listen = Listen::Unix { directory: directory.path.clone(), group: None };
        let listener = Listener::bind_unix(&directory.path, None).map_err(ServeError::Listen)?;
        let address = listener.address();
        let tls = self.tls.clone();
        let running = Running::prepare(self, version, tls, listen, false)?;
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            running.run(listener, Vec::new(), None).await;
        }));
        let record = Reattach::new(version, address.network(), address.to_bytes())
            .with_pid(std::process::id())
            .with_test(true);
        Ok(TestPlugin { record, _task: task, _directory: directory })
    }
}

/// A plugin that serves in this process until it is dropped.
///
/// A host reaches it by its [`record`](TestPlugin::record). It listens on a plaintext socket in a
/// directory of its own, mode 0700.
#[must_use = "dropping this ends the plugin"]
pub struct TestPlugin {
    record: Reattach,
    // Dropped in this order: the socket is removed before its directory.
    _task: AbortOnDropHandle<()>,
    _directory: TestDirectory,
}

impl TestPlugin {
    /// Returns what a host needs to attach. Send [`Reattach::to_json`] to a host in another process.
    /// go-plugin: what arrives on `ServeTestConfig.ReattachConfigCh`.
    #[must_use]
    pub fn record(&self) -> &Reattach {
        &self.record
    }
}

impl fmt::Debug for TestPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestPlugin").field("record", &self.record).finish_non_exhaustive()
    }
}

/// A directory for the socket, mode 0700. Dropping it removes it.
///
/// Like a host's directories for sockets it is named `plugwire-…` and locked while its owner lives, so
/// that a host removes what a killed test leaves behind.
struct TestDirectory {
    path: PathBuf,
    _lock: Option<File>,
}

impl TestDirectory {
    fn create() -> io::Result<Self> {
        let base = std::env::temp_dir();
        net::check_base_dir(&base)?;
        for _ in 0..ATTEMPTS {
            let path = base.join(format!("plugwire-{:06x}", random_number()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            match lock(&path) {
                Some(lock) => return Ok(Self { path, _lock: Some(lock) }),
                // A host that swept between the two calls has removed it.
                None if !path.exists() => continue,
                None => return Ok(Self { path, _lock: None }),
            }
        }
        Err(io::Error::other(format!("no directory could be made in {}", base.display())))
    }
}

/// How many names are tried for the directory.
const ATTEMPTS: usize = 16;

/// Locks a directory. Fails where the file system has no locks; hosts then leave the directory alone.
fn lock(path: &Path) -> Option<File> {
    let directory = File::open(path).ok()?;
    let how = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&directory, how).ok()?;
    path.exists().then_some(directory)
}

fn random_number() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() % (1 << 24)
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        // A failure leaves an empty directory in the temporary directory, which a host removes later.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
