//! A child process and its whole life. **Promise: young**: it works and is tested, and its names may still change between
//! minor releases.
//!
//! Starts a program so that it cannot outlive its parent, waits for it, ends it in steps, and says why it ended. It was
//! made for `plugwire`, which runs plugins with it, and knows nothing about plugins itself.
//!
//! ```
//! use std::time::Duration;
//! use plugwire_process::{Command, EndStep, Grace};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let command = Command::new("/bin/sh").args(["-c", "echo warming up >&2; exec sleep 1000"]);
//! let (process, _stdout) = command.envs([("PATH", "/usr/bin:/bin")]).spawn().await?;
//! let grace = Grace::new(Duration::from_millis(100), Duration::from_secs(5));
//! assert_eq!(process.end(grace).await?, EndStep::Terminated);
//! let exit = process.exited().await;
//! assert_eq!(exit.signal(), Some(15));
//! assert_eq!(exit.stderr, "warming up");
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
//! ```
//!
//! # What a process cannot do
//!
//! **Outlive its parent.** The process leads a process group, and the group is killed when its leader has ended, when the
//! parent's tokio runtime shuts down, and when [`Process::end`] takes too long. If the parent is killed, a *guardian* kills
//! the group: one small shell process per parent, started with the first child. On Linux the process also gets a
//! parent-death signal. What leaves the process group is out of reach, and so is what the parent starts by other means.
//! [`Command::outlive_parent`] opts out.
//!
//! **Leave files behind.** A [`PrivateDir`] is removed when its process has ended, by the guardian if the parent was killed,
//! and by the [`sweep`] of a later parent if both were.
//!
//! **Be replaced before it is executed.** A [`Verification`] executes the very bytes that were verified.
//!
//! **Use more than its limits**, if it gets a [`Confinement`].
//!
//! # Why it ended
//!
//! [`Exit`] has the exit status, the end of standard error, and evidence of the out-of-memory killer. If a program cannot be
//! executed, [`Executable::examine`] says what its file is.
//!
//! # Costs and limits
//!
//! Each process has a thread in the parent, which waits for it and reaps it. On Linux, a start takes the same time whatever
//! memory the parent has, because nothing of it is copied; elsewhere it takes longer in a large parent. Needs tokio with I/O and time enabled. Unix only,
//! tested on Linux; other systems have no parent-death signal, no closing of inherited descriptors, no memory files, no
//! [`Confinement::user`] and no [`ForeignProcess`].

#[cfg(not(unix))]
compile_error!(
    "plugwire-process supports Unix only; a port to Windows would put a job object behind `sys`"
);

pub mod blocking;
mod checksum;
mod command;
mod confine;
mod diagnose;
mod end;
#[cfg(test)]
mod eventually;
mod exit;
mod foreign;
mod group;
mod guardian;
mod leftovers;
mod out_of_memory;
mod private_dir;
mod process;
mod readers;
mod reap;
mod spawn_error;
mod sweep;
mod sys;
mod tail;
mod verify;

pub use checksum::{Checksum, ChecksumError};
pub use command::Command;
pub use confine::Confinement;
pub use diagnose::Executable;
pub use end::{EndStep, Grace, KILL_TIMEOUT, Unkillable};
pub use exit::Exit;
pub use foreign::ForeignProcess;
pub use out_of_memory::OutOfMemory;
pub use private_dir::PrivateDir;
pub use process::Process;
pub use readers::OutputReaders;
pub use spawn_error::{SpawnError, SpawnStep, lacking};
pub use sweep::{remove_socket, sweep};
pub use tail::StderrTail;
pub use verify::{Image, Verification, VerifyError};
