//! The life of a plugin that is a process of this machine, from its first moment until it is reaped.
//!
//! Each has a thread of its own, which makes the process, waits for it, and reaps it. A parent-death signal comes when the
//! *thread* ends that made a process, so this one has to live as long as its plugin; and what must happen at the end of a
//! plugin happens also where no runtime is left to do it.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout as ChildPipe, ExitStatus};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, getpid, waitid};
use tokio::process::ChildStdout;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::lock;
use super::readers::Readers;
use super::traces::{self, Traces};
use crate::host::exec::{Execution, MakeExecution};
use crate::host::exit::Exit;
use crate::host::memory::Kills;
use crate::host::verify::Image;
use crate::host::{logs, system};
use crate::net::private_dir::PrivateFolder;

/// How long a runtime that ends is held up until the plugin has gone.
const GONE_WITH_THE_RUNTIME: Duration = Duration::from_secs(2);

/// What is to be executed.
pub(in crate::host) struct Program {
    pub(in crate::host) image: Image,
    /// What it is told to be called.
    pub(in crate::host) arg0: OsString,
    /// What executes this path, with pipes for its output and a cleared environment.
    pub(in crate::host) execution: MakeExecution,
}

/// How a plugin's process is to live.
pub(in crate::host) struct Terms {
    /// Where its sockets are. Removed when all is over.
    pub(in crate::host) folder: PrivateFolder,
    /// Whether it leads a process group.
    pub(in crate::host) leads_group: bool,
    /// Reads its standard error.
    pub(in crate::host) stderr: logs::Reader,
}

/// One plugin's life, on its own thread.
pub(super) struct Life {
    pub(super) terms: Terms,
    pub(super) dead: CancellationToken,
    pub(super) exit: watch::Sender<Option<Exit>>,
    pub(super) traces: Arc<Traces>,
    pub(super) readers: Arc<Readers>,
    pub(super) read: mpsc::Receiver<()>,
    pub(super) runtime: Handle,
}

impl Life {
    pub(super) fn live(self, program: Program, born: oneshot::Sender<Born>) {
        let (started, kills) = (Instant::now(), Kills::count());
        let folder = self.terms.folder.path();
        let child = program.image.start(folder, |path| self.spawn(&program, path));
        // A copy in memory is the process's own now.
        drop(program);
        match child {
            Ok(child) => self.watch(child, started, kills, born),
            Err(error) => {
                // Who hears of it may count on nothing being left.
                traces::remove_folder(self.terms.folder);
                self.traces.forget();
                let _ = born.send(Err(error));
            }
        }
    }

    /// The order counts: the command itself may change the user, and that undoes a parent-death signal.
    fn spawn(&self, program: &Program, path: &Path) -> io::Result<Child> {
        // It holds copies of what the plugin gets, so it must not live on: the pipes have to end with the plugin.
        let mut execution = (program.execution)(path)?;
        let mut own_stdout = None;
        match &self.traces.ward {
            Some(ward) => {
                die_with_this_thread(&mut execution);
                ward.announce(&mut execution, self.terms.leads_group);
            }
            None => own_stdout = Some(give_for_life(&mut execution, &self.terms.folder)?),
        }
        let mut child = execution.spawn(&program.arg0)?;
        child.stdout = child.stdout.or(own_stdout);
        Ok(child)
    }

    fn watch(self, mut child: Child, started: Instant, kills: Kills, born: oneshot::Sender<Born>) {
        let Terms { folder, leads_group, stderr } = self.terms;
        let (leader, tail) = (Pid::from_child(&child), stderr.tail.clone());
        let tree = Arc::new(Tree {
            leader,
            leads_group,
            over: Mutex::new(false),
            killed: AtomicBool::new(false),
        });
        if let Some(ward) = &self.traces.ward {
            ward.born(leader, leads_group);
        }
        match self.readers.read(&mut child, stderr, &self.runtime) {
            Ok(stdout) => drop(born.send(Ok(Newborn(Some((tree.clone(), stdout)))))),
            Err(error) => {
                tree.signal(Signal::KILL);
                let _ = born.send(Err(error));
            }
        }
        let status = wait_without_reaping(leader);
        let killed_before = tree.killed.load(Relaxed);
        let lived = started.elapsed();
        tree.end();
        self.dead.cancel();
        if status.is_none() {
            // Its id is free already, so the guardian must not act on it any more; the folder is left to the sweep then, should
            // this process be killed before it is removed.
            self.traces.forget();
        }
        self.readers.finish(&self.read);
        self.traces.remove_socket();
        traces::remove_folder(folder);
        self.traces.forget();
        if status.is_some() {
            // It has ended, so nobody is held up; an error says that somebody else has waited for it.
            let _ = child.try_wait();
        }
        let (stderr, crash) = tail.read();
        let by_somebody_else = !killed_before
            && status.is_some_and(|status| status.signal() == Some(Signal::KILL.as_raw()));
        let out_of_memory = by_somebody_else.then(|| kills.until_now()).flatten();
        self.exit.send_replace(Some(Exit { status, lived, out_of_memory, crash, stderr }));
    }
}

/// A process and, where it leads one, its group: whom signals go to, as long as the id is theirs.
pub(super) struct Tree {
    leader: Pid,
    leads_group: bool,
    /// Whether its process has ended.
    over: Mutex<bool>,
    /// Whether we killed it.
    killed: AtomicBool,
}

impl Tree {
    pub(super) fn pid(&self) -> u32 {
        self.leader.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn signal(&self, signal: Signal) {
        let over = lock(&self.over);
        if !*over {
            self.send(signal);
        }
    }

    /// The process has ended. Whoever it left in its group goes now, and from here on nobody is sent a signal: the id is soon
    /// free for others. Where the status is lost, it is free already, but for those who were left; ids are given out in a
    /// circle, so this moment is too short for it to be somebody else's.
    fn end(&self) {
        let mut over = lock(&self.over);
        if self.leads_group {
            self.send(Signal::KILL);
        }
        *over = true;
    }

    fn send(&self, signal: Signal) {
        if signal == Signal::KILL {
            self.killed.store(true, Relaxed);
        }
        // Fails only where everybody has gone.
        let _ = match self.leads_group {
            true => rustix::process::kill_process_group(self.leader, signal),
            false => rustix::process::kill_process(self.leader, signal),
        };
    }
}

/// A process that its thread hands over to whoever wants it. Dropping it kills the process: on the way nobody may be left.
pub(super) struct Newborn(Option<(Arc<Tree>, ChildStdout)>);

impl Newborn {
    pub(super) fn wanted(mut self) -> (Arc<Tree>, ChildStdout) {
        self.0.take().expect("it is wanted once")
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        if let Some((tree, _)) = &self.0 {
            tree.signal(Signal::KILL);
        }
    }
}

pub(super) type Born = io::Result<Newborn>;

/// Kills a process, unless it has ended, and waits until nothing is left of it.
pub(super) struct KillOnDrop {
    pub(super) tree: Arc<Tree>,
    pub(super) readers: Arc<Readers>,
    /// Known once all is over.
    pub(super) exit: watch::Receiver<Option<Exit>>,
    /// Ends with the process's thread.
    pub(super) over: mpsc::Receiver<()>,
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if self.exit.borrow().is_some() {
            return;
        }
        // The tasks that read end with the runtime, too, perhaps after this one.
        self.readers.give_up();
        self.tree.signal(Signal::KILL);
        // `main` may return next, and then nobody cleans up in this process any more.
        let _ = self.over.recv_timeout(GONE_WITH_THE_RUNTIME);
    }
}

/// Until a process is reaped, its id and its group's are nobody else's. None where the system keeps no status for us: the host
/// ignores SIGCHLD, or waits for others' children. It returns when the process has ended, all the same.
fn wait_without_reaping(leader: Pid) -> Option<ExitStatus> {
    loop {
        match waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(rustix::io::Errno::INTR) => {}
            waited => return waited.ok().flatten().map(exit_status),
        }
    }
}

/// The standard library makes one only of what `wait` says: an exit code, or a signal and whether there is a core dump.
fn exit_status(waited: WaitIdStatus) -> ExitStatus {
    let code = waited.exit_status().map(|code| (code & 0xff) << 8);
    let signal = waited.terminating_signal().unwrap_or_default();
    let dumped = if waited.dumped() { 0x80 } else { 0 };
    ExitStatus::from_raw(code.unwrap_or(signal | dumped))
}

/// The plugin itself ends with its host without anybody's help, where the system can do that and lets us. Where it does
/// not, the guardian still sees to it.
fn die_with_this_thread(execution: &mut Execution) {
    if let Err(error) = system::may_die_with() {
        static WARNED: AtomicBool = AtomicBool::new(false);
        if !WARNED.swap(true, Relaxed) {
            tracing::warn!(
                %error,
                "no parent-death signal: should this process be killed, only its guardian ends its plugins"
            );
        }
        return;
    }
    let parent = getpid();
    // SAFETY: two system calls; no memory, no locks.
    unsafe { execution.before(move || system::die_with(parent)) };
}

/// A plugin that outlives its host owns its folder itself, by a copy of the lock. And it holds the other end of its own
/// standard output: a plugin that looks there for its host still finds a reader.
fn give_for_life(execution: &mut Execution, folder: &PrivateFolder) -> io::Result<ChildPipe> {
    let (reader, writer) = io::pipe()?;
    execution.command.stdout(writer);
    let reader = OwnedFd::from(reader);
    let given = [OwnedFd::from(folder.owner().try_clone()?), reader.try_clone()?];
    let give = move || {
        for descriptor in &given {
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: two system calls; no memory, no locks.
    unsafe { execution.before(give) };
    Ok(ChildPipe::from(reader))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn nobody_is_sent_a_signal_once_the_process_has_ended() {
        let tree = |child: &Child| Tree {
            leader: Pid::from_child(child),
            leads_group: false,
            over: Mutex::new(false),
            killed: AtomicBool::new(false),
        };
        let mut bystander = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let ended = tree(&bystander);
        ended.end();
        ended.signal(Signal::KILL);
        assert!(!ended.killed.load(Relaxed));
        tree(&bystander).signal(Signal::TERM);
        let status = bystander.wait().expect("ours");
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "not by the first");
    }
}
