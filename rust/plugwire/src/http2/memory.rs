//! The memory that one peer can make this side hold, over all its connections and calls.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use parking_lot::Mutex;
use tonic::Status;

/// What a call costs besides its data: the states that h2, tonic and this crate keep for it.
const CALL: usize = 4096;
/// What a DATA frame costs besides its data, while it waits to be read.
const FRAME: usize = 256;
/// What a header costs besides its text.
const HEADER: usize = 64;

/// One peer's allowance. A clone is the same one.
#[derive(Clone)]
pub(crate) struct Memory(Arc<Allowance>);

struct Allowance {
    limit: u64,
    used: AtomicU64,
}

/// The peer has used up its allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the peer would make this side hold more than {limit} bytes, over all its connections and calls \
     (Http2::peer_memory)"
)]
pub(crate) struct Exhausted {
    limit: u64,
}

impl From<Exhausted> for Status {
    fn from(exhausted: Exhausted) -> Self {
        Status::resource_exhausted(exhausted.to_string())
    }
}

impl Memory {
    pub(crate) fn new(limit: u64) -> Self {
        Self(Arc::new(Allowance { limit, used: AtomicU64::new(0) }))
    }

    fn take(&self, bytes: usize) -> Result<(), Exhausted> {
        let Allowance { limit, used } = &*self.0;
        let fits = |used: u64| used.checked_add(bytes as u64).filter(|used| used <= limit);
        match used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(_) => Err(Exhausted { limit: *limit }),
        }
    }

    fn give_back(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }
}

/// What one connection takes of its peer's allowance, by call. A clone is the same ledger.
#[derive(Clone)]
pub(crate) struct Ledger(Arc<Book>);

struct Book {
    memory: Memory,
    /// What each open call takes. Data of other calls is dropped by h2 as it comes.
    calls: Mutex<HashMap<u32, usize>>,
}

impl Ledger {
    pub(crate) fn new(memory: Memory) -> Self {
        Self(Arc::new(Book { memory, calls: Mutex::default() }))
    }

    /// Opens a call, by the id of its stream.
    pub(crate) fn open(&self, stream: u32) -> Result<(), Exhausted> {
        let mut calls = self.0.calls.lock();
        if let Entry::Vacant(call) = calls.entry(stream) {
            self.0.memory.take(CALL)?;
            call.insert(CALL);
        }
        Ok(())
    }

    /// Notes a DATA frame that has arrived, until [`OpenCall`] has read it.
    pub(crate) fn arrived(&self, stream: u32, len: usize) -> Result<(), Exhausted> {
        self.take(stream, FRAME + len)
    }

    fn take(&self, stream: u32, bytes: usize) -> Result<(), Exhausted> {
        let mut calls = self.0.calls.lock();
        let Some(taken) = calls.get_mut(&stream) else { return Ok(()) };
        self.0.memory.take(bytes)?;
        *taken += bytes;
        Ok(())
    }

    fn give_back(&self, stream: u32, bytes: usize) {
        let mut calls = self.0.calls.lock();
        let Some(taken) = calls.get_mut(&stream) else { return };
        let bytes = bytes.min(*taken);
        *taken -= bytes;
        self.0.memory.give_back(bytes);
    }

    /// Forgets a call and all that it takes.
    pub(crate) fn close(&self, stream: u32) {
        if let Some(taken) = self.0.calls.lock().remove(&stream) {
            self.0.memory.give_back(taken);
        }
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        self.memory.give_back(self.calls.get_mut().values().sum());
    }
}

/// A call that takes memory until it is dropped.
pub(crate) struct OpenCall {
    ledger: Ledger,
    stream: u32,
}

impl OpenCall {
    /// Takes over a call that [`Ledger::open`] has opened.
    pub(crate) fn new(ledger: Ledger, stream: u32) -> Self {
        Self { ledger, stream }
    }

    /// Takes what headers need until the call is over.
    pub(crate) fn hold(&self, headers: &HeaderMap) -> Result<(), Exhausted> {
        let size = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            HEADER + name.as_str().len() + value.len()
        };
        self.ledger.take(self.stream, headers.iter().map(size).sum())
    }

    /// A DATA frame was read. Its bytes are still held.
    pub(crate) fn read_frame(&self) {
        self.ledger.give_back(self.stream, FRAME);
    }

    /// Bytes of DATA frames were handed on.
    pub(crate) fn handed_on(&self, bytes: usize) {
        self.ledger.give_back(self.stream, bytes);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.ledger.close(self.stream);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("limit", &self.0.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_takes_memory_until_it_is_over() {
        let memory = Memory::new(1 << 20);
        let ledger = Ledger::new(memory.clone());
        ledger.open(1).expect("there is room");
        ledger.open(1).expect("it is open");
        ledger.arrived(1, 1000).expect("there is room");
        ledger.arrived(3, 1000).expect("it is not open, so it takes nothing");
        let call = OpenCall::new(ledger, 1);
        assert_eq!(memory.used(), (CALL + FRAME + 1000) as u64);
        call.read_frame();
        assert_eq!(memory.used(), (CALL + 1000) as u64);
        call.handed_on(600);
        assert_eq!(memory.used(), (CALL + 400) as u64);
        call.handed_on(1 << 30);
        assert_eq!(memory.used(), 0, "never more than it took");
        let mut headers = HeaderMap::new();
        headers.insert("a", "bc".parse().expect("a value"));
        call.hold(&headers).expect("there is room");
        assert_eq!(memory.used(), (HEADER + 3) as u64);
        drop(call);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn the_allowance_holds_over_all_connections() {
        let memory = Memory::new(3 * CALL as u64);
        let [one, other] = [Ledger::new(memory.clone()), Ledger::new(memory.clone())];
        one.open(1).expect("there is room");
        one.open(3).expect("there is room");
        other.open(1).expect("there is room");
        other.open(3).expect_err("there is none");
        other.arrived(1, 1).expect_err("there is none");
        assert_eq!(memory.used(), 3 * CALL as u64);
        // A connection that ends gives everything back.
        drop(one);
        other.open(3).expect("there is room");
        other.close(3);
        drop(other);
        assert_eq!(memory.used(), 0);
    }
}
