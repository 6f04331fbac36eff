//! Ends a process in steps.

use std::time::Duration;

pub(crate) use rustix::process::Signal;
use tokio::time::timeout;

/// How long a process may take to be gone after SIGKILL.
pub const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a process gets before each of the signals that end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grace {
    /// The time to end by itself, before SIGTERM.
    pub exit: Duration,
    /// The time between SIGTERM and SIGKILL. Zero skips SIGTERM.
    pub terminate: Duration,
}

impl Grace {
    /// Returns the two times: before SIGTERM, and between SIGTERM and SIGKILL.
    #[must_use]
    pub const fn new(exit: Duration, terminate: Duration) -> Self {
        Self { exit, terminate }
    }
}

/// The step at which a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndStep {
    /// It ended by itself.
    ByItself,
    /// It ended after SIGTERM.
    Terminated,
    /// It had to be killed.
    Killed,
}

/// The process did not end within 5 s of SIGKILL: the kernel holds it in a system call that cannot be interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("process {pid} did not end when it was killed")]
#[non_exhaustive]
pub struct Unkillable {
    /// Its pid.
    pub pid: u32,
}

/// A process that can be signalled and awaited.
pub(crate) trait Signalled {
    fn pid(&self) -> u32;
    fn signal(&self, signal: Signal);
    fn ended(&self) -> impl Future<Output = ()> + Send;
}

pub(crate) async fn end_in_steps(
    process: &(impl Signalled + Sync),
    grace: Grace,
) -> Result<EndStep, Unkillable> {
    let mut steps = vec![(None, grace.exit, EndStep::ByItself)];
    if !grace.terminate.is_zero() {
        steps.push((Some(Signal::TERM), grace.terminate, EndStep::Terminated));
    }
    steps.push((Some(Signal::KILL), KILL_TIMEOUT, EndStep::Killed));
    for (signal, limit, step) in steps {
        if let Some(signal) = signal {
            process.signal(signal);
        }
        if timeout(limit, process.ended()).await.is_ok() {
            return Ok(step);
        }
    }
    Err(Unkillable { pid: process.pid() })
}
