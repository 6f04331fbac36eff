//! Ctrl-C and its like: what runs is ended in order first, and then the program.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use plugwire_conformance_report::model::Outcome;
use plugwire_conformance_wire::process::end_strays;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Trouble;

/// Whether somebody wants the program to end.
static INTERRUPTED: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));
/// Whether something is under way that leaves something behind, were the program to end now.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Listens for as long as the program lives: once there is a handler, a signal that nobody waits for would be lost.
pub(super) fn listen() -> std::io::Result<()> {
    let kinds = [
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::terminate(),
    ];
    for kind in kinds {
        let mut signals = signal(kind)?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                INTERRUPTED.send_replace(true);
                if !BUSY.load(Ordering::SeqCst) {
                    // Between runs, or while somebody is to read a report: nothing is there to be ended.
                    end_strays();
                    std::process::exit(Outcome::Interrupted.code().into());
                }
            }
        });
    }
    Ok(())
}

/// Ends early when a signal asks for it: dropping a run ends what it started. All that is to be gone when the program ends
/// has to be owned by the run.
pub(super) async fn interruptible<T>(run: impl Future<Output = T>) -> Result<T, Trouble> {
    let mut interrupted = INTERRUPTED.subscribe();
    BUSY.store(true, Ordering::SeqCst);
    tokio::select! {
        biased;
        // The runtime, too, still has something to drop. The signal takes effect when `main` returns.
        _ = interrupted.wait_for(|interrupted| *interrupted) => Err(Trouble::Interrupted),
        done = run => idle().map(|()| done),
    }
}

/// Does what takes a moment and must not be left half done.
pub(super) fn whole<T>(work: impl FnOnce() -> T) -> Result<T, Trouble> {
    BUSY.store(true, Ordering::SeqCst);
    // A signal that found nothing under way may be ending the program by now.
    unless_interrupted()?;
    let done = work();
    idle().map(|()| done)
}

/// A signal that came while it could not take effect takes it now.
fn idle() -> Result<(), Trouble> {
    BUSY.store(false, Ordering::SeqCst);
    unless_interrupted()
}

fn unless_interrupted() -> Result<(), Trouble> {
    match *INTERRUPTED.borrow() {
        true => Err(Trouble::Interrupted),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No other test of this process looks at the two: they are the program's.
    #[test]
    fn nothing_is_begun_once_a_signal_came() {
        assert_eq!(whole(|| 5).unwrap(), 5);
        INTERRUPTED.send_replace(true);
        let begun = whole(|| panic!("it was begun"));
        assert!(matches!(begun, Err(Trouble::Interrupted)));
    }
}
