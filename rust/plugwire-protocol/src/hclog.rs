//! Log lines in hclog's JSON format, which plugins write to standard error.
//!
//! A plugin formats a [`Record`] with [`Record::to_json_line`]. A host reads every line of a plugin's
//! standard error, whether it is a log record or not, with a [`StderrParser`].

mod record;
mod stderr;
mod timestamp;

pub use record::{Level, Record};
pub use stderr::{Entry, Kind, Runtime, StderrParser};
pub use timestamp::format_timestamp;
