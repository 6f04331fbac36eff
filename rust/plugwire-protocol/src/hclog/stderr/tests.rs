use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::format_timestamp;
use super::{Entry, Kind, Level, Record, Runtime, StderrParser};

fn line(bytes: impl AsRef<[u8]>) -> Entry {
    StderrParser::new().line(bytes.as_ref())
}

#[track_caller]
fn is_raw(text: &str, kind: Kind) {
    assert_eq!(line(text), Entry { kind, record: Record::new(Level::Debug, text) });
}

/// Returns the kinds of a plugin's lines.
fn kinds(lines: &[&str]) -> Vec<Kind> {
    let mut parser = StderrParser::new();
    lines.iter().map(|line| parser.line(line.as_bytes()).kind).collect()
}

#[test]
fn a_log_record_is_taken_apart() {
    let entry = line(
        r#"{"@level":"warn","@message":"low","@module":"disk","@timestamp":"2026-11-23T17:16:05.000042+01:00","free":3}"#,
    );
    let expected = Record {
        level: Level::Warn,
        message: "low".to_owned(),
        module: Some("disk".to_owned()),
        timestamp: Some("2026-11-23T17:16:05.000042+01:00".to_owned()),
        fields: vec![("free".to_owned(), json!(3))],
    };
    assert_eq!(entry, Entry { kind: Kind::Structured, record: expected });
}

#[test]
fn only_the_level_is_required() {
    let expected = Record::new(Level::Error, "");
    assert_eq!(
        line(r#" {"@level":" ERROR "} "#),
        Entry { kind: Kind::Structured, record: expected }
    );
}

#[test]
fn json_without_a_known_level_is_passed_on_whole() {
    for text in [
        "{}",
        "null",
        r#"{"a":1}"#,
        r#"{"@message":"x"}"#,
        r#"{"@level":"warning","@message":"x"}"#,
        r#"{"@level":"off","@message":"x"}"#,
    ] {
        is_raw(text, Kind::Json);
    }
}

#[test]
fn other_json_is_text() {
    for text in ["[]", "[{\"@level\":\"info\"}]", "5", "true", "\"@level\"", "{\"@level\":\"info\""]
    {
        is_raw(text, Kind::Plain);
    }
}

/// These lines crash a host in Go.
#[test]
fn hclogs_members_of_the_wrong_type_make_it_text() {
    for text in [
        r#"{"@message":5}"#,
        r#"{"@level":"info","@message":null}"#,
        r#"{"@level":5,"@message":"x"}"#,
        r#"{"@level":"info","@message":"x","@timestamp":1732382165}"#,
    ] {
        is_raw(text, Kind::Plain);
    }
}

#[test]
fn a_timestamp_in_another_form_makes_it_text() {
    is_raw(r#"{"@level":"info","@timestamp":"2026-11-23T17:16:05Z"}"#, Kind::Plain);
}

#[test]
fn a_module_that_is_no_text_stays_a_field() {
    let record = line(r#"{"@level":"info","@module":5}"#).record;
    assert_eq!(record.module, None);
    assert_eq!(record.fields, [("@module".to_owned(), json!(5))]);
}

#[test]
fn numbers_stay_exact() {
    for number in [
        "12345678",
        "18446744073709551615",
        "-9223372036854775808",
        "0.1",
        // A number that parsers with intermediate rounding read wrongly.
        "1.2345890123456789e+27",
    ] {
        let record = line(format!(r#"{{"@level":"info","n":{number}}}"#)).record;
        let [(name, value)] = record.fields.as_slice() else {
            panic!("one field was sent: {:?}", record.fields);
        };
        assert_eq!((name.as_str(), value.to_string().as_str()), ("n", number));
    }
}

#[test]
fn a_tag_at_the_very_beginning_gives_the_level() {
    for (text, level) in [
        ("[TRACE] x", Level::Trace),
        ("[DEBUG]x", Level::Debug),
        ("[INFO]", Level::Info),
        ("[WARN]  x", Level::Warn),
        ("[ERROR] x", Level::Error),
    ] {
        assert_eq!(line(text), Entry { kind: Kind::Tagged, record: Record::new(level, text) });
    }
    for text in ["[warn] x", " [WARN] x", "[WARNING] x", "WARN x", "2026/11/23 [WARN] x"] {
        is_raw(text, Kind::Plain);
    }
}

#[test]
fn line_ends_are_not_part_of_the_message() {
    for text in ["x", "x\n", "x\r\n", "x\r"] {
        assert_eq!(line(text).record.message, "x");
    }
    assert_eq!(line("").record.message, "");
    assert_eq!(line("x\n\n").record.message, "x\n");
}

#[test]
fn bytes_that_are_not_utf8_are_replaced() {
    assert_eq!(line(b"a\xffb").record.message, "a\u{fffd}b");
    let structured = line(b"{\"@level\":\"info\",\"@message\":\"a\xffb\"}");
    assert_eq!(structured.kind, Kind::Structured);
    assert_eq!(structured.record.message, "a\u{fffd}b");
}

#[test]
fn a_crash_in_go_colours_every_plain_line_to_the_end() {
    for first in ["panic: boom", "fatal error: all goroutines are asleep - deadlock!"] {
        let crash = Runtime::Go;
        assert_eq!(
            kinds(&[
                "before",
                first,
                "",
                "goroutine 1 [running]:",
                "[INFO] tagged",
                r#"{"@level":"info"}"#,
                "{}",
                "panic: again",
                "thread 'x' panicked at y",
                "exit status 2",
            ]),
            [
                Kind::Plain,
                Kind::Crash(crash),
                Kind::CrashDetail(crash),
                Kind::CrashDetail(crash),
                Kind::Tagged,
                Kind::Structured,
                Kind::Json,
                Kind::CrashDetail(crash),
                Kind::CrashDetail(crash),
                Kind::CrashDetail(crash),
            ]
        );
    }
}

#[test]
fn a_crash_is_at_error_level_and_keeps_its_words() {
    let mut parser = StderrParser::new();
    for text in ["panic: boom", "goroutine 1 [running]:"] {
        assert_eq!(parser.line(text.as_bytes()).record, Record::new(Level::Error, text));
    }
    // Lines outside the report keep their own level.
    assert_eq!(parser.line(b"{}").record.level, Level::Debug);
    assert_eq!(parser.line(b"[INFO] x").record.level, Level::Info);
}

#[test]
fn a_crash_begins_at_the_beginning_of_a_line() {
    for text in [" panic: x", "panic:x", "fatal error", "the thread 'x' panicked at y", "thread x"]
    {
        is_raw(text, Kind::Plain);
    }
}

#[test]
fn a_crash_in_rust_or_python_lasts_until_the_plugin_logs_again() {
    for (first, runtime) in [
        ("thread 'main' panicked at src/main.rs:2:5:", Runtime::Rust),
        ("thread '<unnamed>' (4242) panicked at src/main.rs:2:5:", Runtime::Rust),
        ("Traceback (most recent call last):", Runtime::Python),
    ] {
        for (alive, kind) in
            [("[INFO] x", Kind::Tagged), (r#"{"@level":"info"}"#, Kind::Structured)]
        {
            assert_eq!(
                kinds(&[first, "details", "{}", "more", alive, "plain"]),
                [
                    Kind::Crash(runtime),
                    Kind::CrashDetail(runtime),
                    Kind::Json,
                    Kind::CrashDetail(runtime),
                    kind,
                    Kind::Plain,
                ]
            );
        }
    }
}

#[test]
fn a_second_crash_in_rust_is_a_crash_of_its_own() {
    let first = "thread 'a' panicked at x";
    assert_eq!(
        kinds(&[first, first, "panic: from cgo", first]),
        [
            Kind::Crash(Runtime::Rust),
            Kind::Crash(Runtime::Rust),
            Kind::Crash(Runtime::Go),
            Kind::CrashDetail(Runtime::Go),
        ]
    );
}

#[test]
fn a_fragment_is_never_read() {
    for text in [r#"{"@level":"error"}"#, "[ERROR] x", "panic: x"] {
        let record = Record::new(Level::Debug, text);
        assert_eq!(Entry::fragment(text.as_bytes()), Entry { kind: Kind::Fragment, record });
    }
}

#[test]
fn deep_nesting_is_text_and_does_not_overflow_the_stack() {
    let text = format!("{{\"@level\":\"info\",\"a\":{}", "[".repeat(1_000_000));
    assert_eq!(line(&text).kind, Kind::Plain);
    let whole = format!("{{\"@level\":\"info\",\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(line(&whole).kind, Kind::Plain);
}

fn any_level() -> impl Strategy<Value = Level> {
    prop::sample::select(vec![Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error])
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn any_record()(
        level in any_level(),
        message: String,
        module: Option<String>,
        moment in prop::option::of((0_i64..253_402_300_799, 0_u32..1_000_000)),
        // In the order in which they are read back, and without names of hclog.
        fields in prop::collection::btree_map("[^@].{0,10}", any_value(), 0..5),
    ) -> Record {
        let timestamp = moment.map(|(seconds, micros)| format_timestamp(seconds, micros));
        Record { level, message, module, timestamp, fields: fields.into_iter().collect() }
    }
}

proptest! {
    #[test]
    fn what_is_printed_parses_back(record in any_record()) {
        let entry = line(record.to_json_line());
        prop_assert_eq!(entry, Entry { kind: Kind::Structured, record });
    }

    #[test]
    fn nothing_of_a_text_line_is_lost(text in "[^{\r\n][^\r\n]{0,60}") {
        prop_assume!(text.trim() != "null");
        prop_assert_eq!(line(&text).record.message, text);
    }
}
