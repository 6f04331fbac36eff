//! Single acts: printing, waiting, exiting.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process, setsid};
use serde_json::json;

use super::Plugin;
use super::line::unhex;
use crate::script::{Act, Grandchild};

/// One of the two descriptors that a plugin writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Out {
    Stdout,
    Stderr,
}

impl Out {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// Blocks while the pipe is full.
    fn write_all(self, bytes: &[u8]) -> io::Result<()> {
        // Not with std's streams, which buffer text without a line feed.
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = match self {
                Self::Stdout => rustix::io::write(rustix::stdio::stdout(), rest),
                Self::Stderr => rustix::io::write(rustix::stdio::stderr(), rest),
            };
            match written {
                Ok(size) => rest = &rest[size..],
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Writes to a descriptor, while everything else goes on.
pub(super) async fn write(to: Out, bytes: Vec<u8>) -> io::Result<()> {
    let written = tokio::task::spawn_blocking(move || to.write_all(&bytes)).await;
    written.map_err(io::Error::other)?
}

/// Does it all, in order.
pub(super) async fn run(plugin: &Arc<Plugin>, acts: &[Act]) {
    for act in acts {
        one(plugin, act).await;
    }
}

async fn one(plugin: &Arc<Plugin>, act: &Act) {
    match act {
        Act::Stdout(text) => print(plugin, Out::Stdout, text.clone().into_bytes()).await,
        Act::Stderr(text) => print(plugin, Out::Stderr, text.clone().into_bytes()).await,
        Act::StdoutHex(text) => print_hex(plugin, Out::Stdout, text).await,
        Act::StderrHex(text) => print_hex(plugin, Out::Stderr, text).await,
        Act::StdoutFlood(size) => flood(plugin, Out::Stdout, *size, true).await,
        Act::StderrFlood(size) => flood(plugin, Out::Stderr, *size, true).await,
        Act::StdoutLine(size) => flood(plugin, Out::Stdout, *size, false).await,
        Act::StderrLine(size) => flood(plugin, Out::Stderr, *size, false).await,
        Act::StdoutForever => flood(plugin, Out::Stdout, u64::MAX, false).await,
        Act::StdoutLinesForever => flood(plugin, Out::Stdout, u64::MAX, true).await,
        Act::StderrLinesForever => flood(plugin, Out::Stderr, u64::MAX, true).await,
        Act::CloseStdout => close(plugin, Out::Stdout),
        Act::CloseStderr => close(plugin, Out::Stderr),
        Act::WaitMs(ms) => {
            tokio::time::sleep(Duration::from_millis(*ms)).await;
            plugin.witness.saw("waited", json!({ "ms": ms }));
        }
        Act::Hang => {
            plugin.witness.saw("hangs", json!({}));
            std::future::pending::<()>().await;
        }
        Act::AwaitCall => plugin.calls.first().await,
        Act::Exit(status) => {
            plugin.witness.saw("exit", json!({ "status": status, "act": true }));
            std::process::exit(i32::from(*status));
        }
        Act::Signal(name) => signal_self(plugin, name),
        Act::Grandchild(kind) => grandchild(plugin, *kind),
    }
}

async fn print(plugin: &Plugin, to: Out, bytes: Vec<u8>) {
    let size = bytes.len();
    // The host may kill the plugin because of what it reads.
    plugin.witness.saw("writes", json!({ "to": to.name(), "bytes": size }));
    match write(to, bytes).await {
        Ok(()) => plugin.witness.saw("wrote", json!({ "to": to.name(), "bytes": size })),
        Err(error) => {
            let error = error.to_string();
            plugin.witness.saw("write-failed", json!({ "to": to.name(), "error": error }));
        }
    }
}

async fn print_hex(plugin: &Plugin, to: Out, text: &str) {
    match unhex(text) {
        Ok(bytes) => print(plugin, to, bytes).await,
        Err(error) => plugin.witness.saw("bad-script", json!({ "hex": error })),
    }
}

/// Writes this many bytes, in lines of 80 bytes or in one line, and notes its progress.
async fn flood(plugin: &Plugin, to: Out, size: u64, lines: bool) {
    const PART: u64 = 64 * 80;
    // A pipe holds this much without a reader.
    const UNREAD: u64 = 12 * PART;
    let part: Vec<u8> = match lines {
        true => format!("{}\n", "x".repeat(79)).repeat(64).into_bytes(),
        false => vec![b'x'; PART as usize],
    };
    let mut written = 0;
    let mut told = 0;
    while written < size {
        let length = match lines {
            true => part.len(),
            false => part.len().min(usize::try_from(size - written).unwrap_or(usize::MAX)),
        };
        if let Err(error) = write(to, part[..length].to_vec()).await {
            let told = json!({ "to": to.name(), "bytes": written, "error": error.to_string() });
            return plugin.witness.saw("write-failed", told);
        }
        written += length as u64;
        if written == UNREAD || written / (1 << 20) > told {
            told = written / (1 << 20);
            plugin.witness.saw("flooding", json!({ "to": to.name(), "bytes": written }));
        }
    }
    if !lines && write(to, b"\n".to_vec()).await.is_ok() {
        written += 1;
    }
    plugin.witness.saw("wrote", json!({ "to": to.name(), "bytes": written }));
}

/// Closes a pipe. Its descriptor stays in use, so that no socket gets the number.
fn close(plugin: &Plugin, which: Out) {
    let closed =
        std::fs::File::options().read(true).write(true).open("/dev/null").and_then(|null| {
            match which {
                Out::Stdout => rustix::stdio::dup2_stdout(&null)?,
                Out::Stderr => rustix::stdio::dup2_stderr(&null)?,
            }
            Ok(())
        });
    let error = closed.err().map(|error| error.to_string());
    plugin.witness.saw("closed", json!({ "descriptor": which.name(), "error": error }));
}

/// Returns a signal by its name.
fn signal(name: &str) -> Option<Signal> {
    Some(match name {
        "SIGABRT" => Signal::ABORT,
        "SIGHUP" => Signal::HUP,
        "SIGINT" => Signal::INT,
        "SIGKILL" => Signal::KILL,
        "SIGSEGV" => Signal::SEGV,
        "SIGSTOP" => Signal::STOP,
        "SIGTERM" => Signal::TERM,
        _ => return None,
    })
}

/// Sends itself a signal; it may not come back from that, so the witness is written first.
pub(super) fn signal_self(plugin: &Plugin, name: &str) {
    let Some(signal) = signal(name) else {
        return plugin.witness.saw("bad-script", json!({ "signal": name }));
    };
    plugin.witness.saw("signal-self", json!({ "signal": name }));
    if let Err(error) = kill_process(getpid(), signal) {
        plugin.witness.saw("signal-failed", json!({ "error": error.to_string() }));
    }
}

/// Starts a process that sleeps for the maximum life of this one.
fn grandchild(plugin: &Plugin, kind: Grandchild) {
    let seconds = plugin.script.life_ms.div_ceil(1000).to_string();
    let mut command = Command::new("/bin/sleep");
    command.arg(seconds).stdin(Stdio::null());
    if !matches!(kind, Grandchild::HoldsPipes | Grandchild::OwnSessionHoldsPipes) {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    if matches!(kind, Grandchild::CleanEnvironment | Grandchild::Daemon) {
        command.env_clear();
    }
    if kind == Grandchild::Daemon {
        command.current_dir("/");
    }
    if !matches!(kind, Grandchild::Quiet | Grandchild::HoldsPipes) {
        // SAFETY: between fork and exec only setsid is called, which is a system call and safe there.
        unsafe {
            command.pre_exec(|| setsid().map(drop).map_err(io::Error::from));
        }
    }
    match command.spawn() {
        Ok(child) => plugin.witness.saw("grandchild", json!({ "pid": child.id(), "kind": kind })),
        Err(error) => {
            plugin.witness.saw("grandchild-failed", json!({ "error": error.to_string() }))
        }
    }
}

/// Writes to standard error at once, from wherever.
pub(super) fn to_stderr(text: &str) {
    let _ = Out::Stderr.write_all(text.as_bytes());
    let _ = io::stderr().flush();
}
