//! One log record, and its JSON.

use std::fmt;

use serde_json::Value;

/// The members that have a meaning of their own.
pub(super) const LEVEL: &str = "@level";
pub(super) const MESSAGE: &str = "@message";
pub(super) const MODULE: &str = "@module";
pub(super) const TIMESTAMP: &str = "@timestamp";

/// How much a record matters, from least to most.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Every step.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// What happens normally.
    Info,
    /// What should not happen, and does no harm yet.
    Warn,
    /// What went wrong.
    Error,
}

impl Level {
    /// The level with this name; case and white space around it do not matter.
    pub fn from_name(name: &str) -> Option<Self> {
        let levels = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];
        let name = name.trim();
        levels.into_iter().find(|level| name.eq_ignore_ascii_case(level.as_str()))
    }

    /// The name that stands on the wire.
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

/// One log record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// How much it matters.
    pub level: Level,
    /// What happened.
    pub message: String,
    /// The logger's name.
    pub module: Option<String>,
    /// When, in the form of [`format_timestamp`](super::format_timestamp).
    pub timestamp: Option<String>,
    /// Everything else, by name. Names should differ: readers keep the last of equal ones.
    ///
    /// Integers of 64 bits and floating point numbers are exact, where go-plugin's host makes
    /// floating point numbers of all; a longer integer becomes the nearest of those.
    pub fields: Vec<(String, Value)>,
}

impl Record {
    /// A record with nothing but its level and its message.
    pub fn new(level: Level, message: impl Into<String>) -> Self {
        Self { level, message: message.into(), module: None, timestamp: None, fields: Vec::new() }
    }

    /// The record as hclog prints it, without a line end.
    ///
    /// A field whose name belongs to hclog (`@level`, `@message`, `@module`, `@timestamp`) gets
    /// one more `@`: it would replace the record's own, and one that is not text kills a Go host.
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

/// A JSON object that grows member by member: a log line is not worth a tree of its own.
struct JsonLine(Vec<u8>);

impl JsonLine {
    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.quote(text);
    }

    fn value(&mut self, name: &str, value: &Value) {
        self.name(name);
        serde_json::to_writer(&mut self.0, value).expect("memory takes everything");
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.quote(name);
        self.0.push(b':');
    }

    fn quote(&mut self, text: &str) {
        serde_json::to_writer(&mut self.0, text).expect("memory takes everything");
    }

    fn finish(mut self) -> String {
        self.0.push(b'}');
        String::from_utf8(self.0).expect("JSON is UTF-8")
    }
}

#[cfg(test)]
mod tests;
