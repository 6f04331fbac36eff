//! Stays with one plugin's process until it is gone, and leaves nothing of it.

mod elsewhere;
mod life;
mod readers;
mod traces;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::Signal;
use tokio::process::ChildStdout;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::aside::thread;
use super::exit::{Exit, PluginGone};
use super::logs::{self, SharedTail};
use crate::http2::channel::Autopsy;
use crate::net::private_dir::PrivateFolder;
use life::{KillOnDrop, Life, Tree};
use readers::Readers;
use traces::Traces;

pub(super) use elsewhere::Attended;
pub(super) use life::{Program, Terms};
pub(super) use traces::remove_socket;

/// How long a process may take to be gone after SIGKILL.
pub(super) const KILLED: Duration = Duration::from_secs(5);
/// How long it may take after the end of a process until its last words are read and its folder is removed.
const TOLD: Duration = Duration::from_secs(10);
/// How long a broken call waits to learn whether the process ended; how it ended takes a moment more.
const AUTOPSY: Duration = Duration::from_secs(1);

/// A plugin's process, while it runs and after.
#[derive(Clone)]
pub(super) struct Process {
    /// 0 where a runner has started it, which then has an id of its own for it.
    pub(super) pid: u32,
    pub(super) id: Option<Arc<str>>,
    pub(super) tail: SharedTail,
    /// Whether it goes on when this process ends.
    pub(super) outlives_host: bool,
    name: Arc<str>,
    body: Body,
    /// Cancelled when it has ended; what it left to say takes a moment more to be read.
    dead: CancellationToken,
    exit: watch::Receiver<Option<Exit>>,
    traces: Arc<Traces>,
    readers: Arc<Readers>,
}

impl Process {
    /// Starts the program, and takes charge of it. The caller sets the deadline.
    ///
    /// Cancel safety: dropping the future kills what was started.
    pub(super) async fn start(
        program: Program,
        terms: Terms,
        outlives_host: bool,
    ) -> io::Result<(Self, ChildStdout)> {
        let (sender, exit) = watch::channel(None);
        let (readers, read) = Readers::new();
        let (name, tail) = (Arc::from(terms.stderr.plugin.as_str()), terms.stderr.tail.clone());
        let traces = Arc::new(Traces::of(&terms.folder, !outlives_host));
        let dead = CancellationToken::new();
        let life = Life {
            terms,
            dead: dead.clone(),
            exit: sender,
            traces: traces.clone(),
            readers: readers.clone(),
            read,
            runtime: Handle::current(),
        };
        let (born, birth) = oneshot::channel();
        let (over, end) = mpsc::channel::<()>();
        thread("plugwire-plugin", move || {
            life.live(program, born);
            drop(over);
        })?;
        let (tree, stdout) = birth.await.map_err(io::Error::other)??.wanted();
        let (pid, body) = (tree.pid(), Body::Tree(tree.clone()));
        let process =
            Self { pid, id: None, tail, outlives_host, name, body, dead, exit, traces, readers };
        if !outlives_host {
            process.end_with_the_runtime(tree, end);
        }
        Ok((process, stdout))
    }

    /// Takes charge of what a runner has started. `folder` is removed when all is over; `stderr` reads what it writes to its
    /// standard error.
    pub(super) fn attend(started: Attended, stderr: logs::Reader, folder: PrivateFolder) -> Self {
        let (sender, exit) = watch::channel(None);
        let (readers, _) = Readers::new();
        let (name, tail) = (Arc::from(stderr.plugin.as_str()), stderr.tail.clone());
        readers.spawn(stderr.run(started.stderr), &Handle::current());
        let kill = CancellationToken::new();
        let process = Self {
            pid: 0,
            id: Some(started.id.into()),
            tail,
            outlives_host: false,
            name,
            body: Body::Elsewhere(kill.clone()),
            dead: CancellationToken::new(),
            exit,
            traces: Arc::new(Traces::of(&folder, false)),
            readers,
        };
        tokio::spawn(elsewhere::attend(process.clone(), started.running, kill, folder, sender));
        process
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
        match &self.body {
            Body::Tree(tree) => tree.signal(Signal::KILL),
            Body::Elsewhere(kill) => kill.cancel(),
        }
    }

    /// How long it may take to be gone after [`Process::kill`].
    pub(super) fn dies_within(&self) -> Duration {
        match &self.body {
            Body::Tree(_) => KILLED,
            Body::Elsewhere(_) => elsewhere::KILLED,
        }
    }

    /// Asks the process and its group to end, by SIGTERM. False where there is no such signal: a runner knows only kill.
    pub(super) fn terminate(&self) -> bool {
        match &self.body {
            Body::Tree(tree) => tree.signal(Signal::TERM),
            Body::Elsewhere(_) => return false,
        }
        true
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
            // The runtime is going, and with it whoever would have told.
            None => std::future::pending().await,
        }
    }

    /// Whether it has ended; how may not be known yet.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }

    /// Waits until it has ended. Cancel safe.
    pub(super) async fn dead(&self) {
        self.dead.cancelled().await;
    }

    /// How it ended, once it has and its last words are read: a busy runtime needs a while for that, which is in nobody's limit.
    /// None where its folder cannot be removed.
    pub(super) async fn told(&self) -> Option<Exit> {
        timeout(TOLD, self.exited()).await.ok()
    }

    /// Waits until it has ended, at most for `limit`, and then to be told how.
    pub(super) async fn ends_within(&self, limit: Duration) -> Option<Exit> {
        timeout(limit, self.dead()).await.ok()?;
        self.told().await
    }

    /// Leaves a task in the runtime that kills the process when the runtime ends before it.
    fn end_with_the_runtime(&self, tree: Arc<Tree>, over: mpsc::Receiver<()>) {
        let (readers, mut exit) = (self.readers.clone(), self.exit.clone());
        let killer = KillOnDrop { tree, readers, exit: exit.clone(), over };
        tokio::spawn(async move {
            let _ = exit.wait_for(Option::is_some).await;
            drop(killer);
        });
    }
}

/// Whom a kill reaches.
#[derive(Clone)]
enum Body {
    Tree(Arc<Tree>),
    /// What a runner has started.
    Elsewhere(CancellationToken),
}

impl Autopsy for Process {
    fn autopsy(&self) -> BoxFuture<'static, Option<Arc<dyn std::error::Error + Send + Sync>>> {
        let process = self.clone();
        Box::pin(async move {
            let exit = process.ends_within(AUTOPSY).await?;
            let gone = PluginGone { plugin: process.name.to_string(), exit };
            Some(Arc::new(gone) as Arc<dyn std::error::Error + Send + Sync>)
        })
    }

    fn gone(&self) -> BoxFuture<'static, ()> {
        let process = self.clone();
        Box::pin(async move { process.dead().await })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
