//! The end of a plugin that its host wishes for, step by step.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::timeout;

use super::error::ShutdownError;
use super::exit::{ShutdownPhase, ShutdownReport};
use super::handle::Owner;
use super::launch::Limits;
use super::session::Session;
use super::supervise::{KILLED, Process};
use super::system::Foreign;

/// Goes through the steps, each with its limit. Spec: SHD-2 to SHD-4.
pub(super) async fn shut_down(
    session: Arc<Session>,
    owner: Owner,
    limits: Limits,
) -> Result<ShutdownReport, ShutdownError> {
    let over = |phase, exit| Ok(ShutdownReport { phase, drained: true, exit });
    match &owner {
        Owner::Us(process) if process.is_dead() => {
            session.cut();
            return over(ShutdownPhase::AlreadyGone, process.told().await);
        }
        Owner::Other { test: true, .. } => {
            session.cut();
            return over(ShutdownPhase::AlreadyGone, None);
        }
        _ => {}
    }
    let drained = session.channel.calls().finished(limits.drain).await;
    session.shut_down(limits.shutdown).await;
    let (phase, exit) = match owner {
        Owner::Us(process) => {
            let phase = end(&process, limits).await?;
            (phase, process.told().await)
        }
        Owner::Other { process: Some(process), .. } => (end(&*process, limits).await?, None),
        Owner::Other { process: None, .. } => (ShutdownPhase::Asked, None),
    };
    Ok(ShutdownReport { phase, drained, exit })
}

/// Somebody who was asked to end, and can be made to.
trait Mortal {
    fn pid(&self) -> u32;
    /// False where there is no way but to kill.
    fn terminate(&self) -> bool;
    /// Says how long it may take to be gone then.
    fn kill(&self) -> Duration;
    fn gone(&self) -> impl Future<Output = ()>;
}

/// Waits for the end, and helps.
async fn end(process: &impl Mortal, limits: Limits) -> Result<ShutdownPhase, ShutdownError> {
    let ends_within = async |limit| timeout(limit, process.gone()).await.is_ok();
    if ends_within(limits.exit).await {
        return Ok(ShutdownPhase::Asked);
    }
    let asked_again = !limits.terminate.is_zero() && process.terminate();
    if asked_again && ends_within(limits.terminate).await {
        return Ok(ShutdownPhase::Terminated);
    }
    let limit = process.kill();
    if ends_within(limit).await {
        return Ok(ShutdownPhase::Killed);
    }
    Err(ShutdownError::Unkillable { pid: process.pid() })
}

impl Mortal for Process {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn terminate(&self) -> bool {
        self.terminate()
    }

    fn kill(&self) -> Duration {
        self.kill();
        self.dies_within()
    }

    async fn gone(&self) {
        self.dead().await;
    }
}

impl Mortal for Foreign {
    fn pid(&self) -> u32 {
        self.pid()
    }

    fn terminate(&self) -> bool {
        self.signal(Signal::TERM);
        true
    }

    fn kill(&self) -> Duration {
        self.signal(Signal::KILL);
        KILLED
    }

    async fn gone(&self) {
        self.gone().await;
    }
}
