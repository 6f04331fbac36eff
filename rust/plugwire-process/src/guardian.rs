//! The guardian: a small process that ends this host's plugins when the host cannot.
//!
//! A host that is killed runs no code, and the parent-death signal reaches only the plugin itself, not what a shell put
//! between or what the plugin started. So one process for each host reads a pipe that nobody but the host writes to. When
//! the pipe ends, the host is gone: the guardian kills the groups that it knows, removes their folders, and exits.
//!
//! It is a shell script, on purpose. A process forked from the host without an exec would keep a copy of the host's
//! memory, keys included; the host's own program cannot be executed again without running its `main`; and a program of
//! its own would have to be installed beside every host. A shell is on every machine but the barest containers, needs
//! a megabyte, and kills and removes by itself. Without one there is a warning, and what is left is the parent-death signal
//! and the sweep of the next start.
//!
//! **Process ids.** The guardian must never kill a group whose id has become somebody else's. An id is free for others
//! only when its process has been waited for, and `supervise` tells the guardian of the end before it waits. If the host
//! is killed in between, the id is freed by init, and the guardian acts at that same moment; the system gives ids out in
//! a circle, so it would have to start tens of thousands of processes first. Where the host ignores SIGCHLD, nobody has to
//! wait, and the id is free as soon as the process ends; there the guardian is told at once, and it is the same circle
//! that makes up for the moment in between. While anybody is left in a group, its id is not given out at all.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, getpid, getppid};

use super::exec::Execution;
use super::system;

const SCRIPT: &str = include_str!("guardian.sh");
/// How a guardian is called in lists of processes.
const NAME: &str = "plugwire-guardian";
/// Less than what every system writes to a pipe at once or not at all.
const LONGEST_LINE: usize = 512;

/// One plugin under guard.
pub(super) struct Ward {
    key: u64,
}

/// What is known of a ward, for the next guardian if this one is killed.
struct Known {
    target: Option<i32>,
    folder: PathBuf,
    socket: Option<PathBuf>,
}

struct State {
    /// Whose all this is. A fork without an exec has a copy of it.
    host: Option<Pid>,
    guardian: Option<Guardian>,
    wards: BTreeMap<u64, Known>,
    next: u64,
    warned: bool,
}

static STATE: Mutex<State> = Mutex::new(State {
    host: None,
    guardian: None,
    wards: BTreeMap::new(),
    next: 0,
    warned: false,
});

fn state() -> MutexGuard<'static, State> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.belong_to(getpid());
    state
}

impl Ward {
    /// For a plugin that is about to be started, with the folder of its sockets.
    pub(super) fn new(folder: &Path) -> Self {
        let mut state = state();
        let key = state.next;
        state.next += 1;
        let known = Known { target: None, folder: folder.to_owned(), socket: None };
        state.wards.insert(key, known);
        state.ensure();
        Self { key }
    }

    /// Lets the plugin's own process tell the guardian, before it becomes the plugin: there is then no moment in which
    /// it runs and nobody knows of it.
    pub(super) fn announce(&self, execution: &mut Execution, leads_group: bool) {
        let state = state();
        let Some(guardian) = &state.guardian else { return };
        let (key, pipe, host) = (self.key, guardian.pipe.clone(), getpid());
        let folder = state.wards[&key].folder.clone();
        let announce = move || {
            // In another namespace it does not know the id by which it can be killed.
            if getppid() != Some(host) {
                return Ok(());
            }
            let pid = getpid().as_raw_nonzero().get();
            let target = if leads_group { -pid } else { pid };
            let mut buffer = [0; LONGEST_LINE];
            if let Some(line) = start_line(&mut buffer, key, target, &folder) {
                // Whatever fails here, the host tells it once more.
                let _ = rustix::io::write(&pipe, line);
            }
            Ok(())
        };
        // SAFETY: it formats numbers into a buffer on the stack and makes three system calls; no memory, no locks.
        unsafe { execution.before(announce) };
    }

    /// The plugin runs. The guardian has heard of it already, unless it was replaced in the meantime.
    pub(super) fn born(&self, leader: Pid, leads_group: bool) {
        let pid = leader.as_raw_nonzero().get();
        let mut state = state();
        if let Some(known) = state.wards.get_mut(&self.key) {
            known.target = Some(if leads_group { -pid } else { pid });
        }
        state.tell_all_of(self.key);
    }

    /// The plugin listens outside its folder.
    pub(super) fn listens_at(&self, socket: &Path) {
        let mut state = state();
        if let Some(known) = state.wards.get_mut(&self.key) {
            known.socket = Some(socket.to_owned());
        }
        state.tell_all_of(self.key);
    }

    /// The plugin is gone, and its id may soon be somebody else's. What is left of its folder is not removed by the guardian
    /// any more.
    pub(super) fn forget(&self) {
        let mut state = state();
        if state.wards.remove(&self.key).is_some() {
            state.tell(format!("end {}\n", self.key).as_bytes());
        }
    }
}

/// A path with a line break in it cannot be told. To kill -1, 0 or 1 would be to kill everybody, or the host.
fn start_line<'a>(
    buffer: &'a mut [u8; LONGEST_LINE],
    key: u64,
    target: i32,
    folder: &Path,
) -> Option<&'a [u8]> {
    if target.unsigned_abs() < 2 {
        return None;
    }
    let folder = folder.as_os_str().as_encoded_bytes();
    let folder = if folder.contains(&b'\n') { b"" } else { folder };
    let mut rest = &mut buffer[..];
    write!(rest, "start {key} {target} ").ok()?;
    rest.write_all(folder).ok()?;
    rest.write_all(b"\n").ok()?;
    let length = LONGEST_LINE - rest.len();
    Some(&buffer[..length])
}

impl State {
    /// The guardian and the wards of the process that this one was forked from stay that one's, and are let be.
    fn belong_to(&mut self, us: Pid) {
        if self.host.replace(us).is_some_and(|host| host != us) {
            std::mem::forget(self.guardian.take());
            self.wards.clear();
        }
    }

    /// Sees to it that a guardian lives, and knows of everybody.
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
                        "no guardian: should this process be killed, what its plugins have started may live on"
                    );
                }
                return;
            }
        }
        let keys: Vec<u64> = self.wards.keys().copied().collect();
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

    /// For a guardian that does not read: somebody stopped it.
    fn replace(&mut self) {
        self.guardian = None;
        self.ensure();
    }

    fn write_all_of(&self, key: u64) -> bool {
        let Some(Known { target: Some(target), folder, socket }) = self.wards.get(&key) else {
            return true;
        };
        let mut buffer = [0; LONGEST_LINE];
        let start = start_line(&mut buffer, key, *target, folder);
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
    shell: Child,
    pipe: Arc<OwnedFd>,
    /// With a reader in this process, writing to a guardian that was killed raises no SIGPIPE.
    _reader: OwnedFd,
}

impl Guardian {
    fn start() -> io::Result<Self> {
        let (reader, pipe) = io::pipe()?;
        let (reader, pipe) = (OwnedFd::from(reader), OwnedFd::from(pipe));
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let shell = Path::new("/bin/sh");
        let mut execution = Execution::of(shell);
        execution
            .command
            .args(["-c", SCRIPT, NAME])
            .env("PATH", search_path(std::env::var_os("PATH")))
            // What it holds open or stands in, nobody else could close or unmount while the host lives.
            .current_dir("/")
            .stdin(Stdio::from(reader.try_clone()?))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C, and whoever ends the host's whole group, must not end the guardian with it.
            .process_group(0);
        let keep_only_these = || {
            // Where that cannot be, it holds open what the host leaves open for every program.
            let _ = system::keep_only_standard_descriptors();
            Ok(())
        };
        // SAFETY: system calls on a buffer on the stack; no memory, no locks.
        unsafe { execution.before(keep_only_these) };
        let shell = execution.spawn(shell.as_os_str())?;
        Ok(Self { shell, pipe: Arc::new(pipe), _reader: reader })
    }

    fn lives(&mut self) -> bool {
        matches!(self.shell.try_wait(), Ok(None))
    }
}

/// Where the script finds what it needs: where systems have it, or else where this one has, as the host knows.
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
        // If somebody else has waited for it, its id may by now be anybody's.
        if self.lives() {
            let _ = self.shell.kill();
            let _ = self.shell.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_line_is_one_line_and_never_about_everybody() {
        let line = |target, folder: &str| {
            let mut buffer = [0; LONGEST_LINE];
            let line = start_line(&mut buffer, 7, target, Path::new(folder));
            line.map(|line| String::from_utf8(line.to_vec()).expect("text"))
        };
        assert_eq!(line(-42, "/tmp/a b").as_deref(), Some("start 7 -42 /tmp/a b\n"));
        assert_eq!(line(42, "/tmp/a\nend 1").as_deref(), Some("start 7 42 \n"));
        assert_eq!(line(-42, &"x".repeat(LONGEST_LINE)), None);
        for everybody in [-1, 0, 1] {
            assert_eq!(line(everybody, "/tmp/a"), None);
        }
    }

    #[test]
    fn what_the_script_needs_is_found_where_the_host_finds_it_too() {
        let systems = "/usr/bin:/bin:/usr/sbin:/sbin";
        let path = |host: Option<&str>| search_path(host.map(OsString::from));
        assert_eq!(path(Some("/run/sw/bin")), *format!("{systems}:/run/sw/bin"));
        assert_eq!(path(Some("")), *systems);
        assert_eq!(path(None), *systems);
    }

    /// What the script does with what it is told, and with what it is told no more.
    #[test]
    fn the_script_kills_and_removes_exactly_what_it_knows() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = |name| {
            let path = base.path().join(name);
            std::fs::create_dir(&path).expect("a folder");
            path
        };
        let sleeper = || Command::new("sleep").arg("1000").process_group(0).spawn().expect("sleep");
        let (mut known, mut forgotten) = (sleeper(), sleeper());
        let (kept, gone) = (folder("kept"), folder("it's $gone"));
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
        last_words(base.path(), &told);
        let status = known.wait().expect("ours");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        assert!(!gone.exists() && !elsewhere.exists());
        assert!(forgotten.try_wait().expect("ours").is_none(), "it was forgotten");
        assert!(kept.exists() && file.exists());
        forgotten.kill().expect("it lives");
        forgotten.wait().expect("ours");
    }

    /// Tells the script something in this folder, and then that its host is gone.
    fn last_words(directory: &Path, told: &str) {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT]).current_dir(directory).stdin(Stdio::piped());
        let mut shell = shell.spawn().expect("a shell");
        shell.stdin.take().expect("piped").write_all(told.as_bytes()).expect("it reads");
        shell.wait().expect("it ends");
    }

    #[test]
    fn a_fork_lets_its_parents_guardian_and_wards_be() {
        let guardian = Guardian::start().expect("a shell");
        let shell = Pid::from_child(&guardian.shell);
        let known = Known { target: Some(-42), folder: PathBuf::from("/tmp/a"), socket: None };
        let mut state = State {
            host: Some(shell),
            guardian: Some(guardian),
            wards: BTreeMap::from([(1, known)]),
            next: 2,
            warned: false,
        };
        state.belong_to(shell);
        assert!(state.guardian.is_some() && state.wards.len() == 1, "they are its own");
        state.belong_to(getpid());
        assert!(state.guardian.is_none() && state.wards.is_empty());
        rustix::process::kill_process(shell, rustix::process::Signal::KILL).expect("it lives");
        let ended = rustix::process::waitpid(Some(shell), rustix::process::WaitOptions::empty());
        assert_eq!(ended.expect("ours").expect("it ended").1.terminating_signal(), Some(9));
    }

    #[test]
    fn where_no_folder_is_told_none_is_removed() {
        let base = tempfile::tempdir().expect("a folder");
        let mut known = Command::new("sleep").arg("1000").process_group(0).spawn().expect("sleep");
        let target = -i64::from(known.id());
        // Called what the target is, it would be removed in its place.
        let precious = base.path().join(target.to_string());
        std::fs::create_dir(&precious).expect("a folder");
        last_words(base.path(), &format!("start 1 {target} \n"));
        let status = known.wait().expect("ours");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        assert!(precious.exists());
    }

    #[test]
    fn only_whole_paths_are_removed_and_their_blanks_count() {
        let base = tempfile::tempdir().expect("a folder");
        let [kept, gone] = ["relative", "at the end "].map(|name| base.path().join(name));
        for folder in [&kept, &gone] {
            std::fs::create_dir(folder).expect("a folder");
        }
        let socket = base.path().join("a socket ");
        drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
        // A process that is no more: of these two only the folders are left.
        let told = format!(
            "start 1 2147483647 relative\nstart 2 2147483647 {}\nsocket 2 {}\n",
            gone.display(),
            socket.display(),
        );
        last_words(base.path(), &told);
        assert!(kept.exists() && !gone.exists() && !socket.exists());
    }
}
