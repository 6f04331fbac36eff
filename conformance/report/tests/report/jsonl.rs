//! JSON lines: what is written can be read back, and nothing else.

use std::error::Error as _;

use plugwire_conformance_report::jsonl::{self, ReadError};
use plugwire_conformance_report::model::Run;

use crate::fixture;

fn written(runs: &[Run]) -> String {
    let mut text = Vec::new();
    for run in runs {
        jsonl::write(&mut text, run).expect("a vector takes everything");
    }
    String::from_utf8(text).expect("JSON is UTF-8")
}

fn bounded(mut run: Run) -> Run {
    run.cases = run.cases.iter().map(|case| case.bounded()).collect();
    run
}

fn error(text: &str) -> ReadError {
    jsonl::read(text.as_bytes()).expect_err("this is no report")
}

/// Returns the lines, without those for which `drop` is true.
fn without(text: &str, drop: impl Fn(&str) -> bool) -> String {
    text.lines().filter(|line| !drop(line)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn everything_comes_back() {
    let runs: Vec<_> = fixture::runs().into_iter().map(bounded).collect();
    let read = jsonl::read(written(&runs).as_bytes()).expect("what was written is read");
    assert_eq!(read, runs);
}

#[test]
fn each_line_is_one_event_and_its_own_json() {
    let run = &fixture::runs()[0];
    let text = written(std::slice::from_ref(run));
    let events: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events.len(), run.cases.len() + 2);
    assert_eq!((&events[0]["event"], &events[0]["format"]), (&"run".into(), &1.into()));
    assert!(events[1..events.len() - 1].iter().all(|event| event["event"] == "case"));
    let summary = &events[events.len() - 1];
    assert_eq!(summary["event"], "summary");
    let counts = summary["counts"].as_object().expect("counts by verdict");
    let sum: u64 = counts.values().map(|count| count.as_u64().expect("a number")).sum();
    assert_eq!((sum, &summary["total"]), (13, &13.into()));
    assert_eq!((&summary["outcome"], &summary["exit"]), (&"no verdict".into(), &3.into()));
}

#[test]
fn another_format_is_refused_though_nothing_else_is_known_of_it() {
    let refused = error("{\"event\":\"run\",\"format\":2,\"whatever\":[]}\n");
    assert!(matches!(refused, ReadError::UnknownFormat { line: 1, format: 2 }), "{refused:?}");
    assert_eq!(refused.to_string(), "line 1: the report has format 2, but only 1 is supported");
    // None at all is not the first one.
    assert!(matches!(
        error("{\"event\":\"run\",\"suite\":\"0.1.0\"}\n"),
        ReadError::Malformed { line: 1, .. }
    ));
}

#[test]
fn a_report_that_is_not_whole_is_refused() {
    let text = written(&fixture::runs()[..1]);
    let cut_off = without(&text, |line| line.starts_with("{\"event\":\"summary\""));
    assert!(matches!(error(&cut_off), ReadError::CutOff));
    let missing = without(&text, |line| line.contains("\"verdict\":\"crash\""));
    assert!(matches!(error(&missing), ReadError::DoesNotAddUp { line: 14 }));
    let changed = text.replace("\"verdict\":\"fail\"", "\"verdict\":\"pass\"");
    assert_ne!(changed, text);
    assert!(matches!(error(&changed), ReadError::DoesNotAddUp { line: 15 }));
    let headless = without(&text, |line| line.starts_with("{\"event\":\"run\""));
    assert!(matches!(error(&headless), ReadError::OutOfPlace { line: 1 }));
    let twice = format!("{}\n{text}", text.lines().next().unwrap_or_default());
    assert!(matches!(error(&twice), ReadError::OutOfPlace { line: 2 }));
    let half = &text[..text.len() / 2];
    assert!(matches!(error(half), ReadError::Malformed { .. }));
}

#[test]
fn what_is_no_report_is_refused_with_its_line() {
    assert!(matches!(error(""), ReadError::Empty));
    for text in
        ["\n", "1|1|unix|/tmp/x|grpc\n", "[]\n", "{}\n", "{\"event\":\"party\"}\n", "\u{feff}{}\n"]
    {
        let refused = error(text);
        assert!(matches!(refused, ReadError::Malformed { line: 1, .. }), "{text:?} {refused:?}");
        assert!(refused.source().is_some());
    }
    assert!(matches!(jsonl::read(&b"\xff\n"[..]), Err(ReadError::Read(_))));
    let deep = "[".repeat(1_000_000);
    assert!(matches!(error(&deep), ReadError::Malformed { .. }));
}

#[test]
fn ten_thousand_cases_are_enough() {
    let mut run = fixture::runs().remove(2);
    run.cases = vec![run.cases.remove(0); 10_001];
    for case in &mut run.cases {
        case.timeline.clear();
    }
    assert!(matches!(error(&written(&[run.clone()])), ReadError::TooLong));
    run.cases.pop();
    assert!(jsonl::read(written(&[run]).as_bytes()).is_ok());
}
