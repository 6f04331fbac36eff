//! The host role: a program that starts plugins and calls them.
//!
//! [`Launch`] collects what the user wants (`launch`, `settings`), and `start` does it: it starts the process through
//! `plugwire-process` or a [`Runner`], reads its line (`handshake`), and connects (`session`). The user then holds a
//! [`PluginHandle`] (`handle`), which `shutdown` ends. `process` is a plugin's process, whether this host or a runner started it;
//! `attempt` collects the evidence of a failed start; [`Attach`] connects to a plugin that another host started.

mod attach;
mod attempt;
mod environment;
mod error;
mod handle;
mod handshake;
mod launch;
mod logs;
mod process;
mod runner;
mod session;
mod settings;
mod shutdown;
mod sockets;
mod start;
mod stdio;

pub use attach::{Attach, AttachError};
pub use error::{Evidence, PingError, PluginGone, ShutdownError, StartError, TimeoutStep};
pub use handle::PluginHandle;
pub use launch::{Dangerous, Launch};
pub use plugwire_process::{Checksum, ChecksumError, Confinement, Executable, Exit, OutOfMemory};
pub use runner::{Plan, Runner, Running, Started};
pub use settings::{LogSink, Timeouts};
pub use shutdown::{ShutdownPhase, ShutdownReport};
