//! Isolates one test: the processes and files that belong to it can be told from all others.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use plugwire::Handshake;
use plugwire::host::Launch;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::go;
use crate::leaks::{eventually, sockets};

/// The limit for one run; longer than any scenario of the Go host, which has its own limits.
const LIMIT: Duration = Duration::from_secs(300);
/// The time an ended process may take to disappear. A forgotten Rust plugin exits by itself only
/// after ten seconds.
const GONE: Duration = Duration::from_secs(8);
/// The environment variable that marks every process started in a sandbox.
const MARK: &str = "PLUGWIRE_RUN";

/// A directory for sockets and files, and a mark in the environment of every process that is
/// started. Dropping the sandbox kills the processes that are left.
#[derive(Debug)]
pub struct Sandbox {
    folder: tempfile::TempDir,
    mark: String,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// Creates an empty sandbox.
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::Builder::new().prefix("pw").tempdir().expect("a directory");
        Self { folder, mark: format!("{}-{number}", std::process::id()) }
    }

    /// Returns the directory for sockets and other files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Prepares to start a plugin in this sandbox.
    pub fn launch(&self, handshake: Handshake, program: impl Into<PathBuf>) -> Launch {
        Launch::new(handshake, program)
            .socket_dir(self.folder())
            .env("TMPDIR", self.folder())
            .env(MARK, &self.mark)
            // A busy machine takes time to end a plugin and to notice its exit. The limit stays
            // below ten seconds, after which a Rust plugin whose shutdown hangs forces its own
            // exit: that must not pass for an orderly exit.
            .exit_timeout(Duration::from_secs(8))
    }

    /// Prepares to run a program in this sandbox. The program is killed if the future that waits
    /// for it is dropped.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("TMPDIR", self.folder())
            .env(MARK, &self.mark)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a program until it exits.
    pub async fn run(&self, command: &mut Command) -> Output {
        let output = timeout(LIMIT, command.output()).await;
        output
            .unwrap_or_else(|_| panic!("{command:?} did not end"))
            .unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Runs a scenario with a Go host of this release and a plugin, and returns the host's report.
    /// The scenario must complete.
    pub async fn go_host(&self, release: &str, scenario: &[&str], plugin: &[&OsStr]) -> Value {
        let mut host = self.command(go::peer(release, "probe-host"));
        host.args(scenario).arg("--").args(plugin);
        let output = self.run(&mut host).await;
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{host:?}: no report ({error}): {output:?}"));
        assert_eq!(report["ended"], true, "{host:?}: {report:#}");
        report
    }

    /// Writes a script that runs a program with these arguments before its own.
    pub fn script(&self, path: &str, program: &Path, arguments: &str) -> PathBuf {
        let path = self.folder().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        let (draft, script) = (path.with_extension("draft"), program.display());
        fs::write(&draft, format!("#!/bin/sh\nexec '{script}' {arguments} \"$@\"\n"))
            .expect("a file");
        // Another test may fork while this process has a file open for writing, and a file that any
        // process has open for writing cannot be executed. `install` writes the file in a process
        // of its own.
        let installed = std::process::Command::new("install")
            .args(["-m", "755"])
            .args([&draft, &path])
            .status();
        assert!(installed.expect("install is there").success());
        path
    }

    /// Returns the running processes that were started in this sandbox.
    pub fn processes(&self) -> Vec<u32> {
        let mark = format!("{MARK}={}\0", self.mark);
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid: &u32| {
                fs::read(format!("/proc/{pid}/environ"))
                    .is_ok_and(|all| all.windows(mark.len()).any(|part| part == mark.as_bytes()))
            })
            .collect()
    }

    /// Asserts that no process is left.
    pub async fn assert_no_processes(&self) {
        let gone = eventually(GONE, || self.processes().is_empty()).await;
        assert!(gone, "processes left: {:?}", self.processes());
    }

    /// Asserts that no process, socket or socket directory is left.
    pub async fn assert_empty(&self) {
        self.assert_no_processes().await;
        let gone = eventually(GONE, || sockets(self.folder()).is_empty()).await;
        assert!(gone, "sockets left: {:?}", sockets(self.folder()));
    }

    /// Kills every process that was started in this sandbox. For what Go hosts leave behind.
    pub fn kill_all(&self) {
        for pid in self.processes() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill_all();
    }
}
