//! How a plugin ends without `Shutdown`, and despite a handler that hangs.

use std::os::fd::OwnedFd;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::sleep;

use super::log;
use crate::http2::Presence;

/// How often a plugin without a connection looks for its host. With a connection it never does.
const LOOK: Duration = Duration::from_secs(1);
/// How long writing the last message may take.
const LAST_MESSAGE: Duration = Duration::from_millis(100);

/// What a plugin knows of its own process.
pub(super) struct OwnProcess {
    /// The standard output that the host provided.
    pub(super) stdout: Arc<OwnedFd>,
    pub(super) orphaned_after: Option<Duration>,
    /// How long the process may continue once it has to end.
    pub(super) exit: Duration,
}

impl OwnProcess {
    /// Completes once no peer has been connected for long enough, no process can read what this one
    /// prints, and none of the processes that were connected still runs. Then the host is gone, even if a
    /// shell stood in between. Spec: SHD-11.
    pub(super) async fn orphaned(&self, presence: &Presence) {
        let Some(after) = self.orphaned_after else { return std::future::pending().await };
        loop {
            sleep(LOOK.min(after)).await;
            let alone = presence.alone_for().is_some_and(|time| time >= after);
            if alone && has_no_reader(&self.stdout) && !presence.may_return() {
                return;
            }
        }
    }

    /// Ends the process if it still runs after its time, unless the result is dropped before. A handler
    /// that hangs on a thread would otherwise keep it alive forever, because a runtime that is dropped
    /// waits for such threads.
    pub(super) fn exit_in_time(self) -> ExitWatch {
        let (calls_off, called_off) = mpsc::channel();
        let exit = move || {
            if called_off.recv_timeout(self.exit) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            log_briefly("plugin did not exit in time; forcing exit");
            // SAFETY: `_exit` takes a number and never returns. `exit` would run exit handlers, which may
            // hang too.
            #[expect(unsafe_code, reason = "the standard library has no `_exit`")]
            unsafe {
                libc::_exit(1)
            }
        };
        let watch = thread::Builder::new().name("plugwire-exit".to_owned()).spawn(exit);
        if let Err(error) = watch {
            log::warn(&format!("no thread watches that the plugin exits in time: {error}"));
        }
        ExitWatch(calls_off)
    }
}

/// Watches that the process exits in time. Dropping it calls the watch off.
pub(super) struct ExitWatch(mpsc::Sender<()>);

impl ExitWatch {
    /// Lets it watch until the process has exited.
    pub(super) fn stays(self) {
        std::mem::forget(self.0);
    }
}

/// Logs on a thread of its own, because another process may fill the pipe just before the write.
fn log_briefly(message: &'static str) {
    let (logged, logging) = mpsc::channel();
    let log = move || {
        log::warn(message);
        logged.send(())
    };
    if thread::Builder::new().spawn(log).is_ok() {
        let _ = logging.recv_timeout(LAST_MESSAGE);
    }
}

/// Returns whether no process can read this output. A file or a terminal always has a reader; a pipe has
/// one while its other end is open.
fn has_no_reader(stdout: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(stdout, PollFlags::empty())];
    let looked = poll(&mut fds, Some(&Timespec::default()));
    looked.is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}
