//! Replaces a standard descriptor of this process by a pipe, so that all output reaches the host: that of
//! `println!`, of C code and of child processes.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags};

use super::stderr;
use super::stdio::Hub;
use crate::generated::plugin::stdio_data::Channel;

const READ_SIZE: usize = 32 * 1024;
/// The largest pipe that Linux allows an unprivileged process.
const MAX_PIPE: usize = 1024 * 1024;

/// A captured descriptor. Dropping it restores the descriptor and passes on what was still in the pipe,
/// which blocks for a moment.
pub(super) struct Capture {
    descriptor: Descriptor,
    original: Arc<OwnedFd>,
    /// Closing it tells the reader to read the rest and stop, even while a child keeps the pipe open.
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

    /// Flushes the buffer of Rust's own handle.
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
        // Both are `CLOEXEC` on every system. Children inherit the descriptor that is replaced.
        let ((output, input), (stopped, stop)) = (io::pipe()?, io::pipe()?);
        // The reader must not block on a pipe that another process has emptied or keeps open.
        rustix::io::ioctl_fionbio(&output, true)?;
        let channel = descriptor.channel();
        let reader = std::thread::Builder::new()
            .name("plugwire-stdio".to_owned())
            .spawn(move || read(output, &stopped, channel, &hub))?;
        descriptor.replace(&input)?;
        if descriptor == Descriptor::Stderr {
            stderr::keep_panics_on(&original);
        }
        Ok(Self { descriptor, original, stop: Some(stop.into()), reader: Some(reader) })
    }

    /// Returns what the descriptor was before.
    pub(super) fn original(&self) -> Arc<OwnedFd> {
        self.original.clone()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.descriptor.flush();
        if let Err(error) = self.descriptor.replace(&self.original) {
            tracing::error!(%error, "a captured descriptor could not be restored");
        }
        if self.descriptor == Descriptor::Stderr {
            stderr::forget_original();
        }
        self.stop = None;
        if let Some(reader) = self.reader.take() {
            // It ends soon: little is left in the pipe, and the hub no longer blocks its writers.
            let _ = reader.join();
        }
    }
}

/// Reads until the pipe ends or `stopped` closes, and then the rest: at most what a pipe can hold, because
/// a child that keeps printing must not keep the plugin from ending.
fn read(mut pipe: PipeReader, stopped: &PipeReader, channel: Channel, hub: &Hub) {
    let mut buffer = BytesMut::new();
    let mut left = usize::MAX;
    let mut unanswered = None;
    while left > 0 {
        if left == usize::MAX && wait(&pipe, stopped) {
            left = MAX_PIPE;
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

/// Waits for output. Returns true once the reader has been told to stop.
fn wait(pipe: &PipeReader, stopped: &PipeReader) -> bool {
    let mut fds = [PollFd::new(pipe, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
    match rustix::event::poll(&mut fds, None) {
        Ok(_) => !fds[1].revents().is_empty(),
        Err(error) => error != rustix::io::Errno::INTR,
    }
}
