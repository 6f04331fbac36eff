//! Ctrl-C and other signals: a run is ended in order before the program exits.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use plugwire_conformance_report::model::Outcome;
use plugwire_conformance_wire::process::end_strays;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Trouble;

/// Whether a signal asked the program to end.
static INTERRUPTED: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));
/// Whether work is in progress that would leave something behind if the program ended now.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Listens during the whole life of the program: once a handler is installed, a signal without a
/// waiter would be lost.
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
                    // Between runs, or while a report is written to a pipe: nothing has to be
                    // ended.
                    end_strays();
                    std::process::exit(Outcome::Interrupted.code().into());
                }
            }
        });
    }
    Ok(())
}

/// Ends early on a signal: dropping a run ends what it started. The run must own everything that
/// has to be gone when the program ends.
pub(super) async fn interruptible<T>(run: impl Future<Output = T>) -> Result<T, Trouble> {
    let mut interrupted = INTERRUPTED.subscribe();
    BUSY.store(true, Ordering::SeqCst);
    tokio::select! {
        biased;
        // The runtime still has to be dropped. The signal takes effect when `main` returns.
        _ = interrupted.wait_for(|interrupted| *interrupted) => Err(Trouble::Interrupted),
        done = run => idle().map(|()| done),
    }
}

/// Runs something short that must not be left half done.
pub(super) fn whole<T>(work: impl FnOnce() -> T) -> Result<T, Trouble> {
    BUSY.store(true, Ordering::SeqCst);
    // A signal that found nothing in progress may already be ending the program.
    unless_interrupted()?;
    let done = work();
    idle().map(|()| done)
}

/// Lets a signal that arrived in the meantime take effect now.
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
