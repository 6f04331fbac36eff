//! The timeline of a case.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Microseconds since the trace began.
    pub at_us: u64,
    /// The source that saw it.
    pub source: String,
    /// What it was.
    pub text: String,
}

/// A recorder; a clone records into the same list. It keeps the first and the last events, and a bounded length of each, so that no peer
/// can fill the memory.
#[derive(Debug, Clone)]
pub struct Trace {
    began: Instant,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    events: Vec<Event>,
    dropped: usize,
}

/// How many events are kept; half of them are the newest.
const EVENTS: usize = 600;
/// How long a text may be, in bytes.
const TEXT: usize = 4096;

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

impl Trace {
    /// Returns an empty one, which begins now.
    pub fn new() -> Self {
        Self { began: Instant::now(), kept: Arc::default() }
    }

    /// Notes what happened.
    pub fn event(&self, source: &str, text: impl Into<String>) {
        self.event_before(Duration::ZERO, source, text);
    }

    /// Notes what happened this long ago.
    pub fn event_before(&self, ago: Duration, source: &str, text: impl Into<String>) {
        let at = self.began.elapsed().saturating_sub(ago);
        let at_us = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        let event = Event { at_us, source: source.to_owned(), text: shortened(text.into()) };
        let mut kept = self.kept.lock();
        if kept.events.len() == EVENTS {
            kept.events.remove(EVENTS / 2);
            kept.dropped += 1;
        }
        kept.events.push(event);
    }

    /// Returns all events that are kept, in the order of time.
    pub fn events(&self) -> Vec<Event> {
        let kept = self.kept.lock();
        let mut events = kept.events.clone();
        events.sort_by_key(|event| event.at_us);
        if kept.dropped > 0
            && let Some(at_us) = events.get(EVENTS / 2).map(|event| event.at_us)
        {
            let text = format!("({} events are left out here)", kept.dropped);
            events.insert(EVENTS / 2, Event { at_us, source: "suite".to_owned(), text });
        }
        events
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > TEXT {
        let whole = text.len();
        let mut end = TEXT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(&format!("… ({whole} bytes)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_bounded_and_says_so() {
        let trace = Trace::new();
        for number in 0..10 * EVENTS {
            trace.event("subject", format!("{number}"));
        }
        let events = trace.events();
        assert_eq!(events.len(), EVENTS + 1);
        assert_eq!(events[0].text, "0");
        assert_eq!(events[EVENTS].text, format!("{}", 10 * EVENTS - 1));
        assert_eq!(events[EVENTS / 2].text, format!("({} events are left out here)", 9 * EVENTS));
    }

    #[test]
    fn what_is_told_later_stands_where_it_happened() {
        let trace = Trace { began: Instant::now() - Duration::from_secs(9), ..Trace::new() };
        trace.event_before(Duration::from_secs(5), "suite", "first");
        trace.event("suite", "third");
        trace.event_before(Duration::from_secs(2), "witness", "second");
        let texts: Vec<String> = trace.events().into_iter().map(|event| event.text).collect();
        assert_eq!(texts, ["first", "second", "third"]);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = shortened("ä".repeat(TEXT));
        assert!(text.len() < TEXT + 40 && text.ends_with(&format!("({} bytes)", 2 * TEXT)));
    }
}
