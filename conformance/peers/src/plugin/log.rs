//! Lines in the form of hclog on standard error, as a healthy plugin writes them.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::macros::format_description;

use super::acts::to_stderr;

/// A line at level debug.
pub(super) fn debug(message: &str, fields: &[(&str, &str)]) {
    line("debug", message, fields);
}

/// A line at level error.
pub(super) fn error(message: &str) {
    line("error", message, &[]);
}

fn line(level: &str, message: &str, fields: &[(&str, &str)]) {
    let form =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    let now = OffsetDateTime::now_utc().format(&form).unwrap_or_default();
    let own = [("@level", level), ("@message", message), ("@timestamp", &now)];
    let members: Map<String, Value> = own
        .iter()
        .chain(fields)
        .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
        .collect();
    to_stderr(&format!("{}\n", Value::Object(members)));
}
