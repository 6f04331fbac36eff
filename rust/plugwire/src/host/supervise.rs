//! Stays with one plugin's process from its first moment until it is gone, and leaves nothing of it.
//!
//! Each plugin has a thread of its own here, which makes the process, waits for it, and reaps it. A parent-death signal
//! comes when the *thread* ends that made a process, so this one has to live as long as its plugin; and what must happen at
//! the end of a plugin happens also where no runtime is left to do it.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout as ChildPipe, Command};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, waitid};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::exit::{Exit, PluginGone};
use super::guardian::Ward;
use super::logs::{self, SharedTail};
use super::memory::Kills;
use super::{exec, sweep, system};
use crate::transport::channel::Autopsy;
use crate::transport::folder::PrivateFolder;

/// How long the readers get to take what is left in the pipes once the process has ended. Somebody who left the
/// process group may hold them open for ever.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How long a broken call waits to learn whether the process ended.
const AUTOPSY: Duration = Duration::from_secs(1);
/// How long a runtime that ends is held up until the plugin has gone.
const GONE_WITH_THE_RUNTIME: Duration = Duration::from_secs(2);

/// How a plugin's process is to live.
pub(super) struct Plan {
    /// What it is told to be called.
    pub(super) arg0: OsString,
    /// Where its sockets are. Removed when all is over.
    pub(super) folder: PrivateFolder,
    /// Whether it leads a process group.
    pub(super) leads_group: bool,
    /// Reads its standard error.
    pub(super) stderr: logs::Reader,
}

/// A plugin's process, while it runs and after.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) tail: SharedTail,
    /// Whether it goes on when this process ends.
    pub(super) outlives_host: bool,
    name: Arc<str>,
    tree: Arc<Tree>,
    exit: watch::Receiver<Option<Exit>>,
    traces: Arc<Traces>,
    readers: Arc<Readers>,
}

impl Process {
    /// Starts the command, which has pipes for its output, and takes charge of it. The caller sets the deadline.
    ///
    /// Cancel safety: dropping the future kills what was started.
    pub(super) async fn start(
        command: Command,
        plan: Plan,
        outlives_host: bool,
    ) -> io::Result<(Self, ChildStdout)> {
        let (sender, exit) = watch::channel(None);
        let (readers, read) = Readers::new();
        let (name, tail) = (Arc::from(plan.stderr.plugin.as_str()), plan.stderr.tail.clone());
        let traces = Arc::new(Traces::of(&plan.folder, outlives_host));
        let life = Life {
            plan,
            exit: sender,
            traces: traces.clone(),
            readers: readers.clone(),
            read,
            runtime: Handle::current(),
        };
        let (born, birth) = oneshot::channel();
        let (over, end) = mpsc::channel::<()>();
        thread::Builder::new().name("plugwire-plugin".to_owned()).spawn(move || {
            life.live(command, born);
            drop(over);
        })?;
        let (tree, stdout) = birth.await.map_err(io::Error::other)??.wanted();
        let pid = tree.pid();
        let process = Self { pid, tail, outlives_host, name, tree, exit, traces, readers };
        if !outlives_host {
            process.end_with_the_runtime(end);
        }
        Ok((process, stdout))
    }

    /// Adds a task that reads one of the process's pipes.
    pub(super) fn spawn_reader(&self, reader: impl Future<Output = ()> + Send + 'static) {
        self.readers.spawn(reader, &Handle::current());
    }

    /// Remembers a socket outside the private folder: Go plugins leave theirs behind when they are killed, and those
    /// before go-plugin 1.5 do not know the folder.
    pub(super) fn remember_socket(&self, path: &Path) {
        self.traces.remember(path);
    }

    /// Kills the process and its group. Harmless when it has ended.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends a signal to the process and its group. Harmless when it has ended.
    pub(super) fn signal(&self, signal: Signal) {
        self.tree.signal(signal);
    }

    /// How it ended, if it did.
    pub(super) fn ended(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// Waits for the end. Cancel safe.
    pub(super) async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        match ended {
            Some(exit) => exit,
            // Somebody else in this process waited for it: nobody here will ever know.
            None => std::future::pending().await,
        }
    }

    /// Leaves a task in the runtime that kills the process when the runtime ends before it.
    fn end_with_the_runtime(&self, over: mpsc::Receiver<()>) {
        let killer = KillOnDrop { tree: self.tree.clone(), readers: self.readers.clone(), over };
        let mut exit = self.exit.clone();
        tokio::spawn(async move {
            let _ = exit.wait_for(Option::is_some).await;
            drop(killer);
        });
    }
}

/// Kills a process, unless it has ended, and waits until nothing is left of it.
struct KillOnDrop {
    tree: Arc<Tree>,
    readers: Arc<Readers>,
    /// Ends with the process's thread.
    over: mpsc::Receiver<()>,
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if self.tree.is_reaped() {
            return;
        }
        // The tasks that read end with the runtime, too, perhaps after this one.
        self.readers.give_up();
        self.tree.signal(Signal::KILL);
        // `main` may return next, and then nobody cleans up in this process any more.
        let _ = self.over.recv_timeout(GONE_WITH_THE_RUNTIME);
    }
}

impl Autopsy for Process {
    fn autopsy(&self) -> BoxFuture<'static, Option<Arc<dyn std::error::Error + Send + Sync>>> {
        let process = self.clone();
        Box::pin(async move {
            let exit = tokio::time::timeout(AUTOPSY, process.exited()).await.ok()?;
            let gone = PluginGone { plugin: process.name.to_string(), exit };
            Some(Arc::new(gone) as Arc<dyn std::error::Error + Send + Sync>)
        })
    }
}

/// A process and, where it leads one, its group: whom signals go to, as long as the id is theirs.
struct Tree {
    leader: Pid,
    leads_group: bool,
    reaped: Mutex<bool>,
    /// Whether we killed it.
    killed: AtomicBool,
}

impl Tree {
    fn pid(&self) -> u32 {
        self.leader.as_raw_nonzero().get().unsigned_abs()
    }

    fn is_reaped(&self) -> bool {
        *lock(&self.reaped)
    }

    fn signal(&self, signal: Signal) {
        let reaped = lock(&self.reaped);
        if *reaped {
            return;
        }
        if signal == Signal::KILL {
            self.killed.store(true, Relaxed);
        }
        // Fails only where everybody has gone.
        let _ = match self.leads_group {
            true => rustix::process::kill_process_group(self.leader, signal),
            false => rustix::process::kill_process(self.leader, signal),
        };
    }

    /// From here on the id may be somebody else's.
    fn reap(&self, mut child: Child) -> io::Result<std::process::ExitStatus> {
        let mut reaped = lock(&self.reaped);
        let status = child.wait();
        *reaped = true;
        status
    }
}

/// A process that its thread hands over to whoever wants it. Dropping it kills the process: on the way nobody may be left.
struct Newborn(Option<(Arc<Tree>, ChildStdout)>);

impl Newborn {
    fn wanted(mut self) -> (Arc<Tree>, ChildStdout) {
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

type Born = io::Result<Newborn>;

/// One plugin's life, on its own thread.
struct Life {
    plan: Plan,
    exit: watch::Sender<Option<Exit>>,
    traces: Arc<Traces>,
    readers: Arc<Readers>,
    read: mpsc::Receiver<()>,
    runtime: Handle,
}

impl Life {
    fn live(self, mut command: Command, born: oneshot::Sender<Born>) {
        let (started, kills) = (Instant::now(), Kills::count());
        let child = self.spawn(&mut command);
        // It holds copies of what the plugin got, and the pipes must end with the plugin.
        drop(command);
        match child {
            Ok(child) => self.watch(child, started, kills, born),
            Err(error) => {
                // Who hears of it may count on nothing being left.
                remove_folder(self.plan.folder);
                self.traces.forget();
                let _ = born.send(Err(error));
            }
        }
    }

    fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let mut own_stdout = None;
        match &self.traces.ward {
            Some(ward) => {
                die_with_this_thread(command);
                ward.announce(command, self.plan.leads_group);
            }
            None => own_stdout = Some(give_for_life(command, &self.plan.folder)?),
        }
        exec::directly(command, &self.plan.arg0)?;
        let mut child = command.spawn()?;
        child.stdout = child.stdout.or(own_stdout);
        Ok(child)
    }

    fn watch(self, mut child: Child, started: Instant, kills: Kills, born: oneshot::Sender<Born>) {
        let Plan { stderr, leads_group, folder, .. } = self.plan;
        let (leader, tail) = (Pid::from_child(&child), stderr.tail.clone());
        let tree = Arc::new(Tree {
            leader,
            leads_group,
            reaped: Mutex::new(false),
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
        let ended = wait_without_reaping(leader);
        let killed_before = tree.killed.load(Relaxed);
        let lived = started.elapsed();
        if ended.is_ok() && leads_group {
            // Whoever it left in its group goes now.
            tree.signal(Signal::KILL);
        }
        self.readers.finish(&self.read);
        self.traces.remove_socket();
        remove_folder(folder);
        self.traces.forget();
        match tree.reap(child) {
            Ok(status) => {
                let (stderr, crash) = tail.read();
                let by_somebody_else =
                    status.signal() == Some(Signal::KILL.as_raw()) && !killed_before;
                let out_of_memory = by_somebody_else.then(|| kills.until_now()).flatten();
                let exit = Exit { status, lived, out_of_memory, crash, stderr };
                self.exit.send_replace(Some(exit));
            }
            Err(error) => {
                tracing::error!(%error, pid = tree.pid(), "a plugin's end cannot be waited for");
            }
        }
    }
}

/// Until a process is reaped, its id and its group's are nobody else's.
fn wait_without_reaping(leader: Pid) -> rustix::io::Result<()> {
    loop {
        match waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(rustix::io::Errno::INTR) => {}
            waited => return waited.map(drop),
        }
    }
}

/// The plugin itself ends with its host without anybody's help, where the system can do that.
fn die_with_this_thread(command: &mut Command) {
    let parent = getpid();
    // SAFETY: two system calls; no memory, no locks.
    unsafe { command.pre_exec(move || system::die_with(parent)) };
}

/// A plugin that outlives its host owns its folder itself, by a copy of the lock. And it holds the other end of its own
/// standard output: a plugin that looks there for its host still finds a reader.
fn give_for_life(command: &mut Command, folder: &PrivateFolder) -> io::Result<ChildPipe> {
    let (reader, writer) = io::pipe()?;
    command.stdout(writer);
    let reader = OwnedFd::from(reader);
    let given = [OwnedFd::from(folder.owner().try_clone()?), reader.try_clone()?];
    let give = move || {
        for descriptor in &given {
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: two system calls; no memory, no locks.
    unsafe { command.pre_exec(give) };
    Ok(ChildPipe::from(reader))
}

fn remove_folder(folder: PrivateFolder) {
    let path = folder.path().to_owned();
    if let Err(error) = folder.close()
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "the folder of a plugin's sockets was not removed");
    }
}

/// The tasks that read one process's pipes.
struct Readers(Mutex<Option<(JoinSet<()>, mpsc::Sender<()>)>>);

impl Readers {
    /// The receiver hears of the last reader's end.
    fn new() -> (Arc<Self>, mpsc::Receiver<()>) {
        let (reading, read) = mpsc::channel();
        (Arc::new(Self(Mutex::new(Some((JoinSet::new(), reading))))), read)
    }

    /// Reads standard error, and hands out standard output.
    fn read(
        &self,
        child: &mut Child,
        stderr: logs::Reader,
        runtime: &Handle,
    ) -> io::Result<ChildStdout> {
        let _inside = runtime.enter();
        let pipe = ChildStderr::from_std(child.stderr.take().expect("it is piped"))?;
        self.spawn(stderr.run(pipe), runtime);
        ChildStdout::from_std(child.stdout.take().expect("it is piped"))
    }

    fn spawn(&self, reader: impl Future<Output = ()> + Send + 'static, runtime: &Handle) {
        if let Some((tasks, reading)) = &mut *lock(&self.0) {
            let reading = reading.clone();
            let reader = async move {
                reader.await;
                drop(reading);
            };
            tasks.spawn_on(reader, runtime);
        }
    }

    /// Nobody will read any more.
    fn give_up(&self) {
        drop(lock(&self.0).take());
    }

    /// Lets them read what is left, for a moment.
    fn finish(&self, read: &mpsc::Receiver<()>) {
        let Some((tasks, reading)) = lock(&self.0).take() else { return };
        drop(reading);
        let _ = read.recv_timeout(LAST_WORDS);
        drop(tasks);
    }
}

/// What one plugin leaves in the file system, and who removes it if this process cannot.
struct Traces {
    folder: PathBuf,
    socket: OnceLock<PathBuf>,
    ward: Option<Ward>,
}

impl Traces {
    fn of(folder: &PrivateFolder, outlives_host: bool) -> Self {
        let folder = folder.path().to_owned();
        let ward = (!outlives_host).then(|| Ward::new(&folder));
        Self { folder, socket: OnceLock::new(), ward }
    }

    fn remember(&self, socket: &Path) {
        let first = self.socket.set(socket.to_owned()).is_ok();
        if first && socket.parent() != Some(&self.folder) {
            sweep::note(&self.folder, socket);
            if let Some(ward) = &self.ward {
                ward.listens_at(socket);
            }
        }
    }

    fn remove_socket(&self) {
        if let Some(socket) = self.socket.get() {
            remove_socket(socket);
        }
    }

    /// Nothing is left for the guardian to do.
    fn forget(&self) {
        if let Some(ward) = &self.ward {
            ward.forget();
        }
    }
}

/// Only ever a socket: the path comes from the plugin.
pub(super) fn remove_socket(path: &Path) {
    use std::os::unix::fs::FileTypeExt;
    if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a plugin's socket was not removed");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
