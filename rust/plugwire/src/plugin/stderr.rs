//! The standard error that the host reads, while it may be captured.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};

/// The descriptor that standard error was before it was captured.
static ORIGINAL: Mutex<Option<Arc<OwnedFd>>> = Mutex::new(None);

/// Writes to the standard error that the host reads, captured or not. It stops where it would block,
/// because a full pipe must not keep a plugin from ending. It takes no lock of Rust's own handle, which a
/// handler that hangs may hold.
pub(super) fn write_without_waiting(text: &[u8]) {
    let original = ORIGINAL.lock().clone();
    let fd = original.as_deref().map_or(rustix::stdio::stderr(), AsFd::as_fd);
    // A pipe that polls as writable accepts this much without blocking.
    for part in text.chunks(rustix::pipe::PIPE_BUF) {
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
        let polled = rustix::event::poll(&mut fds, Some(&Timespec::default()));
        let writable = polled.is_ok() && fds[0].revents().contains(PollFlags::OUT);
        if !writable || rustix::io::write(fd, part) != Ok(part.len()) {
            return;
        }
    }
}

/// Writes a panic to the standard error that the host reads. May block.
fn write_to_original(text: &[u8]) {
    let original = ORIGINAL.lock().clone();
    // A failure cannot be reported anywhere.
    let _ = match original {
        Some(fd) => File::from(match fd.try_clone() {
            Ok(fd) => fd,
            Err(_) => return,
        })
        .write_all(text),
        None => io::stderr().write_all(text),
    };
}

/// Keeps the text of panics on this descriptor from now on. A pipe that this process reads itself would
/// lose it in a crash.
pub(super) fn keep_panics_on(original: &Arc<OwnedFd>) {
    *ORIGINAL.lock() = Some(original.clone());
    static HOOK: OnceLock<()> = OnceLock::new();
    HOOK.get_or_init(|| {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if ORIGINAL.lock().is_none() {
                return earlier(panic);
            }
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("<unnamed>");
            let mut text = format!("thread '{name}' {panic}\n");
            let trace = std::backtrace::Backtrace::capture();
            if trace.status() == std::backtrace::BacktraceStatus::Captured {
                text.push_str(&trace.to_string());
            }
            write_to_original(text.as_bytes());
        }));
    });
}

/// Ends what [`keep_panics_on`] began.
pub(super) fn forget_original() {
    *ORIGINAL.lock() = None;
}
