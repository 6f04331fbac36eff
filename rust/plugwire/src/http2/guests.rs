//! How many connections one peer may have, and which one gives way.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// The most connections of one peer. One connection carries any number of calls, so a healthy peer never
/// needs more.
const MOST: usize = 1024;
/// The fewest that this side offers, however few descriptors it may have.
const FEWEST: usize = 16;
/// How long a connection may take to make its first call before it has to give way.
const FIRST_CALL: Duration = Duration::from_millis(200);
/// How often a new connection looks for one that gives way.
const LOOK: Duration = Duration::from_millis(20);

/// The connections that one peer has made, over all listeners. A clone counts the same ones.
///
/// A connection that has not yet made a call is a guest. If there are too many connections, the oldest
/// guest is closed, once it has had 200 ms for its first call; one that has made a call never is.
#[derive(Debug, Clone)]
pub(crate) struct Guests(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    most: usize,
    next: u64,
    all: HashSet<u64>,
    /// The oldest first. Those that have made a call, or are closed, may still be among them.
    guests: VecDeque<(u64, Instant, CancellationToken)>,
}

impl Default for Guests {
    /// Leaves half of this process's descriptors to everything else.
    fn default() -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let half = usize::try_from(descriptors / 2).unwrap_or(usize::MAX);
        Self::with_most(half.clamp(FEWEST, MOST))
    }
}

impl Guests {
    fn with_most(most: usize) -> Self {
        let (all, guests) = (HashSet::new(), VecDeque::new());
        Self(Arc::new(Mutex::new(State { most, next: 0, all, guests })))
    }

    /// Waits for a place for another connection. Cancel safe.
    pub(crate) async fn place(&self) -> Guest {
        loop {
            if let Some(guest) = self.enter() {
                return guest;
            }
            sleep(LOOK).await;
        }
    }

    /// Counts a new connection, or returns `None` if there are too many and none gives way.
    fn enter(&self) -> Option<Guest> {
        let mut state = self.0.lock();
        if state.all.len() >= state.most && !state.close_oldest() {
            return None;
        }
        let id = state.next;
        state.next += 1;
        state.all.insert(id);
        let closed = CancellationToken::new();
        state.guests.push_back((id, Instant::now(), closed.clone()));
        Some(Guest { guests: self.clone(), id, closed })
    }

    /// Closes the oldest guest, because no descriptor is left.
    pub(crate) fn make_room(&self) {
        self.0.lock().close_oldest();
    }
}

impl State {
    fn close_oldest(&mut self) -> bool {
        if self.guests.front().is_none_or(|(_, since, _)| since.elapsed() < FIRST_CALL) {
            return false;
        }
        let Some((id, _, closed)) = self.guests.pop_front() else { return false };
        self.all.remove(&id);
        closed.cancel();
        true
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Guest {
    guests: Guests,
    id: u64,
    closed: CancellationToken,
}

impl Guest {
    /// The connection has made a call: it stays.
    pub(super) fn stays(&self) {
        let mut state = self.guests.0.lock();
        state.guests.retain(|(id, ..)| *id != self.id);
    }

    /// Resolves when the connection has to be closed. Cancel safe.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.guests.0.lock();
        state.all.remove(&self.id);
        state.guests.retain(|(id, ..)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_guest_gives_way() {
        let guests = Guests::with_most(3);
        let [one, two, three] = [(); 3].map(|()| guests.enter().expect("there is room"));
        one.stays();
        assert!(guests.enter().is_none(), "each has some time");
        let pass = || {
            for (_, since, _) in &mut guests.0.lock().guests {
                *since = since.checked_sub(FIRST_CALL).expect("a time");
            }
        };
        pass();
        let four = guests.enter().expect("a guest gives way");
        assert_eq!(
            [&one, &two, &three, &four].map(|it| it.closed.is_cancelled()),
            [false, true, false, false]
        );
        three.stays();
        four.stays();
        guests.make_room();
        assert!(guests.enter().is_none(), "none gives way");
        // The one that was closed is not counted twice.
        drop(two);
        assert!(guests.enter().is_none());
        drop(one);
        let five = guests.enter().expect("there is room");
        pass();
        guests.make_room();
        assert!(five.closed.is_cancelled());
        drop((three, four, five));
        let state = guests.0.lock();
        assert!(state.all.is_empty() && state.guests.is_empty());
    }
}
