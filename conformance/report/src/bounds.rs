//! The limits for a case in reports: a plugin that prints gigabytes must not fill the disk.

use crate::model::{CaseResult, Event, Finding};

/// How many bytes are kept of one text.
const TEXT: usize = 4 * 1024;
/// A text up to this length stays unchanged, so that a text that was cut before is not cut again.
const TEXT_WITH_REMARK: usize = TEXT + 64;
/// How many notes and how many clauses are kept.
const ENTRIES: usize = 40;
/// How many events are kept of a timeline, with the remark that stands for the others.
const EVENTS: usize = 400;
/// How many bytes of text are kept of a timeline, over all its events.
const TIMELINE: usize = 256 * 1024;
/// What the remark in a timeline may take of them.
const REMARK: usize = 128;

impl CaseResult {
    /// Returns this case with bounded texts (4 KiB each), notes (40) and timeline (400 events, and
    /// 256 KiB in all). Longer parts keep their beginning and end, and a remark between them says
    /// how much is missing. Every report applies it; a second application changes nothing.
    pub fn bounded(&self) -> Self {
        let finding = self.finding.as_ref().map(|finding| Finding {
            expected: shortened(&finding.expected),
            actual: shortened(&finding.actual),
            step: shortened(&finding.step),
        });
        Self {
            id: shortened(&self.id),
            role: self.role,
            tier: shortened(&self.tier),
            level: self.level,
            clauses: bounded_list(&self.clauses),
            requirement: shortened(&self.requirement),
            why: shortened(&self.why),
            verdict: self.verdict,
            finding,
            notes: bounded_list(&self.notes),
            took_ms: self.took_ms,
            timeline: bounded_timeline(&self.timeline),
            replay: self.replay.as_deref().map(shortened),
        }
    }
}

/// Shortens an output: the beginning shows what it was, the end why it ended.
fn shortened(text: &str) -> String {
    if text.len() <= TEXT_WITH_REMARK {
        return text.to_owned();
    }
    let boundary = |index: &usize| text.is_char_boundary(*index);
    // Both ends of a text are boundaries.
    let head = (0..=TEXT / 2).rev().find(boundary).unwrap_or(0);
    let tail = (text.len() - TEXT / 2..=text.len()).find(boundary).unwrap_or(text.len());
    format!("{} […{} bytes left out…] {}", &text[..head], tail - head, &text[tail..])
}

fn bounded_list(texts: &[String]) -> Vec<String> {
    let mut kept: Vec<_> = texts.iter().take(ENTRIES).map(|text| shortened(text)).collect();
    if texts.len() > ENTRIES {
        kept.pop();
        kept.push(format!("[…{} more left out…]", texts.len() - kept.len()));
    }
    kept
}

fn bounded_timeline(events: &[Event]) -> Vec<Event> {
    let all = fitting(events.iter(), EVENTS, TIMELINE);
    if all == events.len() {
        return events.iter().map(bounded_event).collect();
    }
    let head = fitting(events.iter(), EVENTS / 4, TIMELINE / 4);
    let tail = fitting(events.iter().rev(), EVENTS * 3 / 4 - 1, TIMELINE * 3 / 4 - REMARK);
    let left_out = &events[head..events.len() - tail];
    let remark = Event {
        at_us: left_out.first().map_or(0, |event| event.at_us),
        source: "suite".to_owned(),
        text: format!("[…{} events left out…]", left_out.len()),
    };
    let mut kept: Vec<_> = events[..head].iter().map(bounded_event).collect();
    kept.push(remark);
    kept.extend(events[events.len() - tail..].iter().map(bounded_event));
    kept
}

fn bounded_event(event: &Event) -> Event {
    Event { at_us: event.at_us, source: shortened(&event.source), text: shortened(&event.text) }
}

/// Returns how many of these events fit, one after the other.
fn fitting<'a>(events: impl Iterator<Item = &'a Event>, count: usize, bytes: usize) -> usize {
    let size = |text: &str| text.len().min(TEXT_WITH_REMARK);
    let sizes = events.map(|event| size(&event.source) + size(&event.text));
    let sums = sizes.scan(0, |sum, size| {
        *sum += size;
        Some(*sum)
    });
    sums.take(count).take_while(|sum| *sum <= bytes).count()
}
