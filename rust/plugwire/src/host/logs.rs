//! A plugin's standard error: into the log, to the user's writer, and the end of it kept for errors.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use plugwire_protocol::hclog::{Entry, Kind, Level, StderrParser};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::stdio::Writer;

const KEPT_BYTES: usize = 8 * 1024;
const KEPT_CRASH: usize = 4 * 1024;
const READ_SIZE: usize = 64 * 1024;

/// Gets a plugin's log, entry by entry. Implemented for closures.
///
/// Called on the task that reads the plugin's standard error: one that waits slows the plugin down.
pub trait LogSink: Send + Sync {
    /// One line of the plugin of this name.
    fn log(&self, plugin: &str, entry: &Entry);
}

impl<F: Fn(&str, &Entry) + Send + Sync> LogSink for F {
    fn log(&self, plugin: &str, entry: &Entry) {
        self(plugin, entry);
    }
}

/// The default sink. `tracing` wants to know the names of fields when it is compiled, so the plugin's own fields go into
/// one, as `key=value` pairs.
pub(super) struct ToTracing;

impl LogSink for ToTracing {
    fn log(&self, plugin: &str, entry: &Entry) {
        macro_rules! emit {
            ($level:ident) => {
                if tracing::enabled!(target: TARGET, tracing::Level::$level) {
                    let record = &entry.record;
                    let module = record.module.as_deref();
                    let fields = (!record.fields.is_empty()).then(|| pairs(&record.fields));
                    tracing::event!(
                        target: TARGET,
                        tracing::Level::$level,
                        plugin,
                        module,
                        fields,
                        "{}",
                        record.message
                    );
                }
            };
        }
        match entry.record.level {
            Level::Trace => emit!(TRACE),
            Level::Debug => emit!(DEBUG),
            Level::Info => emit!(INFO),
            Level::Warn => emit!(WARN),
            Level::Error => emit!(ERROR),
        }
    }
}

const TARGET: &str = "plugwire::plugin_log";

fn pairs(fields: &[(String, serde_json::Value)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        let space = if text.is_empty() { "" } else { " " };
        let _ = match value {
            serde_json::Value::String(value) if !value.contains([' ', '"', '=', '\n']) => {
                write!(text, "{space}{name}={value}")
            }
            value => write!(text, "{space}{name}={value}"),
        };
    }
    text
}

/// The end of standard error, and the first crash report in it.
#[derive(Default)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
    crash: String,
}

impl Tail {
    fn push(&mut self, entry: &Entry, line: &[u8]) {
        // A byte that is no text takes three when it is shown; two of the longest lines fit in any case.
        let limit = line.len().min(KEPT_BYTES / 6 - 1);
        let text = printable(&line[..limit]);
        if matches!(entry.kind, Kind::Crash(_) | Kind::CrashDetail(_))
            && self.crash.len() + text.len() < KEPT_CRASH
        {
            self.crash.push_str(&text);
            self.crash.push('\n');
        }
        self.bytes += text.len() + 1;
        self.lines.push_back(text);
        while self.bytes > KEPT_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.len() + 1;
        }
    }
}

/// A line as text that a terminal survives.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars()
        .map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// The tail, shared between the task that reads and whoever writes an error.
#[derive(Clone, Default)]
pub(super) struct SharedTail(Arc<Mutex<Tail>>);

impl SharedTail {
    fn push(&self, entry: &Entry, line: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry, line);
    }

    /// The last lines, and the crash report.
    pub(super) fn read(&self) -> (String, Option<String>) {
        let tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> = tail.lines.iter().map(String::as_str).collect();
        let crash = (!tail.crash.is_empty()).then(|| tail.crash.trim_end().to_owned());
        (lines.join("\n"), crash)
    }
}

/// Everything that is done with one plugin's standard error.
pub(super) struct Reader {
    pub(super) plugin: String,
    pub(super) sink: Arc<dyn LogSink>,
    pub(super) raw: Option<Writer>,
    pub(super) longest_line: usize,
    pub(super) tail: SharedTail,
}

impl Reader {
    /// Reads to the end. Whatever the plugin writes, memory stays within one line's limit. Spec: LOG-1 to LOG-6.
    pub(super) async fn run(mut self, mut stderr: impl AsyncRead + Unpin) {
        let mut parser = StderrParser::new();
        let mut chunk = vec![0; READ_SIZE];
        let mut line = Vec::new();
        let mut cut = false;
        loop {
            let length = match stderr.read(&mut chunk).await {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) => {
                    tracing::warn!(%error, "a plugin's standard error can no longer be read");
                    break;
                }
            };
            self.copy(&chunk[..length]).await;
            for part in chunk[..length].split_inclusive(|byte| *byte == b'\n') {
                for piece in part.chunks(self.longest_line) {
                    let length = piece.strip_suffix(b"\n").unwrap_or(piece).len();
                    if line.len() + length > self.longest_line {
                        self.entry(Entry::fragment(&line), &line);
                        line.clear();
                        cut = true;
                    }
                    line.extend_from_slice(piece);
                }
                if part.ends_with(b"\n") {
                    self.line(&mut parser, &line, cut);
                    line.clear();
                    cut = false;
                }
            }
            // A plugin that never pauses is not all that a runtime has to do: a chunk can be thousands of lines.
            tokio::task::yield_now().await;
        }
        if !line.is_empty() {
            self.line(&mut parser, &line, cut);
        }
    }

    fn line(&self, parser: &mut StderrParser, line: &[u8], end_of_a_longer_one: bool) {
        let entry = if end_of_a_longer_one { Entry::fragment(line) } else { parser.line(line) };
        self.entry(entry, line);
    }

    fn entry(&self, entry: Entry, line: &[u8]) {
        self.tail.push(&entry, line.strip_suffix(b"\n").unwrap_or(line));
        self.sink.log(&self.plugin, &entry);
    }

    async fn copy(&mut self, bytes: &[u8]) {
        let Some(raw) = &mut self.raw else { return };
        let written = async {
            raw.write_all(bytes).await?;
            raw.flush().await
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, plugin = self.plugin, "the writer for raw standard error failed");
            self.raw = None;
        }
    }
}
