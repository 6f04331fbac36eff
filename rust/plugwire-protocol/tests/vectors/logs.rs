//! Checks how this crate classifies lines of standard error.

use plugwire_protocol::hclog::{Entry, Kind, StderrParser};
use serde_json::{Map, Value};

use super::checks::same;
use super::model::{Bytes, LogEntry, LogLines};

/// go-plugin: `ClientConfig.PluginLogBufferSize`. A line must fit together with its line end.
const BUFFER: usize = 64 * 1024;

/// An entry in plain types: level, message, fields (only for a record), module and timestamp.
type Plain = (String, String, Option<Map<String, Value>>, Option<String>, Option<String>);

pub(crate) fn check(case: &LogLines) -> Result<(), String> {
    let stderr = case.stderr.bytes();
    let mut parser = StderrParser::new();
    let mut got: Vec<Plain> = Vec::new();
    for line in stderr.split_inclusive(|byte| *byte == b'\n') {
        if line.len() <= BUFFER {
            got.push(plain(parser.line(line)));
            continue;
        }
        let pieces = line.chunks(BUFFER).map(|piece| plain(Entry::fragment(piece)));
        let joined = pieces.reduce(|all, next| {
            assert_eq!((&next.0, &next.2), (&all.0, &all.2), "pieces are alike");
            (all.0, all.1 + &next.1, all.2, all.3, all.4)
        });
        got.extend(joined);
    }
    same(&case.name, got, case.entries.iter().map(wanted).collect())
}

fn plain(entry: Entry) -> Plain {
    let fields =
        (entry.kind == Kind::Structured).then(|| entry.record.fields.into_iter().collect());
    let level = entry.record.level.to_string();
    (level, entry.record.message, fields, entry.record.module, entry.record.timestamp)
}

fn wanted(entry: &LogEntry) -> Plain {
    let message = String::from_utf8(entry.message.bytes()).expect("a message is text");
    let LogEntry { level, fields, module, timestamp, pieces, .. } = entry.clone();
    assert!(!pieces || (level == "debug" && fields.is_none()), "pieces are text at debug");
    (level, message, fields, module, timestamp)
}

pub(crate) fn spoil(case: &mut LogLines) {
    case.entries[0].message = Bytes::Text("another".to_owned());
}
