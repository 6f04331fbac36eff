//! Turns a standard descriptor of this process into a pipe, so that everything printed reaches the host: `println!`,
//! C code and the output of child processes alike.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::stdio::Hub;
use crate::generated::plugin::stdio_data::Channel;

const READ_SIZE: usize = 32 * 1024;
/// What Linux lets an unprivileged process make of a pipe.
const LARGEST_PIPE: usize = 1024 * 1024;

/// A descriptor under capture. Dropping it gives the descriptor back and hands over what was still in the pipe; it
/// blocks for a moment.
pub(super) struct Capture {
    descriptor: Descriptor,
    original: Arc<OwnedFd>,
    /// Closing it tells the reader to take what is left and end, also where a child still holds the pipe open.
    stop: Option<OwnedFd>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Descriptor {
    Stdout,
    Stderr,
}

impl Descriptor {
    fn current(self) -> BorrowedFd<'static> {
        match self {
            Descriptor::Stdout => rustix::stdio::stdout(),
            Descriptor::Stderr => rustix::stdio::stderr(),
        }
    }

    fn replace(self, with: impl AsFd) -> io::Result<()> {
        match self {
            Descriptor::Stdout => Ok(rustix::stdio::dup2_stdout(with)?),
            Descriptor::Stderr => Ok(rustix::stdio::dup2_stderr(with)?),
        }
    }

    /// Empties the buffers that Rust's own handle keeps above the descriptor.
    fn flush(self) {
        let _ = match self {
            Descriptor::Stdout => io::stdout().flush(),
            Descriptor::Stderr => io::stderr().flush(),
        };
    }

    fn channel(self) -> Channel {
        match self {
            Descriptor::Stdout => Channel::Stdout,
            Descriptor::Stderr => Channel::Stderr,
        }
    }
}

impl Capture {
    pub(super) fn begin(descriptor: Descriptor, hub: Arc<Hub>) -> io::Result<Self> {
        descriptor.flush();
        let original = Arc::new(rustix::io::fcntl_dupfd_cloexec(descriptor.current(), 3)?);
        // Both close at exec, on every system; captured output reaches children by the descriptor that is replaced.
        let ((output, input), (stopped, stop)) = (io::pipe()?, io::pipe()?);
        // The reader alone must not block for ever on a pipe that somebody else emptied or holds open.
        rustix::io::ioctl_fionbio(&output, true)?;
        let channel = descriptor.channel();
        let reader = std::thread::Builder::new()
            .name("plugwire-stdio".to_owned())
            .spawn(move || read(output, &stopped, channel, &hub))?;
        descriptor.replace(&input)?;
        if descriptor == Descriptor::Stderr {
            keep_panics_on(&original);
        }
        Ok(Self { descriptor, original, stop: Some(stop.into()), reader: Some(reader) })
    }
}

impl Capture {
    /// What the descriptor was before.
    pub(super) fn original(&self) -> Arc<OwnedFd> {
        self.original.clone()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.descriptor.flush();
        if let Err(error) = self.descriptor.replace(&self.original) {
            tracing::error!(%error, "a captured descriptor could not be given back");
        }
        if self.descriptor == Descriptor::Stderr {
            *real_stderr() = None;
        }
        self.stop = None;
        if let Some(reader) = self.reader.take() {
            // It ends by itself: what is left in the pipe is little, and the hub was told not to hold it up.
            let _ = reader.join();
        }
    }
}

/// Reads until the pipe ends or `stopped` closes, and then what is left: at most what a pipe can hold, for a child
/// that goes on printing must not keep the plugin from ending.
fn read(mut pipe: PipeReader, stopped: &PipeReader, channel: Channel, hub: &Hub) {
    let mut buffer = BytesMut::new();
    let mut left = usize::MAX;
    let mut unanswered = None;
    while left > 0 {
        if left == usize::MAX && wait(&pipe, stopped) {
            left = LARGEST_PIPE;
        }
        buffer.resize(READ_SIZE, 0);
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                let data = buffer.split_to(length).freeze();
                hub.push_blocking(channel, data, &mut unanswered);
                if left < usize::MAX {
                    left = left.saturating_sub(length);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if left < usize::MAX {
                    return;
                }
            }
            Err(error) => return tracing::error!(%error, "captured output can no longer be read"),
        }
    }
}

/// Waits for output. True when none will be waited for any longer.
fn wait(pipe: &PipeReader, stopped: &PipeReader) -> bool {
    let mut fds = [PollFd::new(pipe, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
    match rustix::event::poll(&mut fds, None) {
        Ok(_) => !fds[1].revents().is_empty(),
        Err(error) => error != rustix::io::Errno::INTR,
    }
}

/// The descriptor that standard error was before its capture. Crash text goes there: a pipe that this very process
/// empties dies with it.
fn real_stderr() -> std::sync::MutexGuard<'static, Option<Arc<OwnedFd>>> {
    static REAL: Mutex<Option<Arc<OwnedFd>>> = Mutex::new(None);
    REAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to standard error as the host reads it, captured or not, and gives up where that would wait: a pipe that nobody
/// empties must not keep a plugin from ending. Takes no lock of Rust's handle, for a handler that hangs may hold it.
pub(super) fn write_without_waiting(text: &[u8]) {
    let real = real_stderr().clone();
    let fd = real.as_deref().map_or(rustix::stdio::stderr(), AsFd::as_fd);
    // A pipe that polls as writable takes this much at once.
    for part in text.chunks(rustix::pipe::PIPE_BUF) {
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
        let polled = rustix::event::poll(&mut fds, Some(&Timespec::default()));
        let writable = polled.is_ok() && fds[0].revents().contains(PollFlags::OUT);
        if !writable || rustix::io::write(fd, part) != Ok(part.len()) {
            return;
        }
    }
}

/// Writes a panic to standard error as the host reads it, and waits for it.
fn write_to_real_stderr(text: &[u8]) {
    let real = real_stderr().clone();
    // There is nobody to tell that standard error is gone.
    let _ = match real {
        Some(fd) => File::from(match fd.try_clone() {
            Ok(fd) => fd,
            Err(_) => return,
        })
        .write_all(text),
        None => io::stderr().write_all(text),
    };
}

fn keep_panics_on(original: &Arc<OwnedFd>) {
    *real_stderr() = Some(original.clone());
    static HOOK: OnceLock<()> = OnceLock::new();
    HOOK.get_or_init(|| {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if real_stderr().is_none() {
                return earlier(panic);
            }
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("<unnamed>");
            let mut text = format!("thread '{name}' {panic}\n");
            let trace = std::backtrace::Backtrace::capture();
            if trace.status() == std::backtrace::BacktraceStatus::Captured {
                text.push_str(&trace.to_string());
            }
            write_to_real_stderr(text.as_bytes());
        }));
    });
}
