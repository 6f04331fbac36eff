//! What a scripted plugin really did, line by line, as JSON.
//!
//! The suite believes nothing else: a misbehaviour without a line here did not happen. A line is
//! therefore written after the fact and is in the file when the call returns. Four are written
//! before the fact, because the process may not survive it: `exit`, `signal-self`, `line` and
//! `writes`; the last two are followed by `line-written` and `wrote`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::{Value, json};

/// Writes down what happened; a clone writes into the same file. Without a file it forgets.
#[derive(Debug, Clone)]
pub(super) struct Witness {
    began: Instant,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug)]
struct Kept {
    file: Option<File>,
    room: usize,
}

/// The size limit of the file: a host that calls endlessly must not fill the disk.
const MOST: usize = 16 * 1024 * 1024;

impl Witness {
    /// Appends to this file.
    pub(super) fn new(path: Option<&Path>) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        let kept = Kept { file: path.map(open).transpose()?, room: MOST };
        Ok(Self { began: Instant::now(), kept: Arc::new(Mutex::new(kept)) })
    }

    /// Writes that this has happened. `details` is an object.
    pub(super) fn saw(&self, event: &str, details: Value) {
        let at_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut record = json!({ "at_us": at_us, "event": event });
        if let (Some(record), Value::Object(details)) = (record.as_object_mut(), details) {
            record.extend(details);
        }
        let line = format!("{record}\n");
        let mut kept = self.kept.lock();
        if line.len() > kept.room {
            return;
        }
        kept.room -= line.len();
        if let Some(file) = &mut kept.file {
            // One write for each line, so that lines of several processes do not mix. The suite
            // notices a full disk by the missing line.
            let _ = file.write_all(line.as_bytes());
        }
    }
}
