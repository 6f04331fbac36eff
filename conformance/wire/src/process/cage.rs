//! The cage of a case: its directory and its processes.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;
use tokio::process::Command;

use super::replay::Notes;
use super::table::Members;
use super::{GONE, pid};
use crate::environment;

/// The variable that marks what was started in a cage.
const MARK: &str = "PLUGWIRE_CONFORMANCE_CASE";

/// A directory and a mark. Dropping it kills what is left.
#[derive(Debug)]
pub struct Cage {
    folder: Option<TempDir>,
    path: PathBuf,
    mark: String,
    members: Mutex<Members>,
    notes: Mutex<Notes>,
}

impl Cage {
    /// Creates an empty cage. Its path is short, since sockets are created in it.
    pub fn new() -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let temporary = std::env::temp_dir();
        // A socket's path has 107 bytes; the rest of ours takes some 40.
        let parent =
            if temporary.as_os_str().len() <= 50 { temporary } else { PathBuf::from("/tmp") };
        // Accessible only to this user.
        let folder = tempfile::Builder::new()
            .prefix("pwc")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)?;
        fs::create_dir(folder.path().join("t"))?;
        fs::create_dir(folder.path().join("w"))?;
        let path = folder.path().to_owned();
        let mark = format!("{}-{number}", std::process::id());
        let members = Mutex::new(Members::new(format!("{MARK}={mark}"), path.clone()));
        Ok(Self { folder: Some(folder), path, mark, members, notes: Mutex::default() })
    }

    /// Returns the case's directory.
    pub fn folder(&self) -> &Path {
        &self.path
    }

    /// Returns the temporary directory of its programs.
    pub fn temporary(&self) -> PathBuf {
        self.path.join("t")
    }

    /// Returns the working directory of its programs; it is removed with the case.
    pub fn working(&self) -> PathBuf {
        self.path.join("w")
    }

    /// Returns a command for a program in this cage. It inherits this process's environment without
    /// the protocol's variables, and gets the mark, its own temporary and working directories, and
    /// no standard input.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for name in environment::ALL {
            command.env_remove(name);
        }
        command.env(MARK, &self.mark).env("TMPDIR", self.temporary());
        command.current_dir(self.working()).stdin(Stdio::null());
        command
    }

    /// Returns the variable that marks the processes of this cage, for a program that another
    /// process starts.
    pub fn mark(&self) -> (&'static str, &str) {
        (MARK, &self.mark)
    }

    /// Returns the living processes that were started in this cage. A process that was seen once
    /// stays known, however it hides later, so look while its parents live.
    pub fn processes(&self) -> Vec<u32> {
        self.members.lock().living()
    }

    /// Returns the sockets in here.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(kind) if kind.is_socket() => found.push(entry.path()),
                    _ => {}
                }
            }
        }
        found.sort();
        found
    }

    /// Waits until no process is left, with a timeout, and returns those that remain.
    pub async fn left(&self, within: Duration) -> Vec<u32> {
        let give_up = Instant::now() + within;
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() >= give_up {
                return left;
            }
            // The process table does not notify of changes.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills all processes in this cage, and those that they start meanwhile. Returns false if one
    /// does not die.
    pub async fn kill(&self) -> bool {
        let give_up = Instant::now() + GONE;
        while !self.kill_once() {
            if Instant::now() >= give_up {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Kills the processes that are alive and returns true if there were none.
    fn kill_once(&self) -> bool {
        let living = self.processes();
        for process in living.iter().filter_map(|process| pid(*process)) {
            let _ = kill_process(process, Signal::KILL);
        }
        living.is_empty()
    }

    /// Removes the directory; no process may be alive in the cage.
    pub fn remove(mut self) -> io::Result<()> {
        self.remove_folder()
    }

    fn remove_folder(&mut self) -> io::Result<()> {
        let Some(mut folder) = self.folder.take() else { return Ok(()) };
        folder.disable_cleanup(true);
        if fs::remove_dir_all(folder.path()).is_ok() {
            return Ok(());
        }
        // A subject may have created directories that cannot be listed.
        open_up(folder.path());
        fs::remove_dir_all(folder.path())
    }

    /// Keeps the directory, writes the notes into it, and returns its path.
    pub fn keep(mut self) -> io::Result<PathBuf> {
        if let Some(folder) = self.folder.take() {
            self.path = folder.keep();
        }
        self.notes().write(&self.path)?;
        Ok(self.path.clone())
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock()
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        let give_up = Instant::now() + GONE;
        while !self.kill_once() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.remove_folder();
    }
}

/// Makes a directory and those in it such that they can be listed and emptied. Links are not followed.
fn open_up(folder: &Path) {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Running, alive, output};
    use crate::trace::Trace;

    #[tokio::test]
    async fn nothing_outlives_its_cage_not_even_what_leaves_the_group() {
        let cage = Cage::new().unwrap();
        let mut command = cage.command("sh");
        command.args(["-c", "setsid sleep 600 & echo started; sleep 600"]);
        let running = Running::start(command, "subject", &Trace::new()).unwrap();
        let line = running.stdout.first_line(Duration::from_secs(20)).await;
        assert_eq!(line.as_deref(), Some(&b"started\n"[..]));
        let give_up = Instant::now() + Duration::from_secs(20);
        while cage.processes().len() < 3 && Instant::now() < give_up {
            tokio::task::yield_now().await;
        }
        let living = cage.processes();
        assert_eq!(living.len(), 3, "{living:?}");
        assert_eq!(cage.left(Duration::ZERO).await.len(), 3);
        assert!(cage.kill().await);
        assert!(running.exited(GONE).await.is_some());
        assert!(!living.into_iter().any(alive));
        let folder = cage.folder().to_owned();
        drop(cage);
        assert!(!folder.exists());
    }

    #[test]
    fn folders_that_cannot_be_listed_are_removed() {
        let cage = Cage::new().unwrap();
        let folder = cage.folder().to_owned();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let inner = cage.temporary().join("a");
        fs::create_dir_all(inner.join("b/c")).unwrap();
        std::os::unix::fs::symlink("/", inner.join("root")).unwrap();
        for name in ["b", ""] {
            fs::set_permissions(inner.join(name), fs::Permissions::from_mode(0o000)).unwrap();
        }
        // Root may do everything; so that root sees it, too, only the modes are looked at.
        open_up(&folder);
        assert_eq!(fs::metadata(inner.join("b")).unwrap().permissions().mode() & 0o777, 0o700);
        cage.remove().unwrap();
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn gigabytes_are_counted_and_not_kept() {
        let cage = Cage::new().unwrap();
        let mut command = cage.command("sh");
        command.args(["-c", "head -c 50000000 /dev/zero; echo done >&2"]);
        let running = Running::start(command, "subject", &Trace::new()).unwrap();
        assert!(running.stdout.ends(Duration::from_secs(60)).await);
        assert_eq!(running.stdout.total(), 50_000_000);
        assert_eq!(running.stdout.bytes().len(), output::KEPT);
        assert_eq!(running.exited(Duration::from_secs(60)).await.unwrap().code(), Some(0));
        assert_eq!(running.stderr.text(), "done\n");
    }
}
