//! How a plugin's process ended.

use std::error::Error;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use super::OutOfMemory;

const LOST: &str = "its exit status is lost: this host ignores SIGCHLD, waits for children that are not its own, \
                    or has a runner that cannot tell";

/// The end of a plugin's process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// Exit code or signal. `None` where it is lost: the host ignores SIGCHLD, or waits for children that are not its own,
    /// and the system then keeps no status for this crate; or a [`Runner`](super::Runner) cannot tell.
    pub status: Option<ExitStatus>,
    /// How long the process lived.
    pub lived: Duration,
    /// What the out-of-memory killer did while it lived, where it may have been that; see [`OutOfMemory`].
    pub out_of_memory: Option<OutOfMemory>,
    /// The first crash report on its standard error, the runtime's own words: Go's, Rust's or Python's. At most 4 KiB.
    pub crash: Option<String>,
    /// The last lines of its standard error, at most 8 KiB.
    pub stderr: String,
}

impl Exit {
    /// The exit code of a process that ended by itself, where it is known.
    pub fn code(&self) -> Option<i32> {
        self.status?.code()
    }

    /// The signal that killed it, where that is known.
    pub fn signal(&self) -> Option<i32> {
        self.status?.signal()
    }

    /// Whether it is known to have ended with code 0.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(status) = self.status else {
            return write!(f, "gone after {:.1?}, {LOST}", self.lived);
        };
        match (status.code(), status.signal()) {
            (Some(code), _) => write!(f, "exit status {code}")?,
            (_, Some(signal)) => {
                write!(f, "killed by signal {signal}{}", signal_name(signal))?;
                if status.core_dumped() {
                    write!(f, ", core dumped")?;
                }
            }
            _ => write!(f, "{status}")?,
        }
        write!(f, " after {:.1?}", self.lived)?;
        self.out_of_memory.map_or(Ok(()), |memory| write!(f, "; {memory}"))
    }
}

impl Exit {
    /// Its last words in one line: of a crash report what tells the reason, otherwise the last line of standard error.
    pub fn last_words(&self) -> Option<String> {
        let last = || self.stderr.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned);
        let Some(crash) = &self.crash else { return last() };
        let mut lines = crash.lines();
        let first = lines.next()?;
        if first.starts_with("Traceback") {
            // Python ends with the error. A report that was cut short does not.
            let told = lines.rfind(|line| !line.starts_with([' ', '\t']) && !line.is_empty());
            return told.map(str::to_owned).or_else(last);
        }
        // Rust tells the place first, and the reason in the next line.
        let reason = lines.next().filter(|_| first.contains(" panicked at "));
        Some(reason.map_or(first.to_owned(), |reason| format!("{first} {reason}")))
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        2 => " (SIGINT)",
        6 => " (SIGABRT)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

/// Why a call failed: the process at the other end is gone. Found as the source of the call's
/// [`Status`](tonic::Status): `status.source().and_then(|e| e.downcast_ref::<PluginGone>())`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PluginGone {
    /// The plugin's name.
    pub plugin: String,
    /// How its process ended.
    pub exit: Exit,
}

impl fmt::Display for PluginGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, exit } = self;
        write!(f, "plugin `{plugin}` is gone: {exit}")?;
        exit.last_words().map_or(Ok(()), |words| write!(f, ": {words}"))
    }
}

impl Error for PluginGone {}

/// What ended a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The step that it took.
    pub phase: ShutdownPhase,
    /// Whether the calls under way had finished by then; otherwise they were cut off.
    pub drained: bool,
    /// How the process ended; `None` for a plugin that this host did not start, and where a file system that hangs keeps the
    /// plugin's folder from being removed.
    pub exit: Option<Exit>,
}

/// The steps of a shutdown, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ShutdownPhase {
    /// The process had ended before.
    AlreadyGone,
    /// It ended by itself after it was asked to.
    Asked,
    /// It, or somebody of its process group, ended only at SIGTERM.
    Terminated,
    /// It had to be killed, with its process group.
    Killed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(crash: &str, stderr: &str) -> Exit {
        Exit {
            status: Some(ExitStatus::from_raw(9)),
            lived: Duration::from_secs(3),
            out_of_memory: Some(OutOfMemory::InCgroup),
            crash: (!crash.is_empty()).then(|| crash.to_owned()),
            stderr: stderr.to_owned(),
        }
    }

    #[test]
    fn the_last_words_are_the_runtimes_own() {
        let words = |crash, stderr| exit(crash, stderr).last_words();
        let go = "panic: it broke\n\ngoroutine 1 [running]:\nmain.main()";
        assert_eq!(words(go, "x").as_deref(), Some("panic: it broke"));
        let rust = "thread 'main' (7) panicked at src/main.rs:2:5:\nit broke\nnote: run with `RUST_BACKTRACE=1`";
        let told = "thread 'main' (7) panicked at src/main.rs:2:5: it broke";
        assert_eq!(words(rust, "x").as_deref(), Some(told));
        let python =
            "Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: it broke";
        assert_eq!(words(python, "x").as_deref(), Some("ValueError: it broke"));
        let cut = "Traceback (most recent call last):\n  File \"a.py\", line 1";
        assert_eq!(words(cut, "ValueError: it broke\n").as_deref(), Some("ValueError: it broke"));
        assert_eq!(words("", "one\ntwo\n\n").as_deref(), Some("two"));
        assert_eq!(words("", ""), None);
    }

    #[test]
    fn a_kill_for_want_of_memory_is_told() {
        assert_eq!(
            exit("", "").to_string(),
            "killed by signal 9 (SIGKILL) after 3.0s; in that time the out-of-memory killer killed a \
             process of its memory cgroup"
        );
    }
}
