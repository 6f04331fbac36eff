//! How a plugin's process ended.

use std::error::Error;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// The end of a plugin's process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// How long the process lived.
    pub lived: Duration,
    /// The first crash report on its standard error, the runtime's own words: Go's, Rust's or Python's. At most 4 KiB.
    pub crash: Option<String>,
    /// The last lines of its standard error, at most 8 KiB.
    pub stderr: String,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => write!(f, "exit status {code}")?,
            (_, Some(signal)) => {
                write!(f, "killed by signal {signal}{}", signal_name(signal))?;
                if self.status.core_dumped() {
                    write!(f, ", core dumped")?;
                }
            }
            _ => write!(f, "{}", self.status)?,
        }
        write!(f, " after {:.1?}", self.lived)
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
        let words = match &exit.crash {
            Some(crash) => crash.lines().next(),
            None => exit.stderr.lines().last(),
        };
        words.map_or(Ok(()), |words| write!(f, ": {words}"))
    }
}

impl Error for PluginGone {}

/// What ended a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stop {
    /// The step that it took.
    pub phase: StopPhase,
    /// Whether the calls under way had finished by then; otherwise they were cut off.
    pub drained: bool,
    /// How the process ended; `None` for a plugin that this host did not start.
    pub exit: Option<Exit>,
}

/// The steps of a shutdown, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StopPhase {
    /// The process had ended before.
    AlreadyGone,
    /// It ended by itself after it was asked to.
    Asked,
    /// It, or somebody of its process group, ended only at SIGTERM.
    Terminated,
    /// It had to be killed, with its process group.
    Killed,
}
