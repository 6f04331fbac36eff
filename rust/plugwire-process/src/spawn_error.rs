//! Why a process was not started.

use std::error::Error;
use std::io;

use rustix::io::Errno;

/// A step of starting a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnStep {
    /// Setting the limits or the user of its [`Confinement`](crate::Confinement).
    Confine,
    /// Copying the verified program to a file, where a copy in memory is not executed.
    Copy,
    /// Closing the descriptors that it must not inherit, or giving it those that it needs.
    Descriptors,
    /// Executing the program.
    Execute,
    /// Making a process.
    Fork,
    /// Making it lead a process group of its own.
    Group,
    /// Telling the guardian about it.
    Guard,
    /// Opening `/dev/null`, its standard input.
    Null,
    /// Making pipes for its output.
    Pipes,
    /// Registering the pipes with the runtime, or reading them.
    Read,
    /// Starting the thread that waits for it.
    Thread,
    /// Tying its life to this process's.
    TieToParent,
    /// Changing to its working directory.
    WorkingDirectory,
}

impl SpawnStep {
    /// Names what is done in this step, for a sentence: "making pipes for its output".
    pub const fn doing(self) -> &'static str {
        match self {
            Self::Confine => "setting its limits and its user",
            Self::Copy => "copying its verified program",
            Self::Descriptors => "closing the descriptors that it must not inherit",
            Self::Execute => "executing its program",
            Self::Fork => "making a process",
            Self::Group => "making a process group",
            Self::Guard => "telling the guardian about it",
            Self::Null => "opening /dev/null",
            Self::Pipes => "making pipes for its output",
            Self::Read => "reading its output",
            Self::Thread => "starting a thread that waits for it",
            Self::TieToParent => "tying its life to this process's",
            Self::WorkingDirectory => "changing to its working directory",
        }
    }

    pub(crate) const fn failed(self, cause: io::Error) -> SpawnError {
        SpawnError { step: self, cause }
    }
}

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
#[error("{} failed", step.doing())]
#[non_exhaustive]
pub struct SpawnError {
    /// The step that failed.
    pub step: SpawnStep,
    /// What the system says.
    #[source]
    pub cause: io::Error,
}

impl SpawnError {
    /// Returns the kind of the system's error.
    pub fn kind(&self) -> io::ErrorKind {
        self.cause.kind()
    }
}

/// Returns what this machine or this process lacks, if an error, or one of its sources, says that something is used up:
/// descriptors, processes, memory, space on a disk. For errors of starting a process: elsewhere `EAGAIN` means other things.
pub fn lacking(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    let mut errors = chain.filter_map(|error| error.downcast_ref::<io::Error>());
    errors.find_map(|error| {
        let known = |errno: &Errno| error.raw_os_error() == Some(errno.raw_os_error());
        LACKING.iter().find(|(errno, _)| known(errno)).map(|(_, what)| *what)
    })
}

const LACKING: [(Errno, &str); 6] = [
    (Errno::MFILE, "this process has as many descriptors open as it may (`ulimit -n`)"),
    (Errno::NFILE, "the machine has as many files open as it can"),
    (
        Errno::AGAIN,
        "the user, the cgroup or the machine has as many processes and threads as it may (`ulimit -u`, `pids.max`)",
    ),
    (Errno::NOMEM, "there is no memory left, or a limit on it is reached"),
    (Errno::NOSPC, "the file system has no space or no inodes left"),
    (Errno::DQUOT, "the user's quota on the file system is used up"),
];
