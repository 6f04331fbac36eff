//! Reads a plugin's standard error: into the log and the user's writer, and keeps the end of it for errors.

use std::fmt::Write as _;
use std::sync::Arc;

use plugwire_process::StderrTail;
use plugwire_protocol::evidence::printable;
use plugwire_protocol::hclog::{Entry, Kind, Level, StderrParser};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::settings::{LogSink, Output, Writer};

const READ_SIZE: usize = 64 * 1024;

/// The default sink. What the plugin says is made [`printable`]: a line break in a message would forge a line of the log in
/// most subscribers. `tracing` needs the names of fields at compile time, so the plugin's own fields go into one, as
/// `key=value` pairs.
struct ToTracing;

impl LogSink for ToTracing {
    fn log(&self, plugin: &str, entry: &Entry) {
        macro_rules! emit {
            ($level:ident) => {
                if tracing::enabled!(target: TARGET, tracing::Level::$level) {
                    let record = &entry.record;
                    let module = record.module.as_ref().map(printable);
                    let fields = (!record.fields.is_empty()).then(|| pairs(&record.fields));
                    tracing::event!(
                        target: TARGET,
                        tracing::Level::$level,
                        plugin,
                        module = module.as_deref(),
                        fields,
                        "{}",
                        printable(&record.message)
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
    printable(&text).into_owned()
}

/// Reads one plugin's standard error.
pub(super) struct Reader {
    plugin: String,
    sink: Arc<dyn LogSink>,
    raw: Option<Writer>,
    longest_line: usize,
    tail: StderrTail,
}

impl Reader {
    /// Takes the writer for raw output out of `output`.
    pub(super) fn new(plugin: String, output: &mut Output) -> Self {
        Self {
            plugin,
            sink: output.log.clone().unwrap_or_else(|| Arc::new(ToTracing)),
            raw: output.raw_stderr.take(),
            longest_line: output.longest_line,
            tail: StderrTail::default(),
        }
    }

    /// Reads to the end, and keeps the last lines in `tail`. Keeps at most one line of the longest length in memory.
    /// Spec: LOG-1 to LOG-6.
    pub(super) async fn run(mut self, mut stderr: impl AsyncRead + Unpin, tail: StderrTail) {
        self.tail = tail;
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
            // A chunk can be thousands of lines, and a plugin that never pauses must not starve the runtime's other tasks.
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
        let is_crash = matches!(entry.kind, Kind::Crash(_) | Kind::CrashDetail(_));
        self.tail.push(line.strip_suffix(b"\n").unwrap_or(line), is_crash);
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
