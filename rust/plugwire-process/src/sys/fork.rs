//! Starts a process by a fork, where a process that uses this one's memory is not known to be safe. It takes the longer the
//! more memory this process has.
#![cfg_attr(target_os = "linux", allow(dead_code, reason = "compiled for tests only"))]

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Pid;

use super::exec::{Execution, Failure, NOT_EXECUTED};
use crate::spawn_error::{SpawnError, SpawnStep};

/// The steps that can fail in the new process.
const STEPS: [SpawnStep; 8] = [
    SpawnStep::Confine,
    SpawnStep::Descriptors,
    SpawnStep::Execute,
    SpawnStep::Group,
    SpawnStep::Guard,
    SpawnStep::Pipes,
    SpawnStep::TieToParent,
    SpawnStep::WorkingDirectory,
];

/// Starts the process, and returns it with what failed in it. Returns once it has executed its program, or has failed.
pub(crate) fn start(mut execution: Execution) -> Result<(Pid, Option<Failure>), SpawnError> {
    let pipe = io::pipe().map_err(|error| SpawnStep::Pipes.failed(error));
    let (mut failure, mut failed) = pipe?;
    // The standard library forks and restores the signals. It does not get as far as executing anything.
    let mut command = Command::new("/");
    let run = move || {
        let Failure { step, errno } = execution.execute();
        let [a, b, c, d] = errno.to_ne_bytes();
        let _ = failed.write_all(&[step as u8, a, b, c, d]);
        // SAFETY: it takes a number and never returns.
        unsafe { libc::_exit(NOT_EXECUTED) }
    };
    // SAFETY: each step of `execute` is safe here; besides that, one write and one exit. No memory, no locks.
    unsafe { command.pre_exec(run) };
    let child = command.spawn().map_err(|error| SpawnStep::Fork.failed(error))?;
    // This closes this process's end of the pipe. What is left is the child's, which closes at exec.
    drop(command);
    let mut said = [0; 5];
    let failure = failure.read_exact(&mut said).ok().and_then(|()| {
        let [step, errno @ ..] = said;
        let step = STEPS.into_iter().find(|known| *known as u8 == step)?;
        Some(Failure { step, errno: i32::from_ne_bytes(errno) })
    });
    Ok((Pid::from_child(&child), failure))
}

/// Does nothing: the standard library has done it.
pub(crate) fn default_signals() {}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;

    use rustix::process::{WaitOptions, waitpid};

    use super::*;

    fn shell(program: &str) -> Execution {
        let arguments = ["sh", "-c", "exit 3"].map(OsStr::new);
        Execution::new(Path::new(program), arguments, []).expect("no zeros in it")
    }

    #[test]
    fn a_fork_executes_too_and_says_which_step_failed() {
        let (pid, failure) = start(shell("/bin/sh")).expect("it forks");
        assert!(failure.is_none());
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).expect("ours").expect("ended");
        assert_eq!(status.exit_status(), Some(3));

        let (pid, failure) = start(shell("/nowhere/sh")).expect("it forks");
        let failure = failure.expect("there is no such program");
        assert_eq!((failure.step, failure.errno), (SpawnStep::Execute, libc::ENOENT));
        waitpid(Some(pid), WaitOptions::empty()).expect("ours");
    }
}
