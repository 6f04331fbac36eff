//! Ends a plugin on its host's request, step by step.

use std::sync::Arc;
use std::time::Duration;

use plugwire_process::{EndStep, Exit, Grace};

use super::error::ShutdownError;
use super::handle::{Inner, Owner, PluginHandle};
use super::session::Session;
use super::settings::Timeouts;

/// How a plugin was shut down.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The step at which it ended.
    pub phase: ShutdownPhase,
    /// Whether the calls under way had finished by then; otherwise they were cut off.
    pub drained: bool,
    /// How the process ended. `None` for a plugin that this host did not start, and if the plugin's directory cannot be
    /// removed because its file system does not answer.
    pub exit: Option<Exit>,
}

/// The steps of a shutdown, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ShutdownPhase {
    /// The process had ended before.
    AlreadyGone,
    /// It ended by itself after it was asked to.
    Asked,
    /// It ended, or the last process of its group did, only at SIGTERM.
    Terminated,
    /// It had to be killed, with its process group.
    Killed,
}

impl PluginHandle {
    /// Ends the plugin: lets calls under way finish, asks it (`Shutdown`), closes the connection, waits for the process,
    /// sends SIGTERM to its process group, and then SIGKILL. Each step has its time limit, so this always returns;
    /// [`ShutdownReport::phase`] is the step at which the plugin ended. With the defaults this takes 10 s at worst, and 5 s
    /// more if even SIGKILL does not help. The plugin's last output is then read: immediately, or as soon as a busy runtime
    /// gets to it, and for 10 s at most.
    ///
    /// A plugin that this host did not start is asked and neither awaited nor killed, unless
    /// [`Attach::kill_on_shutdown`](super::Attach::kill_on_shutdown) says so. A plugin in a test is only disconnected.
    /// go-plugin: `Client.Kill`.
    ///
    /// Cancel safety: dropping the future stops waiting; the plugin is then ended when the last handle is dropped.
    pub async fn shutdown(&self) -> Result<ShutdownReport, ShutdownError> {
        shut_down(self.0.session.clone(), self.0.owner.clone(), self.0.timeouts).await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Owner::Us(process) = &self.owner else { return };
        if process.exit_status().is_none() && !process.outlives_host() {
            // If the runtime is already shutting down, the task is dropped unrun, and the process is killed with the runtime.
            self.runtime.spawn(shut_down(self.session.clone(), self.owner.clone(), self.timeouts));
        }
    }
}

/// Goes through the steps, each with its time limit. Spec: SHD-2 to SHD-4.
async fn shut_down(
    session: Arc<Session>,
    owner: Owner,
    timeouts: Timeouts,
) -> Result<ShutdownReport, ShutdownError> {
    let already_gone =
        |exit| Ok(ShutdownReport { phase: ShutdownPhase::AlreadyGone, drained: true, exit });
    match &owner {
        Owner::Us(process) if process.has_ended() => {
            session.close();
            return already_gone(process.exited_within(Duration::ZERO).await);
        }
        Owner::Other { test: true, .. } => {
            session.close();
            return already_gone(None);
        }
        _ => {}
    }
    let drained = session.channel.calls().finished(timeouts.drain).await;
    session.shut_down(timeouts.shutdown).await;
    let grace = Grace::new(timeouts.exit, timeouts.terminate);
    let (step, exit) = match owner {
        Owner::Us(process) => {
            let step = process.end(grace).await?;
            (step, process.exited_within(Duration::ZERO).await)
        }
        Owner::Other { process: Some(process), .. } => {
            let unkillable = |_| ShutdownError::Unkillable { pid: Some(process.pid()) };
            (process.end(grace).await.map_err(unkillable)?, None)
        }
        Owner::Other { process: None, .. } => (EndStep::ByItself, None),
    };
    let phase = match step {
        EndStep::ByItself => ShutdownPhase::Asked,
        EndStep::Terminated => ShutdownPhase::Terminated,
        EndStep::Killed => ShutdownPhase::Killed,
    };
    Ok(ShutdownReport { phase, drained, exit })
}
