//! Checks that a report stays small, however much a subject prints, and says that something is
//! missing.

use plugwire_conformance_report::html::{self, Detail};
use plugwire_conformance_report::model::{CaseResult, Finding, Level, Role, Verdict};
use plugwire_conformance_report::terminal::{self, Style};
use plugwire_conformance_report::{jsonl, junit};

use crate::fixture::{self, case, event, run};

const MIB: usize = 1024 * 1024;

fn shouting() -> CaseResult {
    let long = "é".repeat(10_000);
    CaseResult {
        finding: Some(Finding { expected: long.clone(), actual: long.clone(), step: long.clone() }),
        notes: vec![long.clone(); 100],
        clauses: vec![long.clone(); 100],
        requirement: long.clone(),
        why: long.clone(),
        tier: long.clone(),
        replay: Some(long.clone()),
        timeline: (0..500).map(|n| event(n, &long, &long)).collect(),
        ..case(&format!("area/{long}"), Level::Must, Verdict::Fail)
    }
}

#[test]
fn beginning_and_end_of_a_text_stay() {
    let text = format!("begin{}end", "é".repeat(5_000));
    let mut long = case("area/name", Level::Must, Verdict::Fail);
    long.notes = vec![text.clone()];
    let note = &long.bounded().notes[0];
    assert!(note.starts_with("beginé") && note.ends_with("éend"), "{note}");
    assert!(note.len() < 4_200);
    let remark = note.split(" […").nth(1).and_then(|rest| rest.split(" bytes left out…] ").next());
    let missing: usize = remark.expect("a remark").parse().expect("a number");
    let kept = note.len() - " […".len() - " bytes left out…] ".len() - missing.to_string().len();
    assert_eq!(kept + missing, text.len());
}

#[test]
fn beginning_and_end_of_a_timeline_stay() {
    let mut long = case("area/name", Level::Must, Verdict::Fail);
    long.timeline = (0..1_000).map(|n| event(n, "stdout", &format!("line {n}"))).collect();
    let kept = long.bounded().timeline;
    assert_eq!(kept.len(), 400);
    assert_eq!((kept[0].text.as_str(), kept[399].text.as_str()), ("line 0", "line 999"));
    let remark =
        kept.iter().position(|event| event.text == "[…601 events left out…]").expect("a remark");
    assert_eq!(kept[remark].source, "suite");
    assert_eq!(
        (kept[remark - 1].at_us, kept[remark].at_us, kept[remark + 1].at_us),
        (99, 100, 701)
    );
}

#[test]
fn few_long_events_are_bounded_too() {
    let mut long = case("area/name", Level::Must, Verdict::Fail);
    long.timeline = (0..300).map(|n| event(n, "stdout", &"x".repeat(4_000))).collect();
    let kept = long.bounded().timeline;
    let bytes: usize = kept.iter().map(|event| event.text.len()).sum();
    assert!(
        kept.len() < 300 && bytes <= 256 * 1024 && bytes > 200 * 1024,
        "{} {bytes}",
        kept.len()
    );
    assert_eq!((kept[0].at_us, kept[kept.len() - 1].at_us), (0, 299));
}

#[test]
fn what_fits_is_left_as_it_is_and_what_was_cut_is_not_cut_again() {
    for run in fixture::runs() {
        for case in
            run.cases.iter().filter(|case| !case.timeline.iter().any(|e| e.text.len() > 4_096))
        {
            assert_eq!(&case.bounded(), case);
        }
    }
    let once = shouting().bounded();
    assert_eq!(once.bounded(), once);
}

#[test]
fn no_report_grows_with_what_a_subject_says() {
    let run = run("subject", Role::Plugin, vec![shouting()]);
    let mut lines = Vec::new();
    jsonl::write(&mut lines, &run).expect("a vector takes everything");
    assert!(lines.len() < 2 * MIB, "{}", lines.len());
    assert!(jsonl::read(&lines[..]).is_ok());
    assert!(junit::document(std::slice::from_ref(&run)).len() < MIB);
    assert!(html::page(std::slice::from_ref(&run), Detail::All).len() < 2 * MIB);
    assert!(terminal::report(&run, Style::plain(), 80).len() < MIB);
}
