//! A child process and its group, and the signals to them.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, waitid, waitpid,
};

/// A child process and, if it leads one, its process group. Signals are sent only while the pid is known to be theirs.
///
/// On Windows a job object would do the same, without [`Signal::TERM`].
#[derive(Debug)]
pub(crate) struct ProcessGroup {
    leader: Pid,
    leads_group: bool,
    /// Whether the process has ended.
    ended: Mutex<bool>,
    /// Whether this crate sent SIGKILL.
    killed: AtomicBool,
}

impl ProcessGroup {
    pub(crate) fn of(leader: Pid, leads_group: bool) -> Self {
        Self { leader, leads_group, ended: Mutex::new(false), killed: AtomicBool::new(false) }
    }

    /// Returns what `kill` takes: the pid, or the negative id of the group.
    pub(crate) fn target(&self) -> i32 {
        let pid = self.leader.as_raw_nonzero().get();
        if self.leads_group { -pid } else { pid }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.leader.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends a signal to the group, or to the process if it leads none. Does nothing once the process has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        let ended = self.ended.lock();
        if !*ended {
            self.send(signal);
        }
    }

    /// Returns whether [`Signal::KILL`] was sent.
    pub(crate) fn was_killed(&self) -> bool {
        self.killed.load(Relaxed)
    }

    /// Kills the rest of the group, now that the process has ended, and stops signalling: the pid may be reused soon. Where
    /// the exit status is lost, the pid is free already unless the group has members left. Pids are assigned in a circle,
    /// so this moment is too short for it to be assigned again.
    pub(crate) fn end(&self) {
        let mut ended = self.ended.lock();
        if self.leads_group {
            self.send(Signal::KILL);
        }
        *ended = true;
    }

    fn send(&self, signal: Signal) {
        if signal == Signal::KILL {
            self.killed.store(true, Relaxed);
        }
        // Fails only if no process is left.
        let _ = match self.leads_group {
            true => rustix::process::kill_process_group(self.leader, signal),
            false => rustix::process::kill_process(self.leader, signal),
        };
    }

    /// Waits until the process has ended, and leaves it unreaped: until it is reaped, its pid and its group's are not
    /// reused. Returns `None` if the system keeps no status for this process: it ignores SIGCHLD, or waits for children
    /// that are not its own. The process has ended in this case, too.
    pub(crate) fn wait_without_reaping(&self) -> Option<ExitStatus> {
        loop {
            match waitid(WaitId::Pid(self.leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Err(rustix::io::Errno::INTR) => {}
                waited => return waited.ok().flatten().map(exit_status),
            }
        }
    }

    /// Reaps the process once it has ended. Does nothing if it was reaped elsewhere in this process.
    pub(crate) fn reap(&self) {
        let _ = waitpid(Some(self.leader), WaitOptions::NOHANG);
    }
}

/// Kills a child process that was not handed over: dropping it kills the group.
pub(crate) struct KillOnDrop<T>(Option<(Arc<ProcessGroup>, T)>);

impl<T> KillOnDrop<T> {
    pub(crate) fn new(group: Arc<ProcessGroup>, output: T) -> Self {
        Self(Some((group, output)))
    }

    /// Takes the process over.
    pub(crate) fn take(mut self) -> (Arc<ProcessGroup>, T) {
        self.0.take().expect("this takes it, and is the only one that does")
    }
}

impl<T> Drop for KillOnDrop<T> {
    fn drop(&mut self) {
        if let Some((group, _)) = &self.0 {
            group.signal(Signal::KILL);
        }
    }
}

/// Converts what `waitid` says into the form of `wait`, from which the standard library makes an exit status: an exit code,
/// or a signal and whether there is a core dump.
fn exit_status(waited: WaitIdStatus) -> ExitStatus {
    let code = waited.exit_status().map(|code| (code & 0xff) << 8);
    let signal = waited.terminating_signal().unwrap_or_default();
    let dumped = if waited.dumped() { 0x80 } else { 0 };
    ExitStatus::from_raw(code.unwrap_or(signal | dumped))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn no_signal_is_sent_once_the_process_has_ended() {
        let mut bystander = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let ended = ProcessGroup::of(Pid::from_child(&bystander), false);
        ended.end();
        ended.signal(Signal::KILL);
        assert!(!ended.was_killed());
        ProcessGroup::of(Pid::from_child(&bystander), false).signal(Signal::TERM);
        let status = bystander.wait().expect("ours");
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "not by the first");
    }
}
