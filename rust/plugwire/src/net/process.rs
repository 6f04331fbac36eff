//! Processes at the other end of a connection, told apart even if a pid is used again.

use rustix::process::Pid;

/// One process: its pid, and when it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessId {
    pid: Pid,
    started: Started,
}

impl ProcessId {
    /// Returns the process that has this pid now, or `None` if it has ended.
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        Some(Self { pid, started: started(pid)? })
    }

    /// Returns whether the process still runs. A zombie has ended.
    pub(crate) fn runs(&self) -> bool {
        started(self.pid).is_some_and(|started| started == self.started)
    }
}

#[cfg(target_os = "linux")]
type Started = u64;

/// Returns when the process started, in ticks since the system did, or `None` if it has ended.
#[cfg(target_os = "linux")]
fn started(pid: Pid) -> Option<Started> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name is in parentheses and may itself contain some.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    match fields.next()? {
        "Z" | "X" => None,
        // Field 22 of proc_pid_stat(5). The state that was just read is the third.
        _ => fields.nth(18)?.parse().ok(),
    }
}

/// Elsewhere a pid that is used again, and a zombie, pass for the process that had it.
#[cfg(not(target_os = "linux"))]
type Started = ();

#[cfg(not(target_os = "linux"))]
fn started(pid: Pid) -> Option<Started> {
    rustix::process::test_kill_process(pid).ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_runs_until_it_has_ended() {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("it starts");
        let pid = Pid::from_child(&child);
        let process = ProcessId::of(pid).expect("it runs");
        assert!(process.runs());
        assert_ne!(ProcessId::of(rustix::process::getpid()), Some(process.clone()));
        child.kill().expect("it runs");
        child.wait().expect("it is a child");
        assert!(!process.runs() && ProcessId::of(pid).is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pid_that_is_used_again_is_another_process() {
        let own = ProcessId::of(rustix::process::getpid()).expect("it runs");
        assert!(own.runs());
        assert!(!ProcessId { started: own.started + 1, ..own }.runs());
    }
}
