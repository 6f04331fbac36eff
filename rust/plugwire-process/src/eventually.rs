//! For unit tests. A child that another test of this process is starting holds copies of all descriptors until it calls
//! `exec`: until then a lock is still held and a listener still listens although its owner has dropped it.

use std::thread::sleep;
use std::time::Duration;

/// Asks until there is an answer, for some seconds.
pub(crate) fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    (0..5000).find_map(|_| {
        ask().or_else(|| {
            sleep(Duration::from_millis(1));
            None
        })
    })
}
