//! The guardian: a small process that ends this process's children when this process is killed.
//!
//! A process that is killed runs no code, and the parent-death signal reaches only the child itself, not what a shell put
//! in between or what the child started. So one guardian per parent reads a pipe that only the parent writes to. When the
//! pipe ends, the parent is gone: the guardian kills the groups that it knows, removes their directories, and exits.
//!
//! It is a shell script, on purpose. A fork of the parent without an exec would keep a copy of the parent's memory,
//! including its keys; the parent's own program cannot be executed again without running its `main`; and a separate program
//! would have to be installed beside every parent. Every machine has a shell, except the barest containers; it needs a
//! megabyte, and kills and removes by itself. Without one there is a warning, and what remains is the parent-death signal and
//! the sweep at the next start.
//!
//! **Pids.** The guardian must never kill a group whose id was reused. A pid is free for reuse only once its process has been
//! reaped, and `reap` tells the guardian about the end before it reaps. If the parent is killed in between, init reaps, and
//! the guardian acts at that same moment; the system assigns pids in a circle, so it would have to start tens of thousands of
//! processes first. If the parent ignores SIGCHLD, the pid is free as soon as the process ends; the guardian is then told at
//! once, and the circle covers the moment in between. The id of a group that has members is not reused at all.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, getppid, kill_process, waitpid};

use crate::group::ProcessGroup;
use crate::spawn_error::{SpawnError, SpawnStep};
use crate::sys;
use crate::sys::exec::{self, Execution};

const SCRIPT: &str = include_str!("guardian.sh");
/// The name of a guardian in process listings.
const NAME: &str = "plugwire-guardian";
/// Below the size that every system writes to a pipe atomically (`PIPE_BUF`).
const LONGEST_LINE: usize = 512;

/// A process that the guardian knows.
#[derive(Debug)]
pub(crate) struct Entry {
    key: u64,
}

/// What the guardian was told, so that the next one can be told if this one is killed.
struct Record {
    /// The pid, or the negative id of a group.
    target: Option<i32>,
    dir: Option<PathBuf>,
    socket: Option<PathBuf>,
}

struct State {
    /// The process that this state belongs to. A fork without an exec has a copy of it.
    host: Option<Pid>,
    guardian: Option<Guardian>,
    entries: BTreeMap<u64, Record>,
    next: u64,
    warned: bool,
}

static STATE: Mutex<State> = Mutex::new(State {
    host: None,
    guardian: None,
    entries: BTreeMap::new(),
    next: 0,
    warned: false,
});

fn state() -> MutexGuard<'static, State> {
    let mut state = STATE.lock();
    state.belong_to(getpid());
    state
}

impl Entry {
    /// Adds a process that is about to be started, with its private directory.
    pub(crate) fn new(dir: Option<&Path>) -> Self {
        let mut state = state();
        let key = state.next;
        state.next += 1;
        let record = Record { target: None, dir: dir.map(Path::to_owned), socket: None };
        state.entries.insert(key, record);
        state.ensure();
        Self { key }
    }

    /// Makes the process itself tell the guardian, before it executes its program, so that there is no moment in which it runs and the
    /// guardian does not know it.
    pub(crate) fn announce(&self, execution: &mut Execution, leads_group: bool) {
        let state = state();
        let Some(guardian) = &state.guardian else { return };
        let (key, pipe, host) = (self.key, guardian.pipe.clone(), getpid());
        let dir = state.entries[&key].dir.clone();
        let announce = move || {
            // In another pid namespace it does not know the pid by which it can be killed.
            if getppid() != Some(host) {
                return Ok(());
            }
            let pid = getpid().as_raw_nonzero().get();
            let target = if leads_group { -pid } else { pid };
            let mut buffer = [0; LONGEST_LINE];
            if let Some(line) = start_line(&mut buffer, key, target, dir.as_deref()) {
                // If this fails, the parent tells the guardian once more.
                let _ = rustix::io::write(&pipe, line);
            }
            Ok(())
        };
        // SAFETY: it formats numbers into a buffer on the stack and makes three system calls; no memory, no locks.
        unsafe { execution.before_exec(SpawnStep::Guard, announce) };
    }

    /// Records the pid. The guardian was told already, unless it was replaced in the meantime.
    pub(crate) fn started(&self, group: &ProcessGroup) {
        let mut state = state();
        if let Some(record) = state.entries.get_mut(&self.key) {
            record.target = Some(group.target());
        }
        state.tell_all_of(self.key);
    }

    /// Records that the process listens outside its private directory.
    pub(crate) fn listens_at(&self, socket: &Path) {
        let mut state = state();
        if let Some(record) = state.entries.get_mut(&self.key) {
            record.socket = Some(socket.to_owned());
        }
        state.tell_all_of(self.key);
    }

    /// Removes the process: it is gone, and its pid may be reused soon. From here on the guardian does not remove its
    /// directory either.
    pub(crate) fn forget(&self) {
        let mut state = state();
        if state.entries.remove(&self.key).is_some() {
            state.tell(format!("end {}\n", self.key).as_bytes());
        }
    }
}

/// Formats the line about a process. A path with a line break cannot be passed on. The targets -1, 0 and 1 are refused: they
/// mean every process, the parent's own group, and init.
fn start_line<'a>(
    buffer: &'a mut [u8; LONGEST_LINE],
    key: u64,
    target: i32,
    dir: Option<&Path>,
) -> Option<&'a [u8]> {
    if target.unsigned_abs() < 2 {
        return None;
    }
    let dir = dir.map(|dir| dir.as_os_str().as_encoded_bytes()).unwrap_or_default();
    let dir = if dir.contains(&b'\n') { b"" } else { dir };
    let mut rest = &mut buffer[..];
    write!(rest, "start {key} {target} ").ok()?;
    rest.write_all(dir).ok()?;
    rest.write_all(b"\n").ok()?;
    let length = LONGEST_LINE - rest.len();
    Some(&buffer[..length])
}

impl State {
    /// Forgets the guardian and the entries if they belong to the process that this one was forked from.
    fn belong_to(&mut self, us: Pid) {
        if self.host.replace(us).is_some_and(|host| host != us) {
            std::mem::forget(self.guardian.take());
            self.entries.clear();
        }
    }

    /// Makes sure that a guardian runs and knows every entry.
    fn ensure(&mut self) {
        if self.guardian.as_mut().is_some_and(Guardian::lives) {
            return;
        }
        match Guardian::start() {
            Ok(guardian) => self.guardian = Some(guardian),
            Err(error) => {
                self.guardian = None;
                if !std::mem::replace(&mut self.warned, true) {
                    tracing::warn!(
                        %error,
                        "no guardian: should this process be killed, what its child processes have started may live on"
                    );
                }
                return;
            }
        }
        let keys: Vec<u64> = self.entries.keys().copied().collect();
        for key in keys {
            self.write_all_of(key);
        }
    }

    fn tell_all_of(&mut self, key: u64) {
        self.ensure();
        if !self.write_all_of(key) {
            self.replace();
        }
    }

    fn tell(&mut self, line: &[u8]) {
        self.ensure();
        if !self.write(line) {
            self.replace();
        }
    }

    /// Replaces a guardian that does not read, because it was stopped.
    fn replace(&mut self) {
        self.guardian = None;
        self.ensure();
    }

    fn write_all_of(&self, key: u64) -> bool {
        let Some(Record { target: Some(target), dir, socket }) = self.entries.get(&key) else {
            return true;
        };
        let mut buffer = [0; LONGEST_LINE];
        let start = start_line(&mut buffer, key, *target, dir.as_deref());
        let socket = socket.as_ref().and_then(|path| path.to_str()).filter(|p| !p.contains('\n'));
        start.is_none_or(|line| self.write(line))
            && socket.is_none_or(|path| self.write(format!("socket {key} {path}\n").as_bytes()))
    }

    fn write(&self, line: &[u8]) -> bool {
        let Some(guardian) = &self.guardian else { return true };
        rustix::io::write(&guardian.pipe, line).is_ok_and(|written| written == line.len())
    }
}

struct Guardian {
    /// `None` once it has ended.
    shell: Option<Pid>,
    pipe: Arc<OwnedFd>,
    /// While this process has a reader, writing to a guardian that was killed raises no SIGPIPE.
    _reader: OwnedFd,
}

impl Guardian {
    fn start() -> Result<Self, SpawnError> {
        let (reader, pipe) = exec::pipe()?;
        let failed = |error| SpawnStep::Pipes.failed(error);
        rustix::io::ioctl_fionbio(&pipe, true).map_err(|errno| failed(errno.into()))?;
        let path = search_path(std::env::var_os("PATH"));
        let arguments = ["/bin/sh", "-c", SCRIPT, NAME].map(OsStr::new);
        let variables = [(OsStr::new("PATH"), path.as_os_str())];
        let mut execution = Execution::new(Path::new("/bin/sh"), arguments, variables)?;
        execution.stdin(reader.try_clone().map_err(failed)?);
        execution.stdout(exec::nothing()?);
        execution.stderr(exec::nothing()?);
        // Ctrl-C, or a signal to the parent's whole group, must not end the guardian with it.
        execution.lead_group();
        // Its working directory could not be unmounted while the parent runs.
        execution.change_dir(Path::new("/"))?;
        let keep_only_these = || {
            // If that fails, it keeps open what the parent leaves open for every program.
            let _ = sys::keep_only_standard_descriptors();
            Ok(())
        };
        // SAFETY: system calls on a buffer on the stack; no memory, no locks.
        unsafe { execution.before_exec(SpawnStep::Descriptors, keep_only_these) };
        let shell = Some(execution.spawn()?);
        Ok(Self { shell, pipe: Arc::new(pipe), _reader: reader })
    }

    fn lives(&mut self) -> bool {
        // Where it was reaped elsewhere in this process, this fails, and its pid may have been reused.
        let lives = self.shell.is_some_and(|shell| {
            matches!(waitpid(Some(shell), WaitOptions::NOHANG), Ok(None) | Err(Errno::INTR))
        });
        self.shell = self.shell.filter(|_| lives);
        lives
    }
}

/// Returns the search path for the script: where systems usually have the programs that it needs, then the parent's path.
fn search_path(host: Option<OsString>) -> OsString {
    let mut path = OsString::from("/usr/bin:/bin:/usr/sbin:/sbin");
    if let Some(host) = host.filter(|host| !host.is_empty()) {
        path.push(":");
        path.push(host);
    }
    path
}

impl Drop for Guardian {
    fn drop(&mut self) {
        if self.lives()
            && let Some(shell) = self.shell
        {
            let _ = kill_process(shell, Signal::KILL);
            exec::wait(shell);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_line_is_one_line_and_never_about_every_process() {
        let line = |target, dir: &str| {
            let mut buffer = [0; LONGEST_LINE];
            let line = start_line(&mut buffer, 7, target, Some(Path::new(dir)));
            line.map(|line| String::from_utf8(line.to_vec()).expect("text"))
        };
        assert_eq!(line(-42, "/tmp/a b").as_deref(), Some("start 7 -42 /tmp/a b\n"));
        assert_eq!(line(42, "/tmp/a\nend 1").as_deref(), Some("start 7 42 \n"));
        assert_eq!(line(-42, &"x".repeat(LONGEST_LINE)), None);
        for target in [-1, 0, 1] {
            assert_eq!(line(target, "/tmp/a"), None);
        }
    }

    #[test]
    fn the_script_finds_what_the_parent_finds() {
        let systems = "/usr/bin:/bin:/usr/sbin:/sbin";
        let path = |host: Option<&str>| search_path(host.map(OsString::from));
        assert_eq!(path(Some("/run/sw/bin")), *format!("{systems}:/run/sw/bin"));
        assert_eq!(path(Some("")), *systems);
        assert_eq!(path(None), *systems);
    }

    /// Also covers entries that were removed again.
    #[test]
    fn the_script_kills_and_removes_exactly_what_it_knows() {
        let base = tempfile::tempdir().expect("a directory");
        let dir = |name| {
            let path = base.path().join(name);
            std::fs::create_dir(&path).expect("a directory");
            path
        };
        let sleeper = || Command::new("sleep").arg("1000").process_group(0).spawn().expect("sleep");
        let (mut known, mut forgotten) = (sleeper(), sleeper());
        let (kept, gone) = (dir("kept"), dir("it's $gone"));
        let elsewhere = base.path().join("a socket");
        drop(std::os::unix::net::UnixListener::bind(&elsewhere).expect("a socket"));
        let file = base.path().join("a file");
        std::fs::write(&file, "").expect("a file");
        let told = format!(
            "start 1 -{} {}\nstart 2 -{} {}\nstart 2 -{} {}\nsocket 2 {}\nsocket 1 {}\nend 1\n",
            forgotten.id(),
            kept.display(),
            known.id(),
            gone.display(),
            known.id(),
            gone.display(),
            elsewhere.display(),
            file.display(),
        );
        run_script(base.path(), &told);
        let status = known.wait().expect("ours");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        assert!(!gone.exists() && !elsewhere.exists());
        assert!(forgotten.try_wait().expect("ours").is_none(), "it was forgotten");
        assert!(kept.exists() && file.exists());
        forgotten.kill().expect("it lives");
        forgotten.wait().expect("ours");
    }

    /// Writes to the script, running in this directory, and then ends its input.
    fn run_script(directory: &Path, told: &str) {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT]).current_dir(directory).stdin(Stdio::piped());
        let mut shell = shell.spawn().expect("a shell");
        shell.stdin.take().expect("piped").write_all(told.as_bytes()).expect("it reads");
        shell.wait().expect("it ends");
    }

    #[test]
    fn a_fork_leaves_its_parents_guardian_and_entries_alone() {
        let guardian = Guardian::start().expect("a shell");
        let shell = guardian.shell.expect("it was started");
        let record = Record { target: Some(-42), dir: Some(PathBuf::from("/tmp/a")), socket: None };
        let mut state = State {
            host: Some(shell),
            guardian: Some(guardian),
            entries: BTreeMap::from([(1, record)]),
            next: 2,
            warned: false,
        };
        state.belong_to(shell);
        assert!(state.guardian.is_some() && state.entries.len() == 1, "they are its own");
        state.belong_to(getpid());
        assert!(state.guardian.is_none() && state.entries.is_empty());
        kill_process(shell, Signal::KILL).expect("it lives");
        let ended = waitpid(Some(shell), WaitOptions::empty());
        assert_eq!(ended.expect("ours").expect("it ended").1.terminating_signal(), Some(9));
    }

    #[test]
    fn without_a_directory_none_is_removed() {
        let base = tempfile::tempdir().expect("a directory");
        let mut known = Command::new("sleep").arg("1000").process_group(0).spawn().expect("sleep");
        let target = -i64::from(known.id());
        // Named like the target, it would be removed in the target's place.
        let precious = base.path().join(target.to_string());
        std::fs::create_dir(&precious).expect("a directory");
        run_script(base.path(), &format!("start 1 {target} \n"));
        let status = known.wait().expect("ours");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        assert!(precious.exists());
    }

    #[test]
    fn only_whole_paths_are_removed_and_their_blanks_count() {
        let base = tempfile::tempdir().expect("a directory");
        let [kept, gone] = ["relative", "at the end "].map(|name| base.path().join(name));
        for dir in [&kept, &gone] {
            std::fs::create_dir(dir).expect("a directory");
        }
        let socket = base.path().join("a socket ");
        drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
        // The pid does not exist: of these two only the directories are left.
        let told = format!(
            "start 1 2147483647 relative\nstart 2 2147483647 {}\nsocket 2 {}\n",
            gone.display(),
            socket.display(),
        );
        run_script(base.path(), &told);
        assert!(kept.exists() && !gone.exists() && !socket.exists());
    }
}
