//! Counts the resources that a test leaves behind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long the threads of a process may take to stop after SIGSTOP.
const STOPS: Duration = Duration::from_secs(60);

/// The resources this process holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Tasks of the current tokio runtime.
    pub tasks: usize,
    /// Child processes, zombies included.
    pub children: usize,
}

impl Holdings {
    /// Counts the resources now. Must be called inside a tokio runtime.
    pub fn count() -> Self {
        Self {
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) - 1,
            threads: fs::read_dir("/proc/self/task").map_or(0, Iterator::count),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            children: children().len(),
        }
    }

    /// Waits until no task or child process is left, then counts. A failed start and a dropped
    /// plugin are cleaned up in the background; a count taken too early would hide leaks of the
    /// same number.
    ///
    /// # Panics
    ///
    /// Panics if tasks or children are still left after `limit`.
    pub async fn at_rest(limit: Duration) -> Self {
        let mut now = Self::count();
        let rests = eventually(limit, || {
            now = Self::count();
            now.tasks == 0 && now.children == 0
        });
        assert!(rests.await, "tasks or children are still running: {now:?}");
        now
    }

    /// Returns whether nothing has grown compared with `before`. Fewer is fine: a thread for
    /// blocking work may have ended.
    pub fn fits_in(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads
            && self.tasks <= before.tasks
            && self.children <= before.children
    }
}

/// Returns the child processes of this process, without its guardian, which lives as long as the
/// process.
pub fn children() -> Vec<u32> {
    let guardians = guardians(std::process::id());
    let mut children = children_of(std::process::id());
    children.retain(|child| !guardians.contains(child));
    children
}

fn children_of(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}

/// Returns the running guardians of a host process.
pub fn guardians(host: u32) -> Vec<u32> {
    let is_guardian = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.ends_with(b"\0plugwire-guardian\0"))
    };
    children_of(host).into_iter().filter(is_guardian).collect()
}

/// Returns whether a process with this pid is running. A zombie does not count.
pub fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X'])
    })
}

/// Stops a process (SIGSTOP), and waits until each of its threads has stopped: on a busy machine they
/// run on for a moment after the signal, and may still answer.
pub async fn stop(pid: u32) {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(process, Signal::STOP).expect("the process runs");
    assert!(eventually(STOPS, || is_stopped(pid)).await, "process {pid} did not stop");
}

fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut states = threads.map(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next()
    });
    states.all(|state| state == Some('T'))
}

/// Lists the sockets and plugwire directories in a directory. A test that counts them uses its own
/// directory and passes it on as `TMPDIR`.
pub fn sockets(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        entry.file_type().is_ok_and(|kind| kind.is_socket())
            || entry.file_name().to_string_lossy().starts_with("plugwire-")
    });
    ours.map(|entry| entry.path()).collect()
}

/// Polls `done` until it returns true, for at most `limit`, and returns whether it did. For
/// conditions that offer no event to wait for.
pub async fn eventually(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let give_up = Instant::now() + limit;
    while !done() {
        if Instant::now() > give_up {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    true
}
