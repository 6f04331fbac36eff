//! The system's process table. What is in here is Linux's; elsewhere it knows of nothing, and only process groups are ended.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::process::{Child, Command};

use super::GONE;

/// Children that tokio waits for. Nobody else may.
static OURS: LazyLock<Mutex<HashSet<u32>>> = LazyLock::new(Mutex::default);

fn ours() -> MutexGuard<'static, HashSet<u32>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a child and knows it from the first moment.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut ours = ours();
    let child = command.spawn()?;
    ours.extend(child.id());
    Ok(child)
}

pub(super) fn reaped(pid: u32) {
    ours().remove(&pid);
}

/// Whether this process adopts. One that does not has no strays: its children are its own business.
static ADOPTS: AtomicBool = AtomicBool::new(false);

/// Makes this process the parent of whatever its descendants leave behind. Call it once, at the start.
pub fn adopt_orphans() {
    ADOPTS.store(true, Ordering::Relaxed);
    #[cfg(target_os = "linux")]
    if let Some(this) = super::pid(std::process::id()) {
        // Where it is refused, orphans are found by their mark alone.
        let _ = rustix::process::set_child_subreaper(Some(this));
    }
}

/// Ends adopted processes that carry no mark, and takes the dead ones out of the table. How many were still alive.
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
    let known = ours();
    let this = std::process::id();
    let strays = all().into_iter().filter(|process| process.parent == this);
    let mut alive = 0;
    for process in strays.filter(|process| !known.contains(&process.pid)) {
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
    // One that was killed a moment ago is waited for: SIGKILL is not refused.
    let options = if dead { WaitOptions::NOHANG } else { WaitOptions::empty() };
    let _ = waitpid(Some(pid), options);
}

/// Whether this process lives: it is there and no zombie.
pub fn alive(pid: u32) -> bool {
    one(pid).is_some_and(|process| !process.dead)
}

/// The living processes that carry this mark in their environment.
pub(super) fn marked(mark: &str) -> Vec<u32> {
    let entry = format!("{mark}\0");
    let carries = |pid: u32| {
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|all| all.windows(entry.len()).any(|part| part == entry.as_bytes()))
    };
    let living = all().into_iter().filter(|process| !process.dead);
    living.map(|process| process.pid).filter(|pid| carries(*pid)).collect()
}

struct Entry {
    pid: u32,
    parent: u32,
    dead: bool,
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
    Some(Entry { pid, parent, dead: matches!(state, "Z" | "X") })
}
