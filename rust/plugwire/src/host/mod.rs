//! The host role: a program that starts plugins and calls them.
//!
//! The folder reads in the order of a plugin's life: [`Launch`] gathers what the user wants; `verify` and
//! [`Confinement`] see to what is run and with which rights; `start` runs the process, or lets a [`Runner`] do that,
//! reads its handshake line and connects; [`PluginHandle`] is what the user holds; `supervise` stays with
//! the process until it is gone and says how it ended; `shutdown` ends it. Should the host itself be killed, the
//! `guardian` ends its plugins, and what even that leaves the next host's `sweep` removes.

mod aside;
mod attach;
mod checksum;
mod confinement;
mod diagnosis;
mod dispense;
mod environment;
mod error;
mod exec;
mod exit;
mod guardian;
mod handle;
mod handshake;
mod launch;
mod logs;
mod managed;
mod memory;
mod runner;
mod session;
mod shutdown;
mod sockets;
mod spawn;
mod start;
mod stdio;
mod supervise;
mod sweep;
mod system;
mod verify;

pub use attach::{Attach, AttachError};
pub use checksum::{Checksum, ChecksumError};
pub use confinement::Confinement;
pub use diagnosis::Executable;
pub use dispense::DispenseError;
pub use error::{Evidence, PingError, ShutdownError, StartError, TimeoutStep};
pub use exit::{Exit, PluginGone, ShutdownPhase, ShutdownReport};
pub use handle::PluginHandle;
pub use launch::{Dangerous, Launch};
pub use logs::LogSink;
pub use managed::shutdown_all;
pub use memory::OutOfMemory;
pub use runner::{Plan, Runner, Running, Started};
