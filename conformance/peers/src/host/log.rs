//! The plugin's standard error, as the host logs it (spec, chapter 9.1).

use std::sync::Arc;
use std::time::Duration;

use plugwire_conformance_wire::hclog::{self, LEVELS};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::watch;
use tokio::time::timeout;

use super::DEAD;
use super::flaw::Flaw;

/// The longest piece of a line (LOG-6).
const PIECE: u64 = 64 * 1024;
/// The number of bytes that are kept; later ones are read and discarded.
const KEPT: usize = 64 * 1024 * 1024;

/// One entry.
#[derive(Debug, Clone, Serialize)]
struct Entry {
    level: &'static str,
    message: String,
    fields: Map<String, Value>,
}

impl Entry {
    fn text(level: &'static str, line: &str) -> Self {
        Self { level, message: line.to_owned(), fields: Map::new() }
    }
}

/// The log. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Arc<watch::Sender<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Log {
    /// Reads standard error to its end (LOG-1).
    pub(super) async fn read(self, stderr: impl AsyncRead + Unpin, flaw: Option<Flaw>) {
        let mut stderr = BufReader::new(stderr);
        let mut reader = Reader { flaw, panics: false, in_line: false };
        loop {
            let mut piece = Vec::new();
            let read = (&mut stderr).take(PIECE).read_until(b'\n', &mut piece).await;
            if read.unwrap_or(0) == 0 {
                return;
            }
            if let Some(entry) = reader.entry(&piece) {
                self.add(entry, piece.len());
            }
            if flaw == Some(Flaw::StopsReadingStderr) {
                return std::future::pending().await;
            }
        }
    }

    /// Keeps an entry that was read from this many bytes.
    fn add(&self, entry: Entry, size: usize) {
        self.0.send_modify(|kept| {
            kept.bytes += size_of::<Entry>() + size;
            if kept.bytes <= KEPT {
                kept.entries.push(entry);
            }
        });
    }

    /// Waits for this many entries and returns all of them.
    pub(super) async fn collect(&self, count: usize, within: Duration) -> Map<String, Value> {
        let mut changed = self.0.subscribe();
        let _ = timeout(within, changed.wait_for(|kept| kept.entries.len() >= count)).await;
        let entries = serde_json::to_value(&self.0.borrow().entries).unwrap_or_default();
        Map::from_iter([("entries".to_owned(), entries)])
    }
}

/// Makes entries of pieces of lines.
struct Reader {
    flaw: Option<Flaw>,
    /// A panic's text has begun (LOG-7).
    panics: bool,
    /// The next piece goes on with a line that is too long.
    in_line: bool,
}

impl Reader {
    fn entry(&mut self, piece: &[u8]) -> Option<Entry> {
        let ends = piece.ends_with(b"\n");
        let was_in_line =
            std::mem::replace(&mut self.in_line, !ends && piece.len() as u64 == PIECE);
        let line = piece.strip_suffix(b"\n").unwrap_or(piece);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = String::from_utf8_lossy(line);
        if was_in_line || self.in_line {
            // The line's end may have come alone.
            return (!line.is_empty()).then(|| Entry::text("debug", &line));
        }
        if !ends && self.flaw == Some(Flaw::LosesTheLastWords) {
            return None;
        }
        match self.record(&line) {
            Record::Entry(entry) => Some(entry),
            Record::Lost => None,
            Record::Text => Some(self.text(&line)),
        }
    }

    /// Interprets a JSON line (LOG-3).
    fn record(&self, line: &str) -> Record {
        let Ok(json) = serde_json::from_str::<Value>(line) else { return Record::Text };
        if self.flaw == Some(Flaw::LogsAreText) {
            return Record::Text;
        }
        let odd = |members: &Map<String, Value>| {
            ["@message", "@level", "@timestamp"]
                .iter()
                .any(|name| members.get(*name).is_some_and(|value| !value.is_string()))
        };
        let mut members = match json {
            Value::Object(members) if !odd(&members) => members,
            _ if self.flaw == Some(Flaw::DiesOfOddJson) => std::process::exit(DEAD),
            _ => return Record::Text,
        };
        let mut take = |name: &str| match members.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (level, message, time) = (take("@level"), take("@message"), take("@timestamp"));
        let is_time = time.is_none_or(|time| hclog::is_timestamp(&time));
        if !is_time && self.flaw != Some(Flaw::AnyTimestamp) {
            return Record::Text;
        }
        let level = level.and_then(|level| {
            let level = level.trim().to_ascii_lowercase();
            LEVELS.into_iter().find(|known| *known == level)
        });
        let Some(level) = level else {
            return match self.flaw {
                Some(Flaw::UnknownLevelIsLost) => Record::Lost,
                // The whole line as text; its first word is JSON.
                _ => Record::Entry(Entry::text("debug", line)),
            };
        };
        if self.flaw == Some(Flaw::NumbersAreFloats) {
            members.values_mut().for_each(as_float);
        }
        Record::Entry(Entry { level, message: message.unwrap_or_default(), fields: members })
    }

    /// Any other line (LOG-5).
    fn text(&mut self, line: &str) -> Entry {
        if line.starts_with("panic: ") || line.starts_with("fatal error: ") {
            self.panics = self.flaw != Some(Flaw::PanicsAreDebug);
        }
        let tag = |level: &str| format!("[{}]", level.to_uppercase());
        let tagged = LEVELS.into_iter().find(|level| line.starts_with(&tag(level)));
        let untagged = match self.flaw {
            _ if self.panics => "error",
            Some(Flaw::TextIsInfo) => "info",
            _ => "debug",
        };
        Entry::text(tagged.unwrap_or(untagged), line)
    }
}

/// How a line was interpreted.
enum Record {
    Entry(Entry),
    Lost,
    Text,
}

fn as_float(value: &mut Value) {
    if let Some(number) = value.as_f64() {
        *value = number.into();
    }
}
