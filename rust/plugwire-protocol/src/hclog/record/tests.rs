use serde_json::{Value, json};

use super::{Level, Record};

#[test]
fn a_record_is_printed_as_hclog_does() {
    let record = Record {
        level: Level::Info,
        message: "ready \"now\"\n".to_owned(),
        module: Some("greeter".to_owned()),
        timestamp: Some("2026-11-23T17:16:05.000042Z".to_owned()),
        fields: vec![("count".to_owned(), json!(12_345_678)), ("who".to_owned(), json!("me"))],
    };
    assert_eq!(
        record.to_json_line(),
        r#"{"@level":"info","@message":"ready \"now\"\n","@module":"greeter","@timestamp":"2026-11-23T17:16:05.000042Z","count":12345678,"who":"me"}"#
    );
}

#[test]
fn what_is_not_known_is_left_out() {
    assert_eq!(
        Record::new(Level::Error, "no").to_json_line(),
        r#"{"@level":"error","@message":"no"}"#
    );
}

#[test]
fn a_line_is_one_line_whatever_is_in_it() {
    let fields = vec![("a\nb".to_owned(), json!(["c\r\n", { "d\n": null }]))];
    let line = Record { fields, ..Record::new(Level::Warn, "x\r\ny\0") }.to_json_line();
    assert!(!line.contains(char::is_control), "{line}");
}

#[test]
fn a_field_cannot_take_the_place_of_hclogs_own() {
    let names = ["@level", "@message", "@module", "@timestamp"];
    let fields = names.map(|name| (name.to_owned(), json!(5))).to_vec();
    let line = Record { fields, ..Record::new(Level::Trace, "mine") }.to_json_line();
    let printed: Value = serde_json::from_str(&line).expect("it is JSON");
    assert_eq!(
        printed,
        json!({
            "@level": "trace", "@message": "mine",
            "@@level": 5, "@@message": 5, "@@module": 5, "@@timestamp": 5,
        })
    );
}

#[test]
fn levels_have_names_and_an_order() {
    for (level, name) in [
        (Level::Trace, "trace"),
        (Level::Debug, "debug"),
        (Level::Info, "info"),
        (Level::Warn, "warn"),
        (Level::Error, "error"),
    ] {
        assert_eq!(level.to_string(), name);
        assert_eq!(Level::from_name(&format!(" {} ", name.to_uppercase())), Some(level));
    }
    for other in ["", "warning", "off", "fatal", "inf"] {
        assert_eq!(Level::from_name(other), None, "{other}");
    }
    assert!(Level::Trace < Level::Debug && Level::Warn < Level::Error);
}
