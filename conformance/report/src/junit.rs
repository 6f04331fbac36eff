//! JUnit XML for CI services: one suite for each area of each run.
//!
//! A finding against the subject is a *failure*; a case that the suite could not play is an *error*. A requirement that is
//! violated but does not count in this run (a SHOULD without `--strict`, an entry of the known list) is *skipped*, with a
//! message that says so. The file is therefore red exactly when the exit status is. JUnit has no better word for such a
//! case, and it is not a pass.

use std::borrow::Cow;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use crate::matrix;
use crate::model::{CaseResult, Level, Outcome, Run, Verdict};
use crate::tally;
use crate::terminal::{self, Style};
use crate::text::{line, timestamp};

/// Returns the document for these runs.
///
/// Returns a run that selected nothing gets an error: a file without a test would look green.
pub fn document(runs: &[Run]) -> String {
    let runs: Vec<_> = runs.iter().map(or_error).collect();
    let mut report = Report::new("plugwire-conformance");
    report.set_time(total(runs.iter().flat_map(|run| &run.cases)));
    for run in &runs {
        for area in matrix::areas(&[run]) {
            report.add_test_suite(suite(run, area.name));
        }
    }
    // Fails only if the writer does, and a string takes everything.
    report.to_string().unwrap_or_default()
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

fn suite(run: &Run, area: &str) -> TestSuite {
    let cases: Vec<_> = run.cases.iter().filter(|case| case.area() == area).collect();
    let mut suite = TestSuite::new(line(&format!("{} as {}: {area}", run.subject, run.role)));
    suite.set_time(total(cases.iter().copied()));
    // Not `set_timestamp`, which adds a zone: the schema of Jenkins allows none.
    suite.extra.insert("timestamp".into(), timestamp(run.started).into());
    let seed = run.seed.map(|seed| seed.to_string());
    let properties = [
        ("suite", run.suite.as_str()),
        ("command", &run.command.join(" ")),
        ("machine", &run.machine),
        ("seed", seed.as_deref().unwrap_or("none")),
        ("outcome", &tally::sentence(run)),
    ];
    suite.add_properties(properties.map(|(name, value)| Property::new(name, line(value))));
    suite.add_test_cases(cases.into_iter().map(|case| test_case(run, &case.bounded())));
    suite
}

fn test_case(run: &Run, case: &CaseResult) -> TestCase {
    let told = || terminal::case(run, case, Style::plain(), 120);
    let not_passed = |mut status: TestCaseStatus| {
        status.set_message(line(&message(run, case)));
        status.set_type(case.verdict.to_string());
        status.set_description(told());
        status
    };
    let status = match case.verdict {
        _ if run.counts_against(case) => {
            not_passed(TestCaseStatus::non_success(NonSuccessKind::Failure))
        }
        Verdict::Error => not_passed(TestCaseStatus::non_success(NonSuccessKind::Error)),
        Verdict::Pass | Verdict::NonStrict => TestCaseStatus::success(),
        _ => not_passed(TestCaseStatus::skipped()),
    };
    let mut test = TestCase::new(line(case.name()), status);
    test.set_classname(line(&format!("{}.{}", case.role, case.area())));
    test.set_time(Duration::from_millis(case.took_ms));
    if case.verdict == Verdict::NonStrict {
        test.set_system_out(told());
    }
    test
}

fn total<'a>(cases: impl Iterator<Item = &'a CaseResult>) -> Duration {
    cases.map(|case| Duration::from_millis(case.took_ms)).sum()
}

/// Returns the message for a list of results: the verdict and its shortest explanation.
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
