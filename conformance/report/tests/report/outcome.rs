//! The outcome of a run: the exit status, and its description, which never claims more.

use plugwire_conformance_report::jsonl;
use plugwire_conformance_report::model::{Level, Outcome, Role, Run, Verdict};
use plugwire_conformance_report::terminal::{self, Style};

use crate::fixture::{self, case, run};

/// Returns a run with a MUST that is kept, and this one.
fn with(level: Level, verdict: Verdict) -> Run {
    run(
        "subject",
        Role::Plugin,
        vec![case("area/kept", Level::Must, Verdict::Pass), case("area/name", level, verdict)],
    )
}

fn strict(run: Run) -> Run {
    Run { strict: true, ..run }
}

fn said(run: &Run) -> String {
    let report = terminal::report(run, Style::plain(), 120);
    // The footer follows the last empty line.
    report.rsplit("\n\n").next().unwrap_or_default().replace('\n', " ")
}

#[test]
fn a_must_counts_and_the_others_with_strict_only() {
    use Outcome::{Conformant, NotConformant};
    for verdict in [Verdict::Fail, Verdict::Timeout, Verdict::Crash] {
        assert_eq!(with(Level::Must, verdict).outcome(), NotConformant);
        for level in [Level::Should, Level::Robustness] {
            assert_eq!(with(level, verdict).outcome(), Conformant, "{level} {verdict}");
            assert_eq!(strict(with(level, verdict)).outcome(), NotConformant, "{level} {verdict}");
        }
    }
    for verdict in
        [Verdict::Pass, Verdict::NonStrict, Verdict::Skip, Verdict::ExpectedFail, Verdict::Flaky]
    {
        assert_eq!(with(Level::Must, verdict).outcome(), Conformant, "{verdict}");
        assert_eq!(strict(with(Level::Must, verdict)).outcome(), Conformant, "{verdict}");
    }
}

#[test]
fn unimplemented_has_to_be_allowed_and_a_list_that_is_out_of_date_never_is() {
    for level in [Level::Must, Level::Should, Level::May, Level::Robustness] {
        let mut run = with(level, Verdict::Unimplemented);
        assert_eq!(run.outcome(), Outcome::NotConformant, "{level}");
        run.allow_unimplemented = true;
        assert_eq!(run.outcome(), Outcome::Conformant, "{level}");
        assert_eq!(strict(run).outcome(), Outcome::Conformant, "{level}");
        assert_eq!(
            with(level, Verdict::UnexpectedPass).outcome(),
            Outcome::NotConformant,
            "{level}"
        );
    }
}

#[test]
fn an_error_outweighs_everything_and_nothing_is_no_success() {
    let mut run = with(Level::Must, Verdict::Fail);
    run.cases.push(case("area/broken", Level::May, Verdict::Error));
    assert_eq!(run.outcome(), Outcome::Engine);
    run.cases.clear();
    assert_eq!(run.outcome(), Outcome::NothingSelected);
    assert_eq!(
        said(&run),
        "0 cases, in 8.4 s no verdict: nothing was selected, so nothing is proved "
    );
}

#[test]
fn a_process_that_nobody_knows_whose_it_is_leaves_nothing_proved() {
    let mut run = with(Level::Must, Verdict::Pass);
    run.strays = 2;
    assert_eq!(run.outcome(), Outcome::Engine);
    assert!(said(&run).contains("no verdict: 2 processes outlived a case"), "{}", said(&run));
    let mut lines = Vec::new();
    jsonl::write(&mut lines, &run).unwrap();
    assert_eq!(jsonl::read(&lines[..]).unwrap(), [run]);
}

#[test]
fn each_outcome_has_its_status() {
    let codes = [
        (Outcome::Conformant, 0),
        (Outcome::NotConformant, 1),
        (Outcome::Usage, 2),
        (Outcome::Engine, 3),
        (Outcome::NothingSelected, 4),
        (Outcome::Interrupted, 130),
    ];
    assert!(codes.iter().all(|(outcome, code)| outcome.code() == *code));
}

#[test]
fn the_words_begin_with_the_outcome_and_the_counts_add_up() {
    for run in fixture::runs() {
        let said = said(&run);
        let (counts, rest) = said.split_once(", in ").expect("counts and the time");
        let (total, counts) = counts.split_once(" cases: ").expect("the total first");
        let sum: usize = counts
            .split(", ")
            .map(|count| {
                count.split(' ').next().unwrap_or_default().parse::<usize>().expect("a count")
            })
            .sum();
        assert_eq!((total.parse(), sum), (Ok(run.cases.len()), run.cases.len()));
        let word = match run.outcome() {
            Outcome::Conformant => " conformant: ",
            Outcome::NotConformant => " not conformant: ",
            _ => " no verdict: ",
        };
        // The time is in front of it, in one or two words.
        assert!(rest.find(word).is_some_and(|index| index < 16), "{rest}");
    }
}

#[test]
fn every_must_is_kept_is_said_only_where_it_is_true() {
    for verdict in Verdict::ALL {
        let is_kept =
            matches!(verdict, Verdict::Pass | Verdict::NonStrict | Verdict::UnexpectedPass);
        let said = said(&with(Level::Must, verdict));
        assert_eq!(said.contains("every MUST is met"), is_kept, "{said}");
    }
    let skipped = run("subject", Role::Plugin, vec![case("area/name", Level::Must, Verdict::Skip)]);
    assert!(said(&skipped).contains("every case was skipped, so nothing is proved"));
    let should =
        run("subject", Role::Plugin, vec![case("area/name", Level::Should, Verdict::Pass)]);
    assert!(said(&should).contains("no MUST was selected"));
}

#[test]
fn what_strict_would_say_is_what_it_says() {
    for level in [Level::Must, Level::Should, Level::May, Level::Robustness] {
        for verdict in Verdict::ALL {
            let run = with(level, verdict);
            if run.outcome() != Outcome::Conformant {
                continue;
            }
            let said = said(&run);
            match strict(run).outcome() {
                Outcome::Conformant => {
                    assert!(said.contains("--strict would say the same"), "{said}")
                }
                _ => assert!(said.contains("--strict would say: not conformant, for 1 "), "{said}"),
            }
        }
    }
}

#[test]
fn how_many_are_not_kept_is_said_of_those_that_were_judged() {
    let mut run = with(Level::Should, Verdict::Fail);
    for (name, verdict) in [("a", Verdict::Timeout), ("b", Verdict::Pass), ("c", Verdict::Skip)] {
        run.cases.push(case(name, Level::Should, verdict));
    }
    assert!(said(&run).contains("conformant: every MUST is met; 2 of 3 SHOULD are not met "));
}

#[test]
fn what_is_left_to_the_implementation_never_counts() {
    for verdict in [Verdict::Fail, Verdict::Timeout, Verdict::Crash] {
        assert_eq!(strict(with(Level::May, verdict)).outcome(), Outcome::Conformant);
        assert_eq!(strict(with(Level::Should, verdict)).outcome(), Outcome::NotConformant);
    }
}
