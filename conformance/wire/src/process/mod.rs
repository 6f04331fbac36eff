//! The programs of a case: each case has a cage, and no process outlives its cage.
//!
//! A program carries a mark in its environment and leads a process group. If the system has a
//! readable process table, processes outside the group are recognised by the mark, by their
//! parents, and by their working directory. A process that hides even from that is adopted by the
//! suite ([`adopt_orphans`]): if there is only one cage, it belongs to it; otherwise it is a stray
//! ([`strays`]) that is counted and killed with the run.

mod cage;
mod output;
mod replay;
mod table;

pub use cage::Cage;
pub use output::{Output, Seen};
pub use replay::{REPLAY, quoted};
pub use table::{adopt_orphans, alive, end_strays, strays};

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::trace::Trace;

/// How long killed processes may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(ExitStatus);

impl Exit {
    /// Its exit status, unless a signal ended it.
    pub fn code(self) -> Option<i32> {
        self.0.code()
    }

    /// Returns the signal that ended it.
    pub fn signal(self) -> Option<i32> {
        self.0.signal()
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code(), self.signal()) {
            (Some(code), _) => write!(f, "exit status {code}"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => f.write_str("an unknown end"),
        }
    }
}

/// A program that was started. Its output is read to the end, whatever it prints.
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// What it wrote to standard output.
    pub stdout: Output,
    /// What it wrote to standard error.
    pub stderr: Output,
    /// Its standard input, where the command asked for a pipe.
    pub stdin: Option<ChildStdin>,
    exit: watch::Receiver<Option<Exit>>,
    trace: Trace,
    name: String,
}

impl Running {
    /// Starts a program in a process group of its own. `name` is what the trace calls it.
    pub fn start(mut command: Command, name: &str, trace: &Trace) -> io::Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = table::spawn(&mut command)?;
        let pid = child.id().ok_or_else(|| io::Error::other("the process has no id"))?;
        let said = command.as_std();
        trace.event("suite", format!("{name} starts as process {pid}: {:?}", said.get_program()));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let stdout = Output::read(stdout, "stdout", trace);
        let stderr = Output::read(stderr, "stderr", trace);
        let stdin = child.stdin.take();
        let (tell, exit) = watch::channel(None);
        let (log, label) = (trace.clone(), name.to_owned());
        tokio::spawn(async move {
            if let Ok(status) = child.wait().await {
                table::reaped(pid);
                log.event("exit", format!("{label}: {}", Exit(status)));
                tell.send_replace(Some(Exit(status)));
            }
        });
        let (trace, name) = (trace.clone(), name.to_owned());
        Ok(Self { pid, stdout, stderr, stdin, exit, trace, name })
    }

    /// Returns how it ended, if it has.
    pub fn ended(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits for its end, with a timeout. Cancel safe.
    pub async fn exited(&self, within: Duration) -> Option<Exit> {
        let mut exit = self.exit.clone();
        let ended = timeout(within, exit.wait_for(Option::is_some)).await;
        ended.ok().and_then(Result::ok).and_then(|exit| *exit)
    }

    /// Sends a signal to the process; false if it is gone.
    pub fn signal(&self, signal: Signal) -> bool {
        if self.ended().is_some() {
            return false;
        }
        self.trace.event("signal", format!("{signal:?} to {}", self.name));
        pid(self.pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
    }

    /// Sends a signal to its whole group. Returns false if the group is empty.
    pub fn signal_group(&self, signal: Signal) -> bool {
        self.trace.event("signal", format!("{signal:?} to the group of {}", self.name));
        pid(self.pid).is_some_and(|pid| kill_process_group(pid, signal).is_ok())
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("name", &self.name)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended().is_none()
            && let Some(pid) = pid(self.pid)
        {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

fn pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
