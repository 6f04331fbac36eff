//! What a program writes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::trace::Trace;

/// As much as is kept; all that comes after it is read, counted and thrown away.
pub(super) const KEPT: usize = 4 * 1024 * 1024;
/// As much of it as is shown in the trace, for each stream.
const SHOWN: usize = 16 * 1024;

/// A stream that is read to its end. A clone looks at the same one.
#[derive(Debug, Clone)]
pub struct Output {
    kept: Arc<Mutex<Kept>>,
    changed: watch::Receiver<()>,
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
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came so far, at most the first 4 MiB.
    pub fn bytes(&self) -> Vec<u8> {
        self.kept().bytes.clone()
    }

    /// The same as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept().bytes).into_owned()
    }

    /// How many bytes came in all.
    pub fn total(&self) -> u64 {
        self.kept().total
    }

    /// Whether the stream is at its end.
    pub fn has_ended(&self) -> bool {
        self.kept().ended
    }

    /// Waits until this finds what it looks for: it gets what came so far, and whether that is all. None when the time is
    /// over, or the end came without it. Cancel safe.
    pub async fn find<T>(
        &self,
        within: Duration,
        mut look: impl FnMut(&[u8], bool) -> Option<T>,
    ) -> Option<T> {
        let mut changed = self.changed.clone();
        timeout(within, async {
            loop {
                changed.mark_unchanged();
                let ended = {
                    let kept = self.kept();
                    if let Some(found) = look(&kept.bytes, kept.ended) {
                        return Some(found);
                    }
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

    /// The first line, with its end: at the end of the stream also one without (HS-3). None if none came in time.
    pub async fn first_line(&self, within: Duration) -> Option<Vec<u8>> {
        self.find(within, |bytes, ended| match bytes.iter().position(|byte| *byte == b'\n') {
            Some(at) => Some(bytes[..=at].to_vec()),
            None => (ended && !bytes.is_empty()).then(|| bytes.to_vec()),
        })
        .await
    }

    /// Waits for the end of the stream; whether it came in time. Cancel safe.
    pub async fn ends(&self, within: Duration) -> bool {
        self.find(within, |_, ended| ended.then_some(())).await.is_some()
    }
}
