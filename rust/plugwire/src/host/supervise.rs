//! Stays with one plugin's process until it is gone, and leaves nothing of it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, PluginGone};
use super::logs::SharedTail;
use super::runner::Running;
use crate::transport::channel::Autopsy;

/// How long the readers get to take what is left in the pipes once the process has ended. Somebody who left the
/// process group may hold them open for ever.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How long a runner may take to end a plugin.
const RUNNER_KILLS: Duration = Duration::from_secs(5);
/// How long a broken call waits to learn whether the process ended.
const AUTOPSY: Duration = Duration::from_secs(1);

/// A plugin's process, while it runs and after.
#[derive(Clone)]
pub(super) struct Process {
    /// 0 where a runner has started it, which then has an id of its own for it.
    pub(super) pid: u32,
    pub(super) id: Option<Arc<str>>,
    pub(super) tail: SharedTail,
    name: Arc<str>,
    kill: CancellationToken,
    exit: watch::Receiver<Option<Exit>>,
    socket: Arc<OnceLock<PathBuf>>,
    readers: Arc<Mutex<Option<JoinSet<()>>>>,
}

impl Process {
    /// Takes charge of a child. `folder` is removed when all is over; `stderr` reads the child's standard error into `tail`.
    pub(super) fn supervise(
        child: Child,
        group: Group,
        name: &str,
        folder: TempDir,
        tail: SharedTail,
        stderr: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (process, exit) = Self::new(group.leader, None, name, tail, stderr);
        tokio::spawn(process.clone().run(child, group, Instant::now(), folder, exit));
        process
    }

    /// The same for what a runner has started.
    pub(super) fn attend(
        running: Box<dyn Running>,
        id: String,
        name: &str,
        folder: TempDir,
        tail: SharedTail,
        stderr: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (process, exit) = Self::new(0, Some(id.into()), name, tail, stderr);
        tokio::spawn(process.clone().run_elsewhere(running, Instant::now(), folder, exit));
        process
    }

    fn new(
        pid: u32,
        id: Option<Arc<str>>,
        name: &str,
        tail: SharedTail,
        stderr: impl Future<Output = ()> + Send + 'static,
    ) -> (Self, watch::Sender<Option<Exit>>) {
        let (sender, exit) = watch::channel(None);
        let mut readers = JoinSet::new();
        readers.spawn(stderr);
        let process = Self {
            pid,
            id,
            tail,
            name: name.into(),
            kill: CancellationToken::new(),
            exit,
            socket: Arc::default(),
            readers: Arc::new(Mutex::new(Some(readers))),
        };
        (process, sender)
    }

    /// Adds a task that reads one of the process's pipes.
    pub(super) fn spawn_reader(&self, reader: impl Future<Output = ()> + Send + 'static) {
        if let Some(readers) = &mut *self.readers.lock().unwrap_or_else(PoisonError::into_inner) {
            readers.spawn(reader);
        }
    }

    /// Remembers a socket outside the private folder: Go plugins leave theirs behind when they are killed, and those
    /// before go-plugin 1.5 do not know the folder.
    pub(super) fn remember_socket(&self, path: &Path) {
        let _ = self.socket.set(path.to_owned());
    }

    /// Kills the process and its group, soon. Harmless when it has ended.
    pub(super) fn kill(&self) {
        self.kill.cancel();
    }

    /// How it ended, if it did.
    pub(super) fn ended(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// Waits for the end. Cancel safe.
    pub(super) async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        match ended {
            Some(exit) => exit,
            // The supervisor went with its runtime, which is then shutting down: nobody will ever know.
            None => std::future::pending().await,
        }
    }

    async fn run(
        self,
        mut child: Child,
        group: Group,
        started: Instant,
        folder: TempDir,
        exit: watch::Sender<Option<Exit>>,
    ) {
        let status = tokio::select! {
            status = child.wait() => status,
            () = self.kill.cancelled() => {
                group.kill();
                child.wait().await
            }
        };
        let lived = started.elapsed();
        // The leader is gone; whoever it left in its group goes now. Alone, its id may be somebody else's by now.
        match group.leads {
            true => drop(group),
            false => std::mem::forget(group),
        }
        self.finish(status, lived, folder, exit).await;
    }

    async fn run_elsewhere(
        self,
        mut running: Box<dyn Running>,
        started: Instant,
        folder: TempDir,
        exit: watch::Sender<Option<Exit>>,
    ) {
        let status = tokio::select! {
            status = running.wait() => status,
            () = self.kill.cancelled() => {
                match tokio::time::timeout(RUNNER_KILLS, running.kill()).await {
                    Ok(Ok(())) => {}
                    failed => tracing::error!(?failed, plugin = %self.name, "a plugin's runner cannot end it"),
                }
                running.wait().await
            }
        };
        let lived = started.elapsed();
        drop(running);
        self.finish(status, lived, folder, exit).await;
    }

    /// Takes the last words, removes what is left, and tells everybody.
    async fn finish(
        self,
        status: io::Result<ExitStatus>,
        lived: Duration,
        folder: TempDir,
        exit: watch::Sender<Option<Exit>>,
    ) {
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut readers) = readers {
            let all = async { while readers.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(LAST_WORDS, all).await;
        }
        self.remove_sockets(folder);
        let (stderr, crash) = self.tail.read();
        match status {
            Ok(status) => {
                exit.send_replace(Some(Exit { status, lived, crash, stderr }));
            }
            Err(error) => {
                tracing::error!(%error, pid = self.pid, "a plugin's end cannot be waited for")
            }
        }
    }

    fn remove_sockets(&self, folder: TempDir) {
        if let Some(socket) = self.socket.get() {
            remove_socket(socket);
        }
        let path = folder.path().to_owned();
        if let Err(error) = folder.close()
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "the folder of a plugin's sockets was not removed");
        }
    }
}

/// Only ever a socket: the path comes from the plugin.
pub(super) fn remove_socket(path: &Path) {
    use std::os::unix::fs::FileTypeExt;
    if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a plugin's socket was not removed");
    }
}

/// A process and the group that it leads. Dropping it ends whoever is left of them, also when the whole runtime is torn
/// down.
pub(super) struct Group {
    leader: u32,
    /// Whether it leads one.
    leads: bool,
}

impl Group {
    pub(super) fn of(child: &Child, leads: bool) -> Self {
        Self { leader: child.id().expect("nobody has waited for it yet"), leads }
    }

    fn kill(&self) {
        let Some(pid) = i32::try_from(self.leader).ok().and_then(Pid::from_raw) else { return };
        // Fails only where everybody has gone.
        let _ = match self.leads {
            true => rustix::process::kill_process_group(pid, Signal::KILL),
            false => rustix::process::kill_process(pid, Signal::KILL),
        };
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Autopsy for Process {
    fn autopsy(&self) -> BoxFuture<'static, Option<Arc<dyn std::error::Error + Send + Sync>>> {
        let process = self.clone();
        Box::pin(async move {
            let exit = tokio::time::timeout(AUTOPSY, process.exited()).await.ok()?;
            let gone = PluginGone { plugin: process.name.to_string(), exit };
            Some(Arc::new(gone) as Arc<dyn std::error::Error + Send + Sync>)
        })
    }
}
