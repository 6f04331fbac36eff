//! A plugin's process, whether this host or its runner started it.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use plugwire_process::{
    EndStep, Exit, Grace, KILL_TIMEOUT, OutputReaders, PrivateDir, Process, StderrTail,
};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::error::{PluginGone, ShutdownError};
use super::runner::Running;
use crate::http2::{Cause, Peer};

/// How long a runner may take to end a plugin.
const RUNNER_KILLS: Duration = Duration::from_secs(5);
/// How long it may then take to report how the plugin ended.
const RUNNER_REPORTS: Duration = Duration::from_secs(2);
/// How long both may take, and a moment to notice.
const RUNNER_KILL_TIMEOUT: Duration =
    RUNNER_KILLS.saturating_add(RUNNER_REPORTS).saturating_add(Duration::from_secs(1));
/// How long it may take after the end of a process until its last output is read.
const READ: Duration = Duration::from_secs(10);
/// How long a broken call waits to learn whether the process ended. How it ended takes a moment more.
const ENDS_SOON: Duration = Duration::from_secs(1);

/// A plugin's process, while it runs and after.
#[derive(Clone)]
pub(super) struct PluginProcess {
    plugin: Arc<str>,
    started_by: StartedBy,
}

#[derive(Clone)]
enum StartedBy {
    Us(Process),
    Runner(RunnersProcess),
}

impl PluginProcess {
    pub(super) fn new(plugin: String, process: Process) -> Self {
        Self { plugin: plugin.into(), started_by: StartedBy::Us(process) }
    }

    /// Takes charge of what a runner started. `dir` is removed when the plugin has ended. `stderr` reads its standard error
    /// into `tail`.
    pub(super) fn of_runner(
        plugin: String,
        id: String,
        running: Box<dyn Running>,
        stderr: impl Future<Output = ()> + Send + 'static,
        tail: StderrTail,
        dir: PrivateDir,
    ) -> Self {
        let plugin: Arc<str> = plugin.into();
        let (exit, receiver) = watch::channel(None);
        let readers = Arc::new(OutputReaders::default());
        readers.spawn(stderr);
        let process = RunnersProcess {
            id: id.into(),
            tail,
            ended: CancellationToken::new(),
            kill: CancellationToken::new(),
            exit: receiver,
            readers,
        };
        tokio::spawn(process.clone().attend(plugin.clone(), running, dir, exit));
        Self { plugin, started_by: StartedBy::Runner(process) }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        match &self.started_by {
            StartedBy::Us(process) => Some(process.pid()),
            StartedBy::Runner(_) => None,
        }
    }

    pub(super) fn runner_id(&self) -> Option<&str> {
        match &self.started_by {
            StartedBy::Us(_) => None,
            StartedBy::Runner(process) => Some(&process.id),
        }
    }

    pub(super) fn outlives_host(&self) -> bool {
        matches!(&self.started_by, StartedBy::Us(process) if process.outlives_parent())
    }

    pub(super) fn stderr_tail(&self) -> String {
        match &self.started_by {
            StartedBy::Us(process) => process.stderr_tail(),
            StartedBy::Runner(process) => process.tail.lines(),
        }
    }

    /// Spawns a task that reads one of the process's pipes.
    pub(super) fn spawn_reader(&self, reader: impl Future<Output = ()> + Send + 'static) {
        match &self.started_by {
            StartedBy::Us(process) => process.spawn_reader(reader),
            StartedBy::Runner(process) => process.readers.spawn(reader),
        }
    }

    /// Removes a socket outside the private directory once the process has ended. A runner's plugin may name sockets by paths
    /// that mean other files on this machine, so they are left alone.
    pub(super) fn remove_socket_at_exit(&self, socket: &std::path::Path) {
        if let StartedBy::Us(process) = &self.started_by {
            process.remove_socket_at_exit(socket);
        }
    }

    /// Kills the process and its group, without waiting. Does nothing once it has ended.
    pub(super) fn kill(&self) {
        match &self.started_by {
            StartedBy::Us(process) => process.kill(),
            StartedBy::Runner(process) => process.kill.cancel(),
        }
    }

    /// Kills it, and waits for the end.
    pub(super) async fn killed(&self) -> Option<Exit> {
        self.kill();
        let limit = match &self.started_by {
            StartedBy::Us(_) => KILL_TIMEOUT,
            StartedBy::Runner(_) => RUNNER_KILL_TIMEOUT,
        };
        self.exited_within(limit).await
    }

    /// Ends it in steps. A runner knows only one signal.
    pub(super) async fn end(&self, grace: Grace) -> Result<EndStep, ShutdownError> {
        match &self.started_by {
            StartedBy::Us(process) => {
                let unkillable = |_| ShutdownError::Unkillable { pid: Some(process.pid()) };
                process.end(grace).await.map_err(unkillable)
            }
            StartedBy::Runner(process) => process.end(grace.exit).await,
        }
    }

    /// Returns whether it has ended. How it ended may not be known yet.
    pub(super) fn has_ended(&self) -> bool {
        match &self.started_by {
            StartedBy::Us(process) => process.has_ended(),
            StartedBy::Runner(process) => process.ended.is_cancelled(),
        }
    }

    /// Waits until it has ended. Cancel safe.
    pub(super) async fn ended(&self) {
        match &self.started_by {
            StartedBy::Us(process) => process.ended().await,
            StartedBy::Runner(process) => process.ended.cancelled().await,
        }
    }

    /// Returns how it ended, if it did.
    pub(super) fn exit_status(&self) -> Option<Exit> {
        match &self.started_by {
            StartedBy::Us(process) => process.exit_status(),
            StartedBy::Runner(process) => process.exit.borrow().clone(),
        }
    }

    /// Waits for the end. Cancel safe.
    pub(super) async fn exited(&self) -> Exit {
        match &self.started_by {
            StartedBy::Us(process) => process.exited().await,
            StartedBy::Runner(process) => process.exited().await,
        }
    }

    /// Waits until it has ended, for at most `limit`, and then until its last output is read: a busy runtime may need time
    /// for that, which is not counted against the limit. Returns `None` if its private directory cannot be removed.
    pub(super) async fn exited_within(&self, limit: Duration) -> Option<Exit> {
        match &self.started_by {
            StartedBy::Us(process) => process.exited_within(limit).await,
            StartedBy::Runner(process) => {
                timeout(limit, process.ended.cancelled()).await.ok()?;
                timeout(READ, process.exited()).await.ok()
            }
        }
    }
}

impl Peer for PluginProcess {
    fn cause_of_end(&self) -> BoxFuture<'static, Option<Cause>> {
        let process = self.clone();
        Box::pin(async move {
            let exit = process.exited_within(ENDS_SOON).await?;
            let gone = PluginGone { plugin: process.plugin.to_string(), exit };
            Some(Arc::new(gone) as Cause)
        })
    }

    fn gone(&self) -> BoxFuture<'static, ()> {
        let process = self.clone();
        Box::pin(async move { process.ended().await })
    }
}

/// A process that a runner started.
#[derive(Clone)]
struct RunnersProcess {
    id: Arc<str>,
    tail: StderrTail,
    /// Cancelled when it has ended.
    ended: CancellationToken,
    /// Cancelled when it is to be killed.
    kill: CancellationToken,
    exit: watch::Receiver<Option<Exit>>,
    readers: Arc<OutputReaders>,
}

impl RunnersProcess {
    /// Waits for the end, or brings it about. Dropping the future drops what runs, which ends it, too.
    async fn attend(
        self,
        plugin: Arc<str>,
        mut running: Box<dyn Running>,
        dir: PrivateDir,
        exit: watch::Sender<Option<Exit>>,
    ) {
        let started = Instant::now();
        let status = tokio::select! {
            status = running.wait() => status,
            () = self.kill.cancelled() => kill(&mut *running, &plugin).await,
        };
        let mut ended = Exit::new(None, started.elapsed());
        self.ended.cancel();
        drop(running);
        self.readers.finish().await;
        if let Err(error) = dir.close() {
            tracing::warn!(%error, plugin = &*plugin, "the directory of a plugin's sockets was not removed");
        }
        (ended.stderr, ended.crash) = (self.tail.lines(), self.tail.crash());
        match status {
            Ok(status) => ended.status = Some(status),
            Err(error) => {
                tracing::error!(%error, plugin = &*plugin, "a plugin's runner cannot tell how it ended");
            }
        }
        exit.send_replace(Some(ended));
    }

    async fn end(&self, by_itself: Duration) -> Result<EndStep, ShutdownError> {
        if timeout(by_itself, self.ended.cancelled()).await.is_ok() {
            return Ok(EndStep::ByItself);
        }
        self.kill.cancel();
        match timeout(RUNNER_KILL_TIMEOUT, self.ended.cancelled()).await {
            Ok(()) => Ok(EndStep::Killed),
            Err(_) => Err(ShutdownError::Unkillable { pid: None }),
        }
    }

    async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        let exited = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        match exited {
            Some(exit) => exit,
            // The task that would report it is gone, because the runtime is shutting down.
            None => std::future::pending().await,
        }
    }
}

/// Lets the runner end the plugin. If it says that it did, it gets little time to report how; if it cannot, the plugin may
/// still end by itself.
async fn kill(running: &mut dyn Running, plugin: &str) -> io::Result<ExitStatus> {
    match timeout(RUNNER_KILLS, running.kill()).await {
        Ok(Ok(())) => timeout(RUNNER_REPORTS, running.wait()).await?,
        failed => {
            tracing::error!(?failed, plugin, "a plugin's runner cannot end it");
            running.wait().await
        }
    }
}
