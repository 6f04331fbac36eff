//! What a program writes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::trace::Trace;

/// The number of bytes that are kept; later ones are read, counted and discarded.
pub(super) const KEPT: usize = 4 * 1024 * 1024;
/// The number of bytes of each stream that the trace shows.
const SHOWN: usize = 16 * 1024;

/// A stream that is read until it ends. Clones share it.
#[derive(Debug, Clone)]
pub struct Output {
    kept: Arc<Mutex<Kept>>,
    changed: watch::Receiver<()>,
}

/// What [`Output::find`] looks at.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What came so far.
    pub bytes: &'a [u8],
    /// Where in it begins what is new since the last look.
    pub fresh: usize,
    /// Whether that is all.
    pub ended: bool,
}

impl<'a> Seen<'a> {
    /// Returns the first such byte among the new ones.
    pub fn position(&self, wanted: u8) -> Option<usize> {
        let new = &self.bytes[self.fresh..];
        new.iter().position(|byte| *byte == wanted).map(|at| self.fresh + at)
    }

    /// Returns what is new, and the beginning of the line that it goes on with.
    pub fn fresh_lines(&self) -> &'a [u8] {
        let before = self.bytes[..self.fresh].iter().rposition(|byte| *byte == b'\n');
        &self.bytes[before.map_or(0, |at| at + 1)..]
    }
}

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    total: u64,
    ended: bool,
}

impl Output {
    pub(super) fn read(
        stream: Option<impl AsyncRead + Send + Unpin + 'static>,
        source: &'static str,
        trace: &Trace,
    ) -> Self {
        let (change, changed) = watch::channel(());
        let output = Self { kept: Arc::default(), changed };
        let (reader, trace) = (output.clone(), trace.clone());
        tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            if let Some(mut stream) = stream {
                while let Ok(size @ 1..) = stream.read(&mut buffer).await {
                    let mut kept = reader.kept();
                    let room = KEPT.saturating_sub(kept.bytes.len());
                    kept.bytes.extend_from_slice(&buffer[..size.min(room)]);
                    kept.total += size as u64;
                    if kept.total <= SHOWN as u64 {
                        trace.event(source, String::from_utf8_lossy(&buffer[..size]));
                    }
                    drop(kept);
                    change.send_replace(());
                }
            }
            let mut kept = reader.kept();
            kept.ended = true;
            trace.event(source, format!("(end, after {} bytes)", kept.total));
            drop(kept);
            change.send_replace(());
        });
        output
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock()
    }

    /// Returns what came so far, at most the first 4 MiB.
    pub fn bytes(&self) -> Vec<u8> {
        self.kept().bytes.clone()
    }

    /// Returns the same as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept().bytes).into_owned()
    }

    /// Returns how many bytes came in all.
    pub fn total(&self) -> u64 {
        self.kept().total
    }

    /// Returns whether the stream is at its end.
    pub fn has_ended(&self) -> bool {
        self.kept().ended
    }

    /// Waits until this finds what it looks for. At its first look everything is new. None when the time is over, or the end
    /// came without it. Cancel safe.
    pub async fn find<T>(
        &self,
        within: Duration,
        mut look: impl FnMut(Seen<'_>) -> Option<T>,
    ) -> Option<T> {
        let mut changed = self.changed.clone();
        let mut fresh = 0;
        timeout(within, async {
            loop {
                changed.mark_unchanged();
                let ended = {
                    let kept = self.kept();
                    if let Some(found) = look(Seen { bytes: &kept.bytes, fresh, ended: kept.ended })
                    {
                        return Some(found);
                    }
                    fresh = kept.bytes.len();
                    kept.ended
                };
                if ended || changed.changed().await.is_err() {
                    return None;
                }
            }
        })
        .await
        .ok()
        .flatten()
    }

    /// Returns the first line, with its end: at the end of the stream also one without (HS-3). None if none came in time.
    pub async fn first_line(&self, within: Duration) -> Option<Vec<u8>> {
        self.find(within, |seen| match seen.position(b'\n') {
            Some(at) => Some(seen.bytes[..=at].to_vec()),
            None => (seen.ended && !seen.bytes.is_empty()).then(|| seen.bytes.to_vec()),
        })
        .await
    }

    /// Waits for the end of the stream; whether it came in time. Cancel safe.
    pub async fn ends(&self, within: Duration) -> bool {
        self.find(within, |seen| seen.ended.then_some(())).await.is_some()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// What was looked at is not new again, and a line that comes in pieces is one line.
    #[tokio::test]
    async fn each_byte_is_new_once() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let output = Output::read(Some(reader), "stdout", &Trace::new());
        let (tell, mut looks) = mpsc::unbounded_channel();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let find = output.find(SOON, |seen| {
            let fresh = text(&seen.bytes[seen.fresh..]);
            if !fresh.is_empty() {
                tell.send((fresh, text(seen.fresh_lines()))).unwrap();
            }
            seen.bytes.ends_with(b"three").then(|| seen.position(b'\n'))
        });
        let write = async {
            for (piece, lines) in [
                ("one\ntw", "one\ntw"),
                ("o and", "two and"),
                (" more\nthree", "two and more\nthree"),
            ] {
                writer.write_all(piece.as_bytes()).await.unwrap();
                assert_eq!(looks.recv().await, Some((piece.to_owned(), lines.to_owned())));
            }
        };
        assert_eq!(tokio::join!(find, write).0, Some(Some(16)));
    }
}
