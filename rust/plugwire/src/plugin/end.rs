//! When a plugin ends though nobody asks it to, and though something hangs.

use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::sleep;

use super::log;
use crate::http2::peers::Peers;

/// How often a plugin without a connection looks for its host. One with a connection never does.
const LOOK: Duration = Duration::from_secs(1);
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What a plugin knows of its own process.
pub(super) struct OwnProcess {
    /// The standard output that the host gave.
    pub(super) stdout: Arc<OwnedFd>,
    pub(super) orphaned_after: Option<Duration>,
    /// How long the process may live on when it is to end.
    pub(super) exit: Duration,
}

impl OwnProcess {
    /// Completes when nobody has been connected for long enough and nobody can read what this process prints: the host is
    /// gone, whoever stood between. Spec: SHD-11.
    pub(super) async fn orphaned(&self, peers: &Peers) {
        let Some(after) = self.orphaned_after else { return std::future::pending().await };
        loop {
            sleep(LOOK.min(after)).await;
            let alone = peers.alone_for().is_some_and(|time| time >= after);
            if alone && has_no_reader(&self.stdout) {
                return;
            }
        }
    }

    /// Ends the process when its time is over, should it still run. A handler that hangs on a thread would keep it alive for
    /// ever: a runtime that is dropped waits for such threads.
    pub(super) fn exit_in_any_case(self) {
        let exit = move || {
            thread::sleep(self.exit);
            say_at_last("something hangs in the plugin: it ends all the same");
            // SAFETY: it takes a number and never returns. `exit` would run what was left for the end, which may hang too.
            #[expect(unsafe_code, reason = "the standard library has no `_exit`")]
            unsafe {
                libc::_exit(1)
            }
        };
        let watch = thread::Builder::new().name("plugwire-exit".to_owned()).spawn(exit);
        if let Err(error) = watch {
            log::warn(&format!("nobody sees to the plugin's end: {error}"));
        }
    }
}

/// On a thread of its own: somebody else may fill the pipe in the moment between the look at it and the write.
fn say_at_last(words: &'static str) {
    let (said, saying) = mpsc::channel();
    let say = move || {
        log::warn(words);
        said.send(())
    };
    if thread::Builder::new().spawn(say).is_ok() {
        let _ = saying.recv_timeout(LAST_WORDS);
    }
}

/// A file, a terminal and a pipe whose reader lives have one for ever.
fn has_no_reader(stdout: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(stdout, PollFlags::empty())];
    let looked = poll(&mut fds, Some(&Timespec::default()));
    looked.is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}
