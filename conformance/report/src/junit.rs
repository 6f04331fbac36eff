//! JUnit XML, as CI services read it: a suite for each area of each run.
//!
//! What speaks against the subject is a *failure*, what the suite could not do an *error*. A requirement that is not kept
//! and does not count in this run (a SHOULD without `--strict`, an entry of the known list) is *skipped*, with a message
//! that says so: then this file is as red as the exit status. JUnit knows nothing better, and a pass it is not.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::matrix;
use crate::model::{CaseResult, Level, Outcome, Run, Verdict};
use crate::tally;
use crate::terminal::{self, Style};
use crate::text::{line, markup, timestamp};

/// What JUnit can say of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Passed,
    Failure,
    Error,
    Skipped,
}

impl Kind {
    fn of(run: &Run, case: &CaseResult) -> Self {
        match case.verdict {
            _ if run.counts_against(case) => Self::Failure,
            Verdict::Error => Self::Error,
            Verdict::Pass | Verdict::NonStrict => Self::Passed,
            _ => Self::Skipped,
        }
    }
}

/// The document for these runs. One that selected nothing has an error in it: a file without a test looks green.
pub fn document(runs: &[Run]) -> String {
    let runs: Vec<_> = runs.iter().map(or_error).collect();
    let all: Vec<_> = runs
        .iter()
        .map(|run| run.as_ref())
        .flat_map(|run| run.cases.iter().map(move |case| (run, case)))
        .collect();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites");
    attribute(&mut xml, "name", "plugwire-conformance");
    counts(&mut xml, &all);
    xml.push_str(">\n");
    for run in &runs {
        let run = run.as_ref();
        for area in matrix::areas(&[run]) {
            suite(&mut xml, run, area.name);
        }
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn or_error(run: &Run) -> Cow<'_, Run> {
    if run.outcome() != Outcome::NothingSelected {
        return Cow::Borrowed(run);
    }
    let nothing = CaseResult {
        id: "suite/selection".to_owned(),
        role: run.role,
        tier: "suite".to_owned(),
        level: Level::Must,
        clauses: Vec::new(),
        requirement: "At least one case is played.".to_owned(),
        why: "A run of nothing proves nothing.".to_owned(),
        verdict: Verdict::Error,
        finding: None,
        notes: tally::reasons(run),
        took_ms: 0,
        timeline: Vec::new(),
        replay: None,
    };
    let cases = [vec![nothing], run.cases.clone()].concat();
    Cow::Owned(Run { cases, ..run.clone() })
}

fn suite(xml: &mut String, run: &Run, area: &str) {
    let cases: Vec<_> =
        run.cases.iter().filter(|case| case.area() == area).map(|case| (run, case)).collect();
    xml.push_str("  <testsuite");
    attribute(xml, "name", &format!("{} as {}: {area}", run.subject, run.role));
    counts(xml, &cases);
    attribute(xml, "timestamp", &timestamp(run.started));
    xml.push_str(">\n    <properties>\n");
    let seed = run.seed.map(|seed| seed.to_string());
    let properties = [
        ("suite", run.suite.as_str()),
        ("command", &run.command.join(" ")),
        ("machine", &run.machine),
        ("seed", seed.as_deref().unwrap_or("none")),
        ("outcome", &tally::sentence(run)),
    ];
    for (name, value) in properties {
        xml.push_str("      <property");
        attribute(xml, "name", name);
        attribute(xml, "value", value);
        xml.push_str("/>\n");
    }
    xml.push_str("    </properties>\n");
    for (_, case) in &cases {
        testcase(xml, run, case);
    }
    xml.push_str("  </testsuite>\n");
}

fn testcase(xml: &mut String, run: &Run, case: &CaseResult) {
    let case = &case.bounded();
    xml.push_str("    <testcase");
    attribute(xml, "classname", &format!("{}.{}", case.role, case.area()));
    attribute(xml, "name", case.name());
    attribute(xml, "time", &seconds(case.took_ms));
    if case.verdict == Verdict::Pass {
        xml.push_str("/>\n");
        return;
    }
    xml.push_str(">\n");
    let told = terminal::case(run, case, Style::plain(), 120);
    let reason = [("message", message(run, case)), ("type", case.verdict.to_string())];
    match Kind::of(run, case) {
        Kind::Passed => element(xml, "system-out", &[], &told),
        Kind::Failure => element(xml, "failure", &reason, &told),
        Kind::Error => element(xml, "error", &reason, &told),
        Kind::Skipped => element(xml, "skipped", &reason, &told),
    }
    xml.push_str("    </testcase>\n");
}

fn element(xml: &mut String, name: &str, attributes: &[(&str, String)], told: &str) {
    let _ = write!(xml, "      <{name}");
    for (name, value) in attributes {
        attribute(xml, name, value);
    }
    let _ = writeln!(xml, ">{}</{name}>", markup(told));
}

/// What stands in a list of results: the verdict, and the shortest thing that explains it.
fn message(run: &Run, case: &CaseResult) -> String {
    let uncounted = case.verdict.is_failure() && !run.counts_against(case);
    let level =
        if uncounted { format!(" ({}, counts with --strict)", case.level) } else { String::new() };
    let why = match (&case.finding, case.notes.first()) {
        (Some(finding), _) => format!(": expected {}, got {}", finding.expected, finding.actual),
        (None, Some(note)) => format!(": {note}"),
        (None, None) => String::new(),
    };
    format!("{}{level}{why}", case.verdict)
}

fn counts(xml: &mut String, cases: &[(&Run, &CaseResult)]) {
    let count = |kind| cases.iter().filter(|(run, case)| Kind::of(run, case) == kind).count();
    attribute(xml, "tests", &cases.len().to_string());
    attribute(xml, "failures", &count(Kind::Failure).to_string());
    attribute(xml, "errors", &count(Kind::Error).to_string());
    attribute(xml, "skipped", &count(Kind::Skipped).to_string());
    attribute(xml, "time", &seconds(cases.iter().map(|(_, case)| case.took_ms).sum()));
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

fn attribute(xml: &mut String, name: &str, value: &str) {
    let _ = write!(xml, " {name}=\"{}\"", markup(&line(value)));
}
