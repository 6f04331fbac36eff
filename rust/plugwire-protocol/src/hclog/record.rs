//! A log record and its JSON.

use std::fmt;

use serde_json::Value;

/// The members that hclog defines.
pub(super) const LEVEL: &str = "@level";
pub(super) const MESSAGE: &str = "@message";
pub(super) const MODULE: &str = "@module";
pub(super) const TIMESTAMP: &str = "@timestamp";

/// The severity of a record, in ascending order.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Single steps.
    Trace,
    /// Details for debugging.
    Debug,
    /// Normal operation.
    Info,
    /// Something unexpected that does no harm yet.
    Warn,
    /// A failure.
    Error,
}

impl Level {
    /// Returns the level with this name. Case and surrounding white space are ignored.
    pub fn from_name(name: &str) -> Option<Self> {
        let levels = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];
        let name = name.trim();
        levels.into_iter().find(|level| name.eq_ignore_ascii_case(level.as_str()))
    }

    /// Returns the name that is used on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A log record.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// The severity.
    pub level: Level,
    /// The message.
    pub message: String,
    /// The logger's name.
    pub module: Option<String>,
    /// The time, in the form of [`format_timestamp`](super::format_timestamp).
    pub timestamp: Option<String>,
    /// All other members, by name. Names should be unique: readers keep the last of equal ones.
    ///
    /// Integers of up to 64 bits and floating point numbers are exact. A longer integer becomes the
    /// nearest floating point number. go-plugin's host converts all numbers to floating point.
    pub fields: Vec<(String, Value)>,
}

impl Record {
    /// Creates a record that has only a level and a message.
    pub fn new(level: Level, message: impl Into<String>) -> Self {
        Self { level, message: message.into(), module: None, timestamp: None, fields: Vec::new() }
    }

    /// Formats the record as hclog does, without a line end.
    ///
    /// A field whose name belongs to hclog (`@level`, `@message`, `@module`, `@timestamp`) gets
    /// another `@`. Otherwise it would replace the record's own member, and a value that is not text
    /// would crash a host in Go.
    #[must_use]
    pub fn to_json_line(&self) -> String {
        let mut line = JsonLine(vec![b'{']);
        line.text(LEVEL, self.level.as_str());
        line.text(MESSAGE, &self.message);
        if let Some(module) = &self.module {
            line.text(MODULE, module);
        }
        if let Some(timestamp) = &self.timestamp {
            line.text(TIMESTAMP, timestamp);
        }
        for (name, value) in &self.fields {
            match name.as_str() {
                LEVEL | MESSAGE | MODULE | TIMESTAMP => line.value(&format!("@{name}"), value),
                _ => line.value(name, value),
            }
        }
        line.finish()
    }
}

/// A JSON object that grows member by member, because a tree would be expensive for a log line.
struct JsonLine(Vec<u8>);

impl JsonLine {
    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.quote(text);
    }

    fn value(&mut self, name: &str, value: &Value) {
        self.name(name);
        serde_json::to_writer(&mut self.0, value).expect("writing to memory cannot fail");
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.quote(name);
        self.0.push(b':');
    }

    fn quote(&mut self, text: &str) {
        serde_json::to_writer(&mut self.0, text).expect("writing to memory cannot fail");
    }

    fn finish(mut self) -> String {
        self.0.push(b'}');
        String::from_utf8(self.0).expect("JSON is UTF-8")
    }
}

#[cfg(test)]
mod tests;
