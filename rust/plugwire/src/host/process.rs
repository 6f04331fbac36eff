//! The life of a plugin that a runner has started.

use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Process, traces};
use crate::host::exit::Exit;
use crate::host::runner::{Output, Running};
use crate::net::private_dir::PrivateFolder;

/// How long a runner may take to end a plugin.
const RUNNER_KILLS: Duration = Duration::from_secs(5);
/// How long it may then take to say how the plugin ended.
const RUNNER_TELLS: Duration = Duration::from_secs(2);
/// How long both may take, and a moment to notice.
pub(super) const KILLED: Duration =
    RUNNER_KILLS.saturating_add(RUNNER_TELLS).saturating_add(Duration::from_secs(1));

/// What is attended to, of what a runner has started.
pub(in crate::host) struct Attended {
    pub(in crate::host) id: String,
    pub(in crate::host) running: Box<dyn Running>,
    pub(in crate::host) stderr: Output,
}

/// Waits for the end, or brings it about; dropping the future does so, too.
pub(super) async fn attend(
    process: Process,
    mut running: Box<dyn Running>,
    kill: CancellationToken,
    folder: PrivateFolder,
    exit: watch::Sender<Option<Exit>>,
) {
    let started = Instant::now();
    let status = tokio::select! {
        status = running.wait() => status,
        () = kill.cancelled() => killed(&mut *running, &process.name).await,
    };
    let lived = started.elapsed();
    process.dead.cancel();
    drop(running);
    process.readers.finished().await;
    traces::remove_folder(folder);
    let (stderr, crash) = process.tail.read();
    if let Err(error) = &status {
        tracing::error!(%error, plugin = %process.name, "a plugin's runner cannot tell how it ended");
    }
    let status = status.ok();
    exit.send_replace(Some(Exit { status, lived, out_of_memory: None, crash, stderr }));
}

/// Lets the runner end it. Where it says that it did, nobody waits for long to hear how; where it cannot, the plugin may
/// still end by itself.
async fn killed(running: &mut dyn Running, plugin: &str) -> io::Result<ExitStatus> {
    match timeout(RUNNER_KILLS, running.kill()).await {
        Ok(Ok(())) => timeout(RUNNER_TELLS, running.wait()).await?,
        failed => {
            tracing::error!(?failed, plugin, "a plugin's runner cannot end it");
            running.wait().await
        }
    }
}
