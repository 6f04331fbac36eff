//! Checks that JUnit XML agrees with the exit status in each case, and that a strict reader accepts
//! it.

use plugwire_conformance_report::junit;
use plugwire_conformance_report::model::{CaseResult, Level, Outcome, Role, Run, Verdict};

use crate::fixture::{self, HOSTILE, case, run};
use crate::markup::{self, Element};

fn document(runs: &[Run]) -> Element {
    let mut root = markup::read(&junit::document(runs), &[]);
    assert_eq!(root.children.len(), 1);
    root.children.remove(0)
}

fn number(element: &Element, attribute: &str) -> usize {
    element.attribute(attribute).parse().expect("a number")
}

#[test]
fn the_numbers_are_those_of_the_elements() {
    let runs = fixture::runs();
    let document = document(&runs);
    let cases: usize = runs.iter().map(|run| run.cases.len()).sum();
    assert_eq!(number(&document, "tests"), cases);
    for suite in document.all("testsuite").into_iter().chain([&document]) {
        assert_eq!(number(suite, "tests"), suite.all("testcase").len());
        assert_eq!(number(suite, "failures"), suite.all("failure").len());
        assert_eq!(number(suite, "errors"), suite.all("error").len());
        assert_eq!(number(suite, "skipped"), suite.all("skipped").len());
        assert!(suite.all("testcase").iter().all(|case| case.children.len() <= 1));
    }
}

#[test]
fn what_fails_is_a_failure_and_what_the_suite_could_not_do_an_error() {
    let element_of = |verdict| {
        // If every case is skipped, the document itself is an error, so there is another case
        // beside it.
        let beside = case("other/name", Level::Must, Verdict::Pass);
        let cases = vec![case("area/name", Level::Must, verdict), beside];
        let document = document(&[run("subject", Role::Plugin, cases)]);
        document.all("testcase")[0]
            .children
            .first()
            .map(|child| child.name.clone())
            .unwrap_or_default()
    };
    for (verdict, element) in [
        (Verdict::Pass, ""),
        (Verdict::NonStrict, "system-out"),
        (Verdict::Fail, "failure"),
        (Verdict::Timeout, "failure"),
        (Verdict::Crash, "failure"),
        (Verdict::Skip, "skipped"),
        (Verdict::Unimplemented, "failure"),
        (Verdict::ExpectedFail, "skipped"),
        (Verdict::UnexpectedPass, "failure"),
        (Verdict::Flaky, "skipped"),
        (Verdict::Error, "error"),
    ] {
        assert_eq!(element_of(verdict), element, "{verdict}");
    }
}

#[test]
fn it_is_red_exactly_where_the_exit_status_is() {
    for level in [Level::Must, Level::Should, Level::May, Level::Robustness] {
        for verdict in Verdict::ALL {
            for (strict, allow_unimplemented) in
                [(false, false), (false, true), (true, false), (true, true)]
            {
                let mut run = run("subject", Role::Plugin, vec![case("area/name", level, verdict)]);
                run.strict = strict;
                run.allow_unimplemented = allow_unimplemented;
                let document = document(std::slice::from_ref(&run));
                let expected = match run.outcome() {
                    Outcome::Conformant => (0, 0),
                    Outcome::NotConformant => (1, 0),
                    Outcome::Engine | Outcome::NothingSelected => (0, 1),
                    other => panic!("{other:?}"),
                };
                let found = (number(&document, "failures"), number(&document, "errors"));
                assert_eq!(found, expected, "{level} {verdict} strict {strict}");
            }
        }
    }
}

#[test]
fn what_does_not_count_is_not_called_passed() {
    let uncounted = case("area/name", Level::Should, Verdict::Fail);
    let document = document(&[run("subject", Role::Plugin, vec![uncounted])]);
    assert_eq!(
        document.all("skipped")[0].attribute("message"),
        "fail (should, counts with --strict)"
    );
}

#[test]
fn hostile_text_is_text() {
    let hostile =
        CaseResult { notes: vec![HOSTILE.to_owned()], ..case(HOSTILE, Level::Must, Verdict::Fail) };
    let document = document(&[run(HOSTILE, Role::Plugin, vec![hostile])]);
    let case = document.all("testcase")[0];
    assert!(case.attribute("name").ends_with(r"zero\u{200b}width | \ | ü 日本"));
    assert!(case.children[0].text.contains("]]> </script><script>alert(1)</script> \" onload=x '"));
    assert!(document.all("script").is_empty());
}

#[test]
fn a_run_of_nothing_is_an_error() {
    let document = document(&[run("subject", Role::Plugin, Vec::new())]);
    assert_eq!((number(&document, "tests"), number(&document, "errors")), (1, 1));
    let message = document.all("error")[0].attribute("message");
    assert_eq!(message, "error: nothing was selected, so nothing is proved");
}
