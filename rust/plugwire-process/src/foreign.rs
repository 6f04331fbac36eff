//! A process that this one did not start.

use std::io;

use crate::end::{EndStep, Grace, Signal, Signalled, Unkillable, end_in_steps};
use crate::sys::Pidfd;

/// A process that this one did not start. Signals reach this process or none, even if its pid is reused. Linux only.
#[derive(Debug)]
pub struct ForeignProcess(Pidfd);

impl ForeignProcess {
    /// Opens the process that has this pid now. Must be called inside a tokio runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// There is no such process, or the system is not Linux ([`io::ErrorKind::Unsupported`]).
    pub fn open(pid: u32) -> io::Result<Self> {
        Pidfd::open(pid).map(Self)
    }

    /// Returns its pid.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Waits until it has ended. Cancel safe.
    pub async fn ended(&self) {
        self.0.ended().await;
    }

    /// Waits until it ends by itself, sends SIGTERM, and then SIGKILL, to the process alone. Returns the step at which it
    /// ended.
    ///
    /// # Errors
    ///
    /// It did not end within 5 s of SIGKILL, or belongs to another user.
    ///
    /// Cancel safety: dropping the future stops waiting.
    pub async fn end(&self, grace: Grace) -> Result<EndStep, Unkillable> {
        end_in_steps(self, grace).await
    }
}

impl Signalled for ForeignProcess {
    fn pid(&self) -> u32 {
        self.pid()
    }

    fn signal(&self, signal: Signal) {
        self.0.signal(signal);
    }

    async fn ended(&self) {
        self.ended().await;
    }
}
