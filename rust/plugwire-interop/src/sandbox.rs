//! A place of its own for one test: what is started in it can be told from everything else, and so can what is left.

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

/// Longer than any scenario of the Go host, which has limits of its own.
const LIMIT: Duration = Duration::from_secs(300);
/// How long what was ended may take to be gone. A Rust plugin that was forgotten would end by itself after ten seconds.
const GONE: Duration = Duration::from_secs(8);
/// The variable that marks every process started here.
const MARK: &str = "PLUGWIRE_RUN";

/// A folder for sockets and files, and a mark in the environment of all that is started. Dropping it ends what is left.
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
    /// An empty one.
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::Builder::new().prefix("pw").tempdir().expect("a folder");
        Self { folder, mark: format!("{}-{number}", std::process::id()) }
    }

    /// Where sockets are, and what else the test wants to put there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A plugin to start in here.
    pub fn launch(&self, handshake: Handshake, program: impl Into<PathBuf>) -> Launch {
        Launch::new(handshake, program)
            .socket_dir(self.folder())
            .env("TMPDIR", self.folder())
            .env(MARK, &self.mark)
            // A busy machine takes its time to end a plugin that was asked, and to hear of it. A Rust plugin whose end hangs
            // makes an end of it after ten seconds, and must not pass for one that ended well.
            .exit_timeout(Duration::from_secs(8))
    }

    /// A program to run in here. It is killed with the future that waits for it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("TMPDIR", self.folder())
            .env(MARK, &self.mark)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a program to its end.
    pub async fn run(&self, command: &mut Command) -> Output {
        let output = timeout(LIMIT, command.output()).await;
        output
            .unwrap_or_else(|_| panic!("{command:?} did not end"))
            .unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Lets a Go host of this release play a scenario with a plugin, and returns its report. The scenario must end.
    pub async fn go_host(&self, release: &str, scenario: &[&str], plugin: &[&OsStr]) -> Value {
        let mut host = self.command(go::peer(release, "probe-host"));
        host.args(scenario).arg("--").args(plugin);
        let output = self.run(&mut host).await;
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{host:?}: no report ({error}): {output:?}"));
        assert_eq!(report["ended"], true, "{host:?}: {report:#}");
        report
    }

    /// A script that is in place of a program, with these arguments before its own.
    pub fn script(&self, path: &str, program: &Path, arguments: &str) -> PathBuf {
        let path = self.folder().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let (draft, script) = (path.with_extension("draft"), program.display());
        fs::write(&draft, format!("#!/bin/sh\nexec '{script}' {arguments} \"$@\"\n"))
            .expect("a file");
        // Another test may fork while a file is open for writing here, and nobody can run a file that somebody writes.
        let installed = std::process::Command::new("install")
            .args(["-m", "755"])
            .args([&draft, &path])
            .status();
        assert!(installed.expect("install is there").success());
        path
    }

    /// The processes that were started in here and live.
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

    /// Fails where a process lives on.
    pub async fn assert_no_processes(&self) {
        let gone = eventually(GONE, || self.processes().is_empty()).await;
        assert!(gone, "processes left: {:?}", self.processes());
    }

    /// Fails where a process, a socket or a folder for sockets is left.
    pub async fn assert_empty(&self) {
        self.assert_no_processes().await;
        let gone = eventually(GONE, || sockets(self.folder()).is_empty()).await;
        assert!(gone, "sockets left: {:?}", sockets(self.folder()));
    }

    /// Kills what was started here. For what Go hosts leave behind.
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
