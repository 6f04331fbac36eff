//! Reads the handshake line from a plugin's standard output.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use plugwire_protocol::evidence::printable;
use plugwire_protocol::handshake::{Expectation, HandshakeError, HandshakeLine};
use tokio::io::{AsyncRead, AsyncReadExt};

/// More than any handshake line needs, even with a certificate of 16 KiB.
const LONGEST_LINE: usize = 64 * 1024;
/// How much noise is skipped at most, if the user allows it.
const MOST_NOISE: usize = 1024 * 1024;
/// How much of the output is kept as evidence.
const KEPT: usize = 2 * 1024;

/// The output read so far. It is kept outside the future, so that a timeout can still show it.
#[derive(Default)]
pub(super) struct Printed {
    /// The line that is being read.
    line: Vec<u8>,
    /// What came before it, for the evidence.
    before: Vec<u8>,
    /// What came right after a line that was refused, for the evidence.
    after: Vec<u8>,
    total: usize,
}

impl Printed {
    /// Returns its beginning as text that is safe to print on a terminal, at most 2 KiB. The beginning, because noise repeats.
    pub(super) fn excerpt(&self) -> String {
        let mut text = self.before.clone();
        text.extend_from_slice(&self.line[..self.line.len().min(KEPT)]);
        text.extend_from_slice(&self.after);
        text.truncate(KEPT);
        // A tab is escaped, too: this is evidence, in which it must be seen.
        let shown = |line| printable(line).replace('\t', "\\t");
        let lines: Vec<_> = text.split(|byte| *byte == b'\n').map(shown).collect();
        lines.join("\n")
    }

    /// Returns the socket that the line names, if it does. A plugin that is refused for another reason listens there anyway,
    /// and Go plugins leave the file behind when they are killed.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        let line = self.line.trim_ascii();
        let mut fields = line.split(|byte| *byte == b'|').skip(2);
        (fields.next()? == b"unix").then_some(())?;
        fields.next().map(|path| OsStr::from_bytes(path).into())
    }

    fn forget_line(&mut self) {
        let room = KEPT.saturating_sub(self.before.len());
        self.before.extend_from_slice(&self.line[..self.line.len().min(room)]);
        self.line.clear();
    }

    fn keep_after(&mut self, bytes: &[u8]) {
        let room = KEPT.saturating_sub(self.after.len());
        self.after.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Why no line was accepted.
pub(super) enum NoLine {
    /// Standard output ended first.
    Ended,
    /// Too much output came without a line.
    Endless(usize),
    /// A line came that cannot be accepted.
    Refused(HandshakeError),
    /// The pipe failed.
    Io(std::io::Error),
}

/// Reads until a line can be accepted. Only the first line counts, unless noise is skipped. Spec: HS-2 to HS-5.
pub(super) async fn read(
    mut stdout: impl AsyncRead + Unpin,
    printed: &mut Printed,
    expected: &Expectation<'_>,
    skip_noise: bool,
) -> Result<HandshakeLine, NoLine> {
    // Reading byte by byte would be a system call each. What is read beyond the line is dropped, like all later output.
    let mut chunk = [0; 4096];
    loop {
        let length = stdout.read(&mut chunk).await.map_err(NoLine::Io)?;
        printed.total += length;
        let mut rest = &chunk[..length];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            printed.line.extend_from_slice(&rest[..=end]);
            rest = &rest[end + 1..];
            let line = &printed.line[..printed.line.len() - 1];
            match HandshakeLine::parse(line, expected) {
                Ok(line) => return Ok(line),
                Err(error) if skip_noise && is_noise(&error) => printed.forget_line(),
                Err(error) => {
                    printed.keep_after(rest);
                    return Err(NoLine::Refused(error));
                }
            }
        }
        printed.line.extend_from_slice(rest);
        if length == 0 {
            // A last line without its end still counts.
            return if printed.line.is_empty() {
                Err(NoLine::Ended)
            } else {
                HandshakeLine::parse(&printed.line, expected).map_err(|error| match error {
                    HandshakeError::Unrecognized { .. } => NoLine::Ended,
                    error => NoLine::Refused(error),
                })
            };
        }
        if printed.line.len() > LONGEST_LINE || printed.total > MOST_NOISE {
            return Err(NoLine::Endless(printed.total));
        }
    }
}

/// Reads on to the end after a line that was refused. What a program prints after an empty line, or after the first line of
/// a text, often says what went wrong.
pub(super) async fn read_on(mut stdout: impl AsyncRead + Unpin, printed: &mut Printed) {
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = stdout.read(&mut chunk).await {
        printed.keep_after(&chunk[..length]);
    }
}

/// Returns whether a line is not a handshake line at all. A wrong handshake line must not be skipped: the host would wait
/// for another until the timeout.
pub(super) fn is_noise(error: &HandshakeError) -> bool {
    matches!(
        error,
        HandshakeError::Unrecognized { .. } | HandshakeError::CoreVersionNotANumber { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "1|1|unix|/tmp/plugin1|grpc|\n";

    async fn read_all(text: &[u8], skip_noise: bool) -> (Result<HandshakeLine, NoLine>, Printed) {
        let mut printed = Printed::default();
        let expected = Expectation::new(&[1]);
        let line = read(text, &mut printed, &expected, skip_noise).await;
        (line, printed)
    }

    #[tokio::test]
    async fn the_first_line_counts() {
        assert!(read_all(LINE.as_bytes(), false).await.0.is_ok());
        assert!(
            read_all(LINE.trim_end().as_bytes(), false).await.0.is_ok(),
            "at the end, without \\n"
        );
        let noisy = format!("hello\n{LINE}");
        assert!(matches!(read_all(noisy.as_bytes(), false).await.0, Err(NoLine::Refused(_))));
        let blank = format!("\n{LINE}");
        assert!(matches!(read_all(blank.as_bytes(), false).await.0, Err(NoLine::Refused(_))));
    }

    #[tokio::test]
    async fn noise_is_skipped_when_allowed_and_kept_as_evidence() {
        let noisy = format!("hello\na|b|c|d\n{LINE}");
        let (line, printed) = read_all(noisy.as_bytes(), true).await;
        assert!(line.is_ok());
        assert!(printed.excerpt().starts_with("hello\na|b|c|d\n"), "{}", printed.excerpt());
        let wrong = format!("1|2|unix|/tmp/x|grpc|\n{LINE}");
        assert!(matches!(read_all(wrong.as_bytes(), true).await.0, Err(NoLine::Refused(_))));
    }

    #[tokio::test]
    async fn what_follows_a_refused_line_is_evidence() {
        let (line, mut printed) = read_all(b"\nDeprecation", false).await;
        assert!(matches!(line, Err(NoLine::Refused(_))));
        assert_eq!(printed.excerpt(), "\nDeprecation");
        read_on(&b" warning:\nit will be removed\n"[..], &mut printed).await;
        assert_eq!(printed.excerpt(), "\nDeprecation warning:\nit will be removed\n");
        read_on(&*vec![b'x'; 2 * LONGEST_LINE], &mut printed).await;
        assert_eq!(printed.excerpt().len(), KEPT);
    }

    #[tokio::test]
    async fn endless_output_ends() {
        let line = vec![b'x'; 2 * LONGEST_LINE];
        assert!(matches!(read_all(&line, false).await.0, Err(NoLine::Endless(_))));
        let lines = b"noise\n".repeat(MOST_NOISE / 4);
        let (line, printed) = read_all(&lines, true).await;
        assert!(matches!(line, Err(NoLine::Endless(_))));
        assert!(printed.excerpt().len() <= KEPT);
    }

    #[tokio::test]
    async fn a_refused_line_still_names_its_socket() {
        let (line, printed) = read_all(b"1|9|unix|/tmp/plugin1|grpc|\n", false).await;
        assert!(matches!(line, Err(NoLine::Refused(_))));
        assert_eq!(printed.socket(), Some(PathBuf::from("/tmp/plugin1")));
        assert_eq!(read_all(b"1|9|tcp|127.0.0.1:1|grpc|\n", false).await.1.socket(), None);
        assert_eq!(read_all(b"noise\n", false).await.1.socket(), None);
    }

    #[tokio::test]
    async fn binary_noise_is_shown_as_text() {
        let (line, printed) = read_all(b"\x1b[2J\x00\xff|\n", false).await;
        assert!(matches!(line, Err(NoLine::Refused(_))));
        assert_eq!(printed.excerpt(), "\\u{1b}[2J\\0\\xff|\n");
    }
}
