//! A child process, while it runs and after.

use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::process::ChildStdout;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::blocking::start_thread;
use crate::command::Command;
use crate::end::{EndStep, Grace, Signal, Signalled, Unkillable, end_in_steps};
use crate::group::ProcessGroup;
use crate::leftovers::Leftovers;
use crate::readers::OutputReaders;
use crate::reap::{KillWithRuntime, Reaper};
use crate::spawn_error::{SpawnError, SpawnStep};
use crate::{Exit, StderrTail};

/// How long it may take after the end of a process until its last output is read and its private directory is removed.
const CLEANED_UP: Duration = Duration::from_secs(10);

/// A child process, while it runs and after. A clone is the same process.
///
/// The process ends when this process ends, however that happens, and when the tokio runtime that started it shuts down,
/// unless [`Command::outlive_parent`](crate::Command::outlive_parent) says otherwise. Dropping the last clone does not end
/// it.
#[derive(Debug, Clone)]
pub struct Process {
    group: Arc<ProcessGroup>,
    outlives_parent: bool,
    tail: StderrTail,
    /// Cancelled when it has ended; its last output is read after that.
    ended: CancellationToken,
    exit: watch::Receiver<Option<Exit>>,
    leftovers: Arc<Leftovers>,
    readers: Arc<OutputReaders>,
}

impl Command {
    /// Starts the process, and returns it with its standard output. The caller has to read the output: a process that
    /// writes blocks once the pipe is full, and if the output is dropped, writing raises SIGPIPE in it. The caller also sets
    /// the deadline: a file system that does not answer delays the start. Must be called inside a tokio runtime with I/O and
    /// time enabled.
    ///
    /// # Errors
    ///
    /// The system refuses to execute the program, to set a limit, or to change the directory.
    /// [`Executable::examine`](crate::Executable::examine) may show why. No process is left, and no private directory.
    ///
    /// Cancel safety: dropping the future kills what was started.
    pub async fn spawn(self) -> Result<(Process, ChildStdout), SpawnError> {
        if let Err(why) = self.prepared.confinement.check() {
            let cause = io::Error::new(io::ErrorKind::InvalidInput, why);
            return Err(SpawnStep::Confine.failed(cause));
        }
        Process::start(self).await
    }
}

impl Process {
    /// Starts the process on a thread of its own, which stays with it.
    async fn start(command: Command) -> Result<(Self, ChildStdout), SpawnError> {
        let Command { prepared, dir, stderr, outlives_parent } = command;
        let (sender, exit) = watch::channel(None);
        let (readers, all_read) = OutputReaders::new();
        let readers = Arc::new(readers);
        let leftovers = Arc::new(Leftovers::new(dir.as_ref(), !outlives_parent));
        let (ended, tail) = (CancellationToken::new(), StderrTail::default());
        let reaper = Reaper {
            ended: ended.clone(),
            exit: sender,
            leftovers: leftovers.clone(),
            readers: readers.clone(),
            all_read,
            tail: tail.clone(),
            runtime: Handle::current(),
        };
        let (started, child) = oneshot::channel();
        let (thread_ends, thread) = mpsc::channel::<()>();
        start_thread("plugwire-child", move || {
            reaper.run(prepared, dir, stderr, started);
            drop(thread_ends);
        })
        .map_err(|error| SpawnStep::Thread.failed(error))?;
        let lost = |error| SpawnStep::Thread.failed(io::Error::other(error));
        let (group, stdout) = child.await.map_err(lost)??.take();
        let process = Self { group, outlives_parent, tail, ended, exit, leftovers, readers };
        if !outlives_parent {
            process.end_with_the_runtime(thread);
        }
        Ok((process, stdout))
    }

    /// Leaves a task in the runtime that kills the process if the runtime shuts down first.
    fn end_with_the_runtime(&self, thread: mpsc::Receiver<()>) {
        let mut exit = self.exit.clone();
        let killer = KillWithRuntime {
            group: self.group.clone(),
            readers: self.readers.clone(),
            exit: exit.clone(),
            thread,
        };
        tokio::spawn(async move {
            let _ = exit.wait_for(Option::is_some).await;
            drop(killer);
        });
    }

    /// Returns its pid. It may have been reused once the process has ended.
    pub fn pid(&self) -> u32 {
        self.group.pid()
    }

    /// Returns whether it continues when this process ends.
    pub fn outlives_parent(&self) -> bool {
        self.outlives_parent
    }

    /// Returns the last lines of its standard error so far, at most 8 KiB.
    pub fn stderr_tail(&self) -> String {
        self.tail.lines()
    }

    /// Spawns a task that reads one of its pipes. When the process has ended, the task gets the same limited time for the
    /// rest as the reader of standard error, see [`OutputReaders::finish`].
    pub fn spawn_reader(&self, reader: impl Future<Output = ()> + Send + 'static) {
        self.readers.spawn(reader);
    }

    /// Removes this unix socket once the process has ended, or after both this process and the process were killed. Only the
    /// first call counts. Sockets in its private directory are removed anyway.
    pub fn remove_socket_at_exit(&self, socket: &Path) {
        self.leftovers.remember_socket(socket);
    }

    /// Sends SIGTERM to its process group. Does nothing once it has ended.
    pub fn terminate(&self) {
        self.group.signal(Signal::TERM);
    }

    /// Sends SIGKILL to its process group. Does nothing once it has ended.
    pub fn kill(&self) {
        self.group.signal(Signal::KILL);
    }

    /// Waits until it ends by itself, sends SIGTERM, and then SIGKILL. Returns the step at which it ended.
    ///
    /// # Errors
    ///
    /// It did not end within 5 s of SIGKILL.
    ///
    /// Cancel safety: dropping the future stops waiting.
    pub async fn end(&self, grace: Grace) -> Result<EndStep, Unkillable> {
        end_in_steps(self, grace).await
    }

    /// Returns whether it has ended. Its [`Exit`] is known a moment later.
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Waits until it has ended. Cancel safe.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Returns how it ended, if it did, its last output was read, and its private directory was removed.
    pub fn exit_status(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// Waits until [`Process::exit_status`] is known. Cancel safe.
    pub async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        let exited = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        match exited {
            Some(exit) => exit,
            // The thread that would report it is gone, because the runtime is shutting down.
            None => std::future::pending().await,
        }
    }

    /// Waits until it has ended, for at most `limit`, and returns how it ended. A busy runtime may need time to read the last
    /// output, which is not counted against the limit. Returns `None` if it has not ended, or if its private directory
    /// cannot be removed within 10 s because its file system does not answer. Cancel safe.
    pub async fn exited_within(&self, limit: Duration) -> Option<Exit> {
        timeout(limit, self.ended()).await.ok()?;
        timeout(CLEANED_UP, self.exited()).await.ok()
    }
}

impl Signalled for Process {
    fn pid(&self) -> u32 {
        self.pid()
    }

    fn signal(&self, signal: Signal) {
        self.group.signal(signal);
    }

    async fn ended(&self) {
        self.ended().await;
    }
}
