//! Log lines in hclog's JSON, the form in which a plugin logs on its standard error.
//!
//! A plugin prints a [`Record`] with [`Record::to_json_line`]; a host reads every line of a
//! plugin's standard error, log line or not, with a [`StderrParser`].

mod record;
mod stderr;
mod timestamp;

pub use record::{Level, Record};
pub use stderr::{Entry, Kind, Runtime, StderrParser};
pub use timestamp::format_timestamp;
