//! The last lines of a process's standard error.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt};

const KEPT_BYTES: usize = 8 * 1024;
const KEPT_CRASH: usize = 4 * 1024;
/// A byte that is not valid text takes three when it is shown; two of the longest lines fit in any case.
const LONGEST_LINE: usize = KEPT_BYTES / 6 - 1;

/// The last lines of a process's standard error, at most 8 KiB, and the first 4 KiB of a crash report in it. A clone shares
/// them.
///
/// The reader of a process's standard error fills it; [`Exit`](crate::Exit) shows it.
#[derive(Debug, Clone, Default)]
pub struct StderrTail(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
    crash: String,
}

impl StderrTail {
    /// Adds a line, without its line break. Control characters except tabs, and characters that hide or reorder text, are
    /// replaced by U+FFFD, and only the first 1.3 KiB are
    /// kept. `is_crash` says whether the line belongs to the runtime's report of a crash, such as a panic.
    pub fn push(&self, line: &[u8], is_crash: bool) {
        let text = printable(&line[..line.len().min(LONGEST_LINE)]);
        let mut kept = self.0.lock();
        if is_crash && kept.crash.len() + text.len() < KEPT_CRASH {
            kept.crash.push_str(&text);
            kept.crash.push('\n');
        }
        kept.bytes += text.len() + 1;
        kept.lines.push_back(text);
        while kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.len() + 1;
        }
    }

    /// Returns the lines.
    pub fn lines(&self) -> String {
        let kept = self.0.lock();
        let lines: Vec<&str> = kept.lines.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    /// Returns the crash report, if there was one.
    pub fn crash(&self) -> Option<String> {
        let kept = self.0.lock();
        (!kept.crash.is_empty()).then(|| kept.crash.trim_end().to_owned())
    }

    /// Reads a pipe to its end, line by line. This is what happens to standard error unless
    /// [`Command::stderr`](crate::Command::stderr) says otherwise; it recognizes no crash reports.
    pub async fn read(self, mut pipe: impl AsyncRead + Unpin) {
        let mut chunk = [0; 4096];
        let mut line = Vec::new();
        while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
            for part in chunk[..length].split_inclusive(|byte| *byte == b'\n') {
                let text = part.strip_suffix(b"\n").unwrap_or(part);
                let room = LONGEST_LINE.saturating_sub(line.len());
                line.extend_from_slice(&text[..text.len().min(room)]);
                if text.len() < part.len() {
                    self.push(&line, false);
                    line.clear();
                }
            }
        }
        if !line.is_empty() {
            self.push(&line, false);
        }
    }
}

/// Makes a line safe to print on a terminal.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars().map(|c| if is_unsafe(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Returns whether a character can drive a terminal, break a line, or hide or reorder what is around it. The same set as in
/// `plugwire_protocol::evidence`, which this crate does not depend on.
fn is_unsafe(character: char) -> bool {
    match character {
        '\t' => false,
        '\u{61c}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_lines_are_kept_within_the_limit() {
        let tail = StderrTail::default();
        let long = "x".repeat(10 * KEPT_BYTES);
        tail.clone().read(format!("first\n{long}\nred \x1b[31m\u{202e}\nlast").as_bytes()).await;
        let lines = tail.lines();
        assert!(lines.starts_with("first\nxxx") && lines.len() <= KEPT_BYTES, "{lines}");
        assert!(lines.ends_with("x\nred \u{fffd}[31m\u{fffd}\nlast"), "{lines}");
        (0..KEPT_BYTES).for_each(|number| tail.push(number.to_string().as_bytes(), false));
        assert!(tail.lines().len() <= KEPT_BYTES);
        assert!(tail.lines().ends_with("\n8191"));
        assert_eq!(tail.crash(), None);
    }
}
