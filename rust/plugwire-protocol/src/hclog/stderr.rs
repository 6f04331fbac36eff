//! Classifies the lines on a plugin's standard error.

use serde_json::{Map, Value};

use super::record::{LEVEL, MESSAGE, MODULE, TIMESTAMP};
use super::timestamp::is_timestamp;
use super::{Level, Record};

/// Reads a plugin's standard error line by line.
///
/// Any output is accepted, and nothing is lost: a line in an unknown format becomes the message of a
/// record at debug level, as in go-plugin's host.
#[derive(Clone, Debug, Default)]
pub struct StderrParser {
    /// The crash that the lines so far report.
    crash: Option<Runtime>,
}

/// A line of standard error.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// The kind of line.
    pub kind: Kind,
    /// The content of the line.
    pub record: Record,
}

/// The kind of a line that a plugin printed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// The first line of a crash report, at error level.
    Crash(Runtime),
    /// A plain line after the first line of a crash report, at error level.
    CrashDetail(Runtime),
    /// A piece of a line that is too long to be parsed, at debug level.
    Fragment,
    /// A JSON object (or `null`) that is not a log record, because it has no known level. The whole
    /// line is the message, at debug level.
    Json,
    /// A line of text, at debug level.
    Plain,
    /// A log record from hclog.
    Structured,
    /// A line of text that begins with its level in brackets, such as `[WARN]`. The tag stays in
    /// the message.
    Tagged,
}

/// The language runtime that wrote a crash report.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Runtime {
    /// Go: `panic: ` or `fatal error: `. The process ends, so every plain line that follows belongs to
    /// the report, as in go-plugin since 1.7.0.
    Go,
    /// Python: `Traceback (most recent call last)`. plugwire's addition to go-plugin's rules.
    Python,
    /// Rust: `thread '…' panicked at`. plugwire's addition to go-plugin's rules.
    Rust,
}

impl Runtime {
    /// Returns the runtime whose crash report begins with this line.
    fn of(line: &str) -> Option<Self> {
        if line.starts_with("panic: ") || line.starts_with("fatal error: ") {
            Some(Self::Go)
        } else if line.starts_with("thread '") && line.contains(" panicked at ") {
            Some(Self::Rust)
        } else if line.starts_with("Traceback (most recent call last)") {
            Some(Self::Python)
        } else {
            None
        }
    }

    /// Returns whether the crash ends the process. A Rust thread or a Python handler may fail while
    /// the plugin continues to run.
    fn is_final(self) -> bool {
        self == Self::Go
    }
}

impl StderrParser {
    /// Creates a parser for a plugin that has not printed anything yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses the next line, with or without its line end. Bytes that are not UTF-8 are replaced.
    ///
    /// A caller that limits the length of lines (go-plugin: 64 KiB,
    /// `ClientConfig.PluginLogBufferSize`) passes the pieces of longer lines to
    /// [`Entry::fragment`].
    ///
    /// After a crash in Go, every plain line is at error level. After a crash in Rust or Python, plain
    /// lines are at error level until the plugin logs something, which shows that it is still running.
    pub fn line(&mut self, line: &[u8]) -> Entry {
        let text = String::from_utf8_lossy(without_line_end(line));
        let entry = match Json::read(&text) {
            Some(Json::Record(record)) => Entry { kind: Kind::Structured, record },
            Some(Json::Other) => Entry::new(Kind::Json, Level::Debug, text),
            None => self.text_line(&text),
        };
        if matches!(entry.kind, Kind::Structured | Kind::Tagged) {
            self.crash = self.crash.filter(|runtime| runtime.is_final());
        }
        entry
    }

    fn text_line(&mut self, text: &str) -> Entry {
        if let Some(level) = tag(text) {
            return Entry::new(Kind::Tagged, level, text);
        }
        let kind = match (self.crash, Runtime::of(text)) {
            // The process is ending, so even a line that looks like another crash is a detail.
            (Some(runtime), _) if runtime.is_final() => Kind::CrashDetail(runtime),
            (_, Some(runtime)) => Kind::Crash(runtime),
            (Some(runtime), None) => Kind::CrashDetail(runtime),
            (None, None) => return Entry::new(Kind::Plain, Level::Debug, text),
        };
        if let Kind::Crash(runtime) = kind {
            self.crash = Some(runtime);
        }
        Entry::new(kind, Level::Error, text)
    }
}

impl Entry {
    /// Creates an entry for a piece of a line that exceeds the reader's limit. It is text at debug
    /// level, never parsed as JSON and never part of a crash report.
    pub fn fragment(piece: &[u8]) -> Self {
        let text = String::from_utf8_lossy(without_line_end(piece));
        Self::new(Kind::Fragment, Level::Debug, text)
    }

    fn new(kind: Kind, level: Level, message: impl Into<String>) -> Self {
        Self { kind, record: Record::new(level, message) }
    }
}

/// Strips `\n` or `\r\n` from the end of a line.
fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Returns the level in brackets at the very beginning of a line.
fn tag(line: &str) -> Option<Level> {
    let tags = [
        ("[TRACE]", Level::Trace),
        ("[DEBUG]", Level::Debug),
        ("[INFO]", Level::Info),
        ("[WARN]", Level::Warn),
        ("[ERROR]", Level::Error),
    ];
    tags.into_iter().find(|(tag, _)| line.starts_with(tag)).map(|(_, level)| level)
}

/// A line that is a JSON object or `null`.
enum Json {
    Record(Record),
    Other,
}

impl Json {
    /// Returns `None` for a line that counts as text: not JSON, JSON other than an object, or an object
    /// in which one of hclog's members has a form that hclog never writes. go-plugin's host does the
    /// same for a wrong timestamp, and panics on a wrong type.
    fn read(text: &str) -> Option<Self> {
        match serde_json::from_str(text).ok()? {
            Value::Object(members) => Self::from_members(members),
            Value::Null => Some(Self::Other),
            _ => None,
        }
    }

    fn from_members(mut members: Map<String, Value>) -> Option<Self> {
        let message = take_text(&mut members, MESSAGE)?;
        let level = take_text(&mut members, LEVEL)?;
        let timestamp = take_text(&mut members, TIMESTAMP)?;
        if timestamp.as_deref().is_some_and(|text| !is_timestamp(text)) {
            return None;
        }
        let Some(level) = level.as_deref().and_then(Level::from_name) else {
            return Some(Self::Other);
        };
        // A module that is not text remains an ordinary field.
        let module = match members.remove(MODULE) {
            Some(Value::String(module)) => Some(module),
            Some(other) => {
                members.insert(MODULE.to_owned(), other);
                None
            }
            None => None,
        };
        Some(Self::Record(Record {
            level,
            message: message.unwrap_or_default(),
            module,
            timestamp,
            fields: members.into_iter().collect(),
        }))
    }
}

/// Removes and returns a member that must be text: `Some(None)` if it is absent, `None` if it is not
/// text.
fn take_text(members: &mut Map<String, Value>, name: &str) -> Option<Option<String>> {
    match members.remove(name) {
        None => Some(None),
        Some(Value::String(text)) => Some(Some(text)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
