//! The library's own messages to the host's log, in hclog's JSON. A message is dropped where writing it
//! would block.

use std::time::{SystemTime, UNIX_EPOCH};

use plugwire_protocol::hclog::{Level, Record};

use super::stderr::write_without_waiting;

pub(super) fn error(message: &str) {
    write(Level::Error, message);
}

pub(super) fn warn(message: &str) {
    write(Level::Warn, message);
}

fn write(level: Level, message: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut record = Record::new(level, message);
    record.module = Some("plugwire".to_owned());
    record.timestamp =
        Some(plugwire_protocol::hclog::format_timestamp(now.as_secs() as i64, now.subsec_micros()));
    let mut line = record.to_json_line();
    line.push('\n');
    write_without_waiting(line.as_bytes());
}
