//! The hclog records on standard error.

use plugwire_conformance_wire::hclog::{LEVELS, is_timestamp};
use serde_json::Value;

use super::host::{Failure, Outcome};
use super::scene::Output;

/// Returns whether a text has a record with this level in it.
pub(super) fn has_record_at(text: &str, level: &str) -> bool {
    lines(text).any(|line| line.record.is_some_and(|record| has_level(&record, level)))
}

/// Checks each line that is a record, or begins like one.
pub(super) fn check(text: &str, wanted: &Output) -> Outcome {
    if let Some(most) = wanted.stderr_longest_line
        && let Some(line) = text.lines().find(|line| line.len() > most)
    {
        let expected = format!("lines of at most {most} bytes");
        return Err(Failure::differs(expected, format!("one of {}", line.len())));
    }
    for line in lines(text) {
        let wrong = |what: &str| Err(Failure::differs(what, line.text));
        let Some(record) = &line.record else {
            match wanted.stderr_hclog {
                true => return wrong("a line that begins like a JSON object is one"),
                false => continue,
            }
        };
        if wanted.stderr_texts && !has_texts(record) {
            return wrong("@message, @level and @timestamp are texts");
        }
        if wanted.stderr_levels && !LEVELS.iter().any(|level| has_level(record, level)) {
            return wrong("an @level of hclog's");
        }
        if wanted.stderr_hclog && !record["@message"].is_string() {
            return wrong("an @message that is a text");
        }
        if wanted.stderr_hclog && !record["@timestamp"].as_str().is_some_and(is_timestamp) {
            return wrong("an @timestamp with six digits after the second");
        }
    }
    Ok(())
}

/// A line that begins like a JSON object.
struct Line<'a> {
    text: &'a str,
    /// None if it is not an object.
    record: Option<Value>,
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines.map(|text| Line { text, record: serde_json::from_str(text).ok() })
}

fn has_level(record: &Value, level: &str) -> bool {
    record["@level"].as_str().is_some_and(|seen| seen.eq_ignore_ascii_case(level))
}

/// A missing member does no harm (LOG-13).
fn has_texts(record: &Value) -> bool {
    let members = ["@message", "@level", "@timestamp"].map(|name| record.get(name));
    members.into_iter().flatten().all(Value::is_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        r#"{"@level":"INFO","@message":"m","@timestamp":"2026-11-24T16:23:12.520085Z"}"#;

    fn all() -> Output {
        Output { stderr_texts: true, stderr_hclog: true, stderr_levels: true, ..Output::default() }
    }

    #[test]
    fn a_record_and_text_are_fine() {
        assert!(check(&format!("text\n{GOOD}\n[1]\n"), &all()).is_ok());
        assert!(has_record_at(GOOD, "info") && !has_record_at(GOOD, "error"));
    }

    #[test]
    fn each_mistake_is_seen_by_the_check_that_is_about_it() {
        let texts = || Output { stderr_texts: true, ..Output::default() };
        let levels = || Output { stderr_levels: true, ..Output::default() };
        let hclog = || Output { stderr_hclog: true, ..Output::default() };
        for (good, bad, by) in [
            ("\"m\"", "5", texts()),
            ("\"INFO\"", "3", texts()),
            ("INFO", "notice", levels()),
            (".520085Z", ".520Z", hclog()),
            (".520085Z", ".520085", hclog()),
            ("{", "{{", hclog()),
        ] {
            let line = GOOD.replacen(good, bad, 1);
            assert!(check(GOOD, &by).is_ok(), "{by:?}");
            assert!(check(&line, &by).is_err(), "{line}");
        }
    }

    #[test]
    fn other_programs_records_are_no_harm() {
        assert!(
            check(
                r#"{"level":"info","msg":"m"}"#,
                &Output { stderr_texts: true, ..Output::default() }
            )
            .is_ok()
        );
    }
}
