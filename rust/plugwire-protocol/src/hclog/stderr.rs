//! What a host makes of the lines on a plugin's standard error.

use serde_json::{Map, Value};

use super::record::{LEVEL, MESSAGE, MODULE, TIMESTAMP};
use super::timestamp::is_timestamp;
use super::{Level, Record};

/// Reads a plugin's standard error line by line.
///
/// Nothing that a plugin prints is an error, and nothing is lost: what is not understood becomes
/// the message of a record at debug level, as go-plugin's host does it.
#[derive(Clone, Debug, Default)]
pub struct StderrParser {
    /// The crash that the lines so far speak of.
    crash: Option<Runtime>,
}

/// One line of standard error.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// What kind of line it was.
    pub kind: Kind,
    /// What it says.
    pub record: Record,
}

/// What kind of line a plugin printed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// The first line of a crash report, at error level.
    Crash(Runtime),
    /// A plain line that follows such a line, at error level.
    CrashDetail(Runtime),
    /// A piece of a line that is too long to be read, at debug level.
    Fragment,
    /// A JSON object (or `null`) that is no log record: without a level that we know. The whole
    /// line is the message, at debug level.
    Json,
    /// A line of text, at debug level.
    Plain,
    /// A log record of hclog.
    Structured,
    /// A line of text that begins with its level in brackets, such as `[WARN]`. The tag stays in
    /// the message.
    Tagged,
}

/// Whose crash report it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Runtime {
    /// Go: `panic: ` or `fatal error: `. The process ends with it, so every plain line after it is
    /// a part of it, as go-plugin sees it since 1.7.0.
    Go,
    /// Python: `Traceback (most recent call last)`. plugwire's addition to go-plugin's rules.
    Python,
    /// Rust: `thread '…' panicked at`. plugwire's addition to go-plugin's rules.
    Rust,
}

impl Runtime {
    /// Whose crash report begins with this line.
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

    /// Whether the process cannot outlive the crash. A Rust thread or a Python handler may fail
    /// while the plugin goes on.
    fn is_final(self) -> bool {
        self == Self::Go
    }
}

impl StderrParser {
    /// A parser for a plugin that has printed nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next line, with or without its line end. Bytes that are not UTF-8 are replaced.
    ///
    /// A caller that limits the length of lines (go-plugin: 64 KiB,
    /// `ClientConfig.PluginLogBufferSize`) passes the pieces of longer ones to
    /// [`Entry::fragment`].
    ///
    /// After a crash in Go every plain line is at error level. After one in Rust or Python so is
    /// every plain line until the plugin logs something, which shows that it lives.
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
            // All of it belongs to the end of the process, even what looks like another crash.
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
    /// A piece of a line that is longer than its reader allows: text at debug level, never read as
    /// JSON and no part of any crash report.
    pub fn fragment(piece: &[u8]) -> Self {
        let text = String::from_utf8_lossy(without_line_end(piece));
        Self::new(Kind::Fragment, Level::Debug, text)
    }

    fn new(kind: Kind, level: Level, message: impl Into<String>) -> Self {
        Self { kind, record: Record::new(level, message) }
    }
}

/// The line without `\n` or `\r\n` at its end.
fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The level in brackets at the very beginning of a line.
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

/// What a line that is JSON turned out to be.
enum Json {
    Record(Record),
    Other,
}

impl Json {
    /// `None` for a line that counts as text: no JSON, JSON other than an object, or an object
    /// with a member of hclog's in a form that hclog never writes. (go-plugin's host treats a wrong
    /// timestamp so; on a wrong type it panics.)
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
        // A module that is no text stays a field like any other.
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

/// Takes out a member that must be text: `Some(None)` if it is absent, `None` if it is not text.
fn take_text(members: &mut Map<String, Value>, name: &str) -> Option<Option<String>> {
    match members.remove(name) {
        None => Some(None),
        Some(Value::String(text)) => Some(Some(text)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
