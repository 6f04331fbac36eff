//! The life of one child process on its own thread, from its start until it is reaped.
//!
//! A parent-death signal is sent when the *thread* that started a process ends, so this thread lives as long as its process.
//! It also cleans up after the process where no runtime is left to do it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, getpid};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::command::{Pipes, Prepared, StderrReader};
use crate::group::{KillOnDrop, ProcessGroup};
use crate::leftovers::{Leftovers, remove_dir};
use crate::out_of_memory::Kills;
use crate::readers::OutputReaders;
use crate::spawn_error::{SpawnError, SpawnStep};
use crate::sys::exec::{Execution, pipe};
use crate::{Exit, PrivateDir, StderrTail, sys};

/// How long the shutdown of a runtime is delayed until its processes are gone.
const GONE_WITH_THE_RUNTIME: Duration = Duration::from_secs(2);

/// The child process, once it runs, with its standard output.
pub(crate) type Started = Result<KillOnDrop<ChildStdout>, SpawnError>;

/// One child process, on its own thread.
pub(crate) struct Reaper {
    pub(crate) ended: CancellationToken,
    pub(crate) exit: watch::Sender<Option<Exit>>,
    pub(crate) leftovers: Arc<Leftovers>,
    pub(crate) readers: Arc<OutputReaders>,
    pub(crate) all_read: mpsc::Receiver<()>,
    pub(crate) tail: StderrTail,
    pub(crate) runtime: Handle,
}

impl Reaper {
    /// Starts the process and stays with it until it is reaped.
    pub(crate) fn run(
        self,
        command: Prepared,
        dir: Option<PrivateDir>,
        stderr: StderrReader,
        started: oneshot::Sender<Started>,
    ) {
        let (since, kills) = (Instant::now(), Kills::count());
        let child = command.image.start(|path| self.spawn(&command, path, dir.as_ref()));
        let leads_group = command.leads_group;
        // A copy in memory now belongs to the process alone.
        drop(command);
        let (leader, pipes) = match child {
            Ok(started) => started,
            Err(error) => {
                // The caller may rely on nothing being left.
                if let Some(dir) = dir {
                    remove_dir(dir);
                }
                self.leftovers.forget();
                let _ = started.send(Err(error));
                return;
            }
        };
        let group = Arc::new(ProcessGroup::of(leader, leads_group));
        self.hand_over(pipes, &group, stderr, started);
        let status = group.wait_without_reaping();
        // Before the rest of the group is killed.
        let killed_by_us = group.was_killed();
        let lived = since.elapsed();
        group.end();
        self.ended.cancel();
        self.clean_up(&group, status, dir);
        let killed_by_another = !killed_by_us
            && status.is_some_and(|status| status.signal() == Some(Signal::KILL.as_raw()));
        let out_of_memory = killed_by_another.then(|| kills.until_now()).flatten();
        let (stderr, crash) = (self.tail.lines(), self.tail.crash());
        self.exit.send_replace(Some(Exit { status, lived, out_of_memory, crash, stderr }));
    }

    /// Makes a process and executes. The order of the steps matters: changing the user clears a parent-death signal, so the
    /// command's own steps come first.
    fn spawn(
        &self,
        command: &Prepared,
        path: &Path,
        dir: Option<&PrivateDir>,
    ) -> Result<(Pid, Pipes), SpawnError> {
        let (mut execution, mut pipes) = command.execution(path)?;
        match &self.leftovers.guarded {
            Some(entry) => {
                die_with_this_thread(&mut execution);
                entry.announce(&mut execution, command.leads_group);
            }
            None => pipes.stdout = give_for_life(&mut execution, dir)?,
        }
        Ok((execution.spawn()?, pipes))
    }

    /// Hands the running process over to the caller, and starts to read its standard error.
    fn hand_over(
        &self,
        pipes: Pipes,
        group: &Arc<ProcessGroup>,
        stderr: StderrReader,
        started: oneshot::Sender<Started>,
    ) {
        if let Some(entry) = &self.leftovers.guarded {
            entry.started(group);
        }
        match self.open_pipes(pipes, stderr) {
            Ok(stdout) => drop(started.send(Ok(KillOnDrop::new(group.clone(), stdout)))),
            Err(error) => {
                group.signal(Signal::KILL);
                let _ = started.send(Err(SpawnStep::Read.failed(error)));
            }
        }
    }

    fn open_pipes(&self, pipes: Pipes, stderr: StderrReader) -> io::Result<ChildStdout> {
        let _inside = self.runtime.enter();
        let pipe = ChildStderr::from_std(pipes.stderr.into())?;
        self.readers.spawn_on(stderr(pipe, self.tail.clone()), &self.runtime);
        ChildStdout::from_std(pipes.stdout.into())
    }

    /// Reads the last output, removes what the process left, and reaps it.
    fn clean_up(&self, group: &ProcessGroup, status: Option<ExitStatus>, dir: Option<PrivateDir>) {
        if status.is_none() {
            // Its pid is free already, so the guardian must not use it any more. If this process is killed before it has
            // removed the directory, the sweep removes it.
            self.leftovers.forget();
        }
        self.readers.finish_blocking(&self.all_read);
        self.leftovers.remove_socket();
        if let Some(dir) = dir {
            remove_dir(dir);
        }
        self.leftovers.forget();
        if status.is_some() {
            group.reap();
        }
    }
}

/// Kills a process when it is dropped, unless the process has ended, and waits until nothing is left of it.
pub(crate) struct KillWithRuntime {
    pub(crate) group: Arc<ProcessGroup>,
    pub(crate) readers: Arc<OutputReaders>,
    /// Known once everything is over.
    pub(crate) exit: watch::Receiver<Option<Exit>>,
    /// Disconnected when the process's thread ends.
    pub(crate) thread: mpsc::Receiver<()>,
}

impl Drop for KillWithRuntime {
    fn drop(&mut self) {
        if self.exit.borrow().is_some() {
            return;
        }
        // The reading tasks end with the runtime, too, but perhaps after this one.
        self.readers.abandon();
        self.group.signal(Signal::KILL);
        // `main` may return next, and then nothing is cleaned up in this process any more.
        let _ = self.thread.recv_timeout(GONE_WITH_THE_RUNTIME);
    }
}

/// Asks for a parent-death signal, if the system has it and permits it. Otherwise only the guardian ends the process.
fn die_with_this_thread(execution: &mut Execution) {
    if let Err(error) = sys::may_die_with_parent() {
        static WARNED: AtomicBool = AtomicBool::new(false);
        if !WARNED.swap(true, Relaxed) {
            tracing::warn!(
                %error,
                "no parent-death signal: should this process be killed, only its guardian ends its child processes"
            );
        }
        return;
    }
    let parent = getpid();
    // SAFETY: two system calls; no allocation, no locks.
    unsafe {
        execution.before_exec(SpawnStep::TieToParent, move || sys::die_with_parent(parent));
    }
}

/// Gives a process that outlives its parent the lock of its directory, and the reading end of its own standard output: a
/// process that checks there whether its parent is alive still finds a reader.
fn give_for_life(
    execution: &mut Execution,
    dir: Option<&PrivateDir>,
) -> Result<OwnedFd, SpawnError> {
    let failed = |error| SpawnStep::Pipes.failed(error);
    let (reader, writer) = pipe()?;
    execution.stdout(writer);
    let mut given = vec![reader.try_clone().map_err(failed)?];
    if let Some(dir) = dir {
        given.push(OwnedFd::from(dir.owner().try_clone().map_err(failed)?));
    }
    let give = move || {
        for descriptor in &given {
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: a system call for each descriptor; no allocation, no locks.
    unsafe { execution.before_exec(SpawnStep::Descriptors, give) };
    Ok(reader)
}
