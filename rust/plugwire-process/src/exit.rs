//! How a process ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::OutOfMemory;

const LOST: &str = "its exit status is lost: this host ignores SIGCHLD, waits for children that are not its own, \
                    or has a runner that cannot tell";

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// The exit code or the signal. `None` where the system keeps no status for this crate: the parent ignores SIGCHLD, or
    /// waits for children that are not its own. Also `None` for a process started by other means than this crate's, if
    /// these means cannot tell.
    pub status: Option<ExitStatus>,
    /// How long the process lived.
    pub lived: Duration,
    /// What the out-of-memory killer did during the life of the process, if the process may have been its victim.
    pub out_of_memory: Option<OutOfMemory>,
    /// The first crash report on standard error, in the words of the runtime (Go's, Rust's or Python's), if the
    /// reader of standard error [recognizes](crate::StderrTail::push) such reports. At most 4 KiB.
    pub crash: Option<String>,
    /// The last lines of standard error, at most 8 KiB.
    pub stderr: String,
}

impl Exit {
    /// Describes the end of a process that was not started by this crate. The other fields are empty, and can be set.
    pub fn new(status: Option<ExitStatus>, lived: Duration) -> Self {
        Self { status, lived, out_of_memory: None, crash: None, stderr: String::new() }
    }

    /// Returns the exit code, if the process exited by itself and the status is known.
    pub fn code(&self) -> Option<i32> {
        self.status?.code()
    }

    /// Returns the signal that killed the process, if one did and the status is known.
    pub fn signal(&self) -> Option<i32> {
        self.status?.signal()
    }

    /// Returns whether the process is known to have exited with code 0.
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
    /// Returns the most telling line of standard error: the reason from a crash report, otherwise the last line.
    pub fn last_words(&self) -> Option<String> {
        let last = || self.stderr.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned);
        let Some(crash) = &self.crash else { return last() };
        let mut lines = crash.lines();
        let first = lines.next()?;
        if first.starts_with("Traceback") {
            // Python's report ends with the error, unless the report was cut short.
            let told = lines.rfind(|line| !line.starts_with([' ', '\t']) && !line.is_empty());
            return told.map(str::to_owned).or_else(last);
        }
        // Rust prints the place first, and the reason in the next line.
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
