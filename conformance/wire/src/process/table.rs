//! The system's process table, on Linux. Elsewhere it is empty, and only process groups are killed.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::process::{Child, Command};

use super::GONE;

/// The children that tokio waits for. Nothing else may wait for them.
static OURS: LazyLock<Mutex<HashSet<u32>>> = LazyLock::new(Mutex::default);

fn ours() -> MutexGuard<'static, HashSet<u32>> {
    OURS.lock()
}

/// Starts a child and registers it before it can exit.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut ours = ours();
    let child = command.spawn()?;
    ours.extend(child.id());
    Ok(child)
}

pub(super) fn reaped(pid: u32) {
    ours().remove(&pid);
}

/// Whether this process adopts orphans. Without adoption there are no strays.
static ADOPTS: AtomicBool = AtomicBool::new(false);

/// Makes this process the parent of whatever its descendants leave behind. Call it once, at the start.
pub fn adopt_orphans() {
    ADOPTS.store(true, Ordering::Relaxed);
    #[cfg(target_os = "linux")]
    if let Some(this) = super::pid(std::process::id()) {
        // If this is refused, orphans are found by their mark alone.
        let _ = rustix::process::set_child_subreaper(Some(this));
    }
}

/// A cage as the table sees it: how to recognise its processes. Children of a member are members,
/// too.
#[derive(Debug)]
pub(super) struct Members {
    mark: String,
    folder: PathBuf,
    /// The processes that were seen, whatever they have done to hide since.
    seen: HashSet<Id>,
}

/// The open cages. With several of them, an adopted process could belong to any.
#[derive(Debug, Default)]
struct Open {
    cages: usize,
    /// Strays that belong to no open cage for certain, since another cage began or ended during
    /// their life.
    nobodys: HashSet<Id>,
}

impl Open {
    /// Opens or closes a cage: from then on, existing strays belong to no cage for certain.
    fn change(&mut self, change: impl FnOnce(&mut usize)) {
        change(&mut self.cages);
        self.nobodys = Snapshot::take().adopted().map(Entry::id).collect();
    }
}

static OPEN: LazyLock<Mutex<Open>> = LazyLock::new(Mutex::default);

fn open() -> MutexGuard<'static, Open> {
    OPEN.lock()
}

impl Members {
    /// Opens a cage. `mark` is the mark in its processes' environment, and they work in `folder`.
    pub(super) fn new(mark: String, folder: PathBuf) -> Self {
        open().change(|cages| *cages += 1);
        Self { mark: format!("{mark}\0"), folder, seen: HashSet::new() }
    }

    /// Returns the living members and remembers them: once a process clears its environment, leaves
    /// its directory and loses its parent, nothing else shows where it belongs.
    pub(super) fn living(&mut self) -> Vec<u32> {
        let now = Snapshot::take();
        let living: Vec<&Entry> = now.all.iter().filter(|entry| !entry.dead).collect();
        let known = living
            .iter()
            .copied()
            .filter(|entry| self.seen.contains(&entry.id()) || self.is_marked(entry.pid));
        let adopted = now.adopted().filter(|entry| self.is_stray_of_ours(entry));
        let mut found: HashSet<Id> = known.chain(adopted).map(Entry::id).collect();
        loop {
            let parents: HashSet<u32> = found.iter().map(|id| id.pid).collect();
            let more = living.iter().filter(|entry| parents.contains(&entry.parent));
            let before = found.len();
            found.extend(more.map(|entry| entry.id()));
            if found.len() == before {
                break;
            }
        }
        let pids = found.iter().map(|id| id.pid).collect();
        self.seen = found;
        pids
    }

    fn is_marked(&self, pid: u32) -> bool {
        let mark = self.mark.as_bytes();
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|all| all.windows(mark.len()).any(|part| part == mark))
    }

    /// Applies only to adopted processes: a user may look around in a case's directory with a
    /// shell.
    fn is_stray_of_ours(&self, entry: &Entry) -> bool {
        let works_here = std::fs::read_link(format!("/proc/{}/cwd", entry.pid))
            .is_ok_and(|folder| folder.starts_with(&self.folder));
        let open = open();
        works_here || (open.cages == 1 && !open.nobodys.contains(&entry.id()))
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        open().change(|cages| *cages -= 1);
    }
}

/// Waits, with a timeout, until no adopted process without a cage is alive. Then kills the rest and
/// returns their number.
pub async fn strays(within: Duration) -> usize {
    let give_up = Instant::now() + within;
    // The process table does not notify of changes.
    while Snapshot::take().adopted().next().is_some() && Instant::now() < give_up {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    end_strays()
}

/// Kills adopted processes without a mark, and reaps the dead ones. Returns how many were still
/// alive.
pub fn end_strays() -> usize {
    if !ADOPTS.load(Ordering::Relaxed) {
        return 0;
    }
    let give_up = Instant::now() + GONE;
    let mut ended = 0;
    // A stray's own children are adopted when it dies.
    loop {
        let alive = end_adopted();
        ended += alive;
        if alive == 0 || Instant::now() > give_up {
            return ended;
        }
    }
}

fn end_adopted() -> usize {
    let mut alive = 0;
    for process in Snapshot::take().strangers() {
        let Some(pid) = super::pid(process.pid) else { continue };
        if !process.dead {
            alive += 1;
            let _ = kill_process(pid, Signal::KILL);
        }
        reap(pid, process.dead);
    }
    alive
}

fn reap(pid: Pid, dead: bool) {
    // A process that was just killed is awaited, since SIGKILL cannot be ignored.
    let options = if dead { WaitOptions::NOHANG } else { WaitOptions::empty() };
    let _ = waitpid(Some(pid), options);
}

/// Returns whether this process exists and is not a zombie.
pub fn alive(pid: u32) -> bool {
    one(pid).is_some_and(|process| !process.dead)
}

/// A process for its whole life. Pids are reused, but not within one clock tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Id {
    pid: u32,
    started: u64,
}

#[derive(Debug)]
struct Entry {
    pid: u32,
    parent: u32,
    started: u64,
    dead: bool,
}

impl Entry {
    fn id(&self) -> Id {
        Id { pid: self.pid, started: self.started }
    }
}

/// The table as it is at one moment.
struct Snapshot {
    all: Vec<Entry>,
    ours: HashSet<u32>,
}

impl Snapshot {
    fn take() -> Self {
        // Held meanwhile, so that a child that is starting or being reaped never counts as a
        // stranger.
        let ours = ours();
        Self { all: all(), ours: ours.clone() }
    }

    /// Returns the children of this process that it did not start, living or dead.
    fn strangers(&self) -> impl Iterator<Item = &Entry> {
        let this = std::process::id();
        let children = self.all.iter().filter(move |entry| entry.parent == this);
        children.filter(|entry| !self.ours.contains(&entry.pid))
    }

    /// Returns the living strangers, if this process adopts orphans.
    fn adopted(&self) -> impl Iterator<Item = &Entry> {
        let adopts = ADOPTS.load(Ordering::Relaxed);
        self.strangers().filter(move |entry| adopts && !entry.dead)
    }
}

fn all() -> Vec<Entry> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| one(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn one(pid: u32) -> Option<Entry> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let mut rest = stat.rsplit(')').next()?.split_ascii_whitespace();
    let state = rest.next()?;
    let parent = rest.next()?.parse().ok()?;
    // 22nd of all, and this was the fourth.
    let started = rest.nth(17)?.parse().ok()?;
    Some(Entry { pid, parent, started, dead: matches!(state, "Z" | "X") })
}
