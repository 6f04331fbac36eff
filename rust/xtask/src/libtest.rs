//! Reads what test programs and `cargo test` print.

use std::collections::BTreeSet;
use std::ops::AddAssign;

/// How a test's line begins if this system cannot show what the test is for (`not_here` in plugwire-interop). The test's
/// name and the reason follow.
const NOT_SHOWN: &str = "NOT SHOWN HERE: ";

/// Counts tests that passed and that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Returns the sum over all doc tests of one `cargo test`.
///
/// A program that was killed leaves no result, and one that does not compile is never started. So if cargo reports a
/// failure, a program without a result counts as a failed test, and at least one test has failed. A test that had to
/// leave something out has not passed, even if its harness says so.
pub(crate) fn tally(output: &str, success: bool) -> Tally {
    let mut tally = Tally::default();
    let mut without_result = 0_u64;
    for line in output.lines() {
        if let Some(result) = result(line) {
            tally += result;
            without_result = without_result.saturating_sub(1);
        } else if starts_program(line) {
            without_result += 1;
        }
    }
    without_those_left_out(&mut tally, output);
    if !success {
        tally.failed = (tally.failed + without_result).max(1);
    }
    tally
}

/// Returns the result of one test program. A program without a result did not get to its end, so it counts as a failed
/// test even if its exit status is 0.
pub(crate) fn tally_of_program(output: &str, success: bool) -> Tally {
    let mut results = output.lines().filter_map(result);
    let Some(mut tally) = results.next_back() else {
        return Tally { passed: 0, failed: 1 };
    };
    without_those_left_out(&mut tally, output);
    if !success {
        tally.failed = tally.failed.max(1);
    }
    tally
}

fn without_those_left_out(tally: &mut Tally, output: &str) {
    let left_out: BTreeSet<&str> =
        not_shown(output).filter_map(|line| line.split(": ").nth(1)).collect();
    tally.passed = tally.passed.saturating_sub(left_out.len() as u64);
}

/// Parses a line `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
pub(crate) fn result(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut tally = Tally::default();
    for count in counts.split("; ") {
        match count.split_once(' ') {
            Some((number, "passed")) => tally.passed = number.parse().ok()?,
            Some((number, "failed")) => tally.failed = number.parse().ok()?,
            _ => {}
        }
    }
    Some(tally)
}

/// Returns the lines of tests that could not show something on this system. The harness may have begun the line.
pub(crate) fn not_shown(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter_map(|line| Some(&line[line.find(NOT_SHOWN)?..]))
}

/// Returns the parts of the output between `failures:` and the result: what failed, and what it printed.
pub(crate) fn failures(output: &str) -> String {
    let mut shown = String::new();
    let mut inside = false;
    for line in output.lines() {
        if result(line).is_some() {
            inside = false;
        } else if line == "failures:" {
            inside = true;
        }
        if inside {
            shown.push_str(line);
            shown.push('\n');
        }
    }
    shown
}

/// Recognizes the line with which cargo announces a program, indented: `Running tests/a.rs (…)`, `Doc-tests plugwire`.
fn starts_program(line: &str) -> bool {
    let words = line.trim_start();
    words.len() < line.len() && (words.starts_with("Running ") || words.starts_with("Doc-tests "))
}

#[cfg(test)]
mod tests {
    use super::{Tally, failures, not_shown, result, tally, tally_of_program};

    const TWO_PROGRAMS: &str = "\
     Running unittests src/lib.rs (target/debug/deps/a-1)

running 2 tests
test one ... ok
test two ... FAILED

failures:

---- two stdout ----
assertion failed

failures:
    two

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests a

running 3 tests

test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.10s
";

    #[test]
    fn sums_over_programs() {
        assert_eq!(tally(TWO_PROGRAMS, false), Tally { passed: 4, failed: 1 });
    }

    #[test]
    fn a_killed_program_counts_as_a_failed_test() {
        let output =
            "     Running tests/a.rs (a)\n\nrunning 2 tests\ntest one ... ok\nerror: signal: 9\n";
        assert_eq!(
            tally(&format!("{TWO_PROGRAMS}{output}"), false),
            Tally { passed: 4, failed: 2 }
        );
    }

    #[test]
    fn what_does_not_compile_is_a_failure() {
        assert_eq!(
            tally("error[E0308]: mismatched types\n", false),
            Tally { passed: 0, failed: 1 }
        );
    }

    #[test]
    fn what_could_not_be_shown_has_not_passed() {
        let output = "\
running 3 tests
NOT SHOWN HERE: a::first: no namespaces
test a::first ... NOT SHOWN HERE: a::first: no roots
ok
NOT SHOWN HERE: a::second: only root can
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
";
        assert_eq!(tally(output, true), Tally { passed: 1, failed: 0 });
        assert_eq!(not_shown(output).last(), Some("NOT SHOWN HERE: a::second: only root can"));
        assert_eq!(not_shown(output).count(), 3);
    }

    #[test]
    fn a_program_must_get_to_its_end() {
        let two = "running 2 tests\ntest one ... ok\ntest two ... ok\n";
        let result = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let tally = |output: &str, success| {
            let tally = tally_of_program(output, success);
            (tally.passed, tally.failed)
        };
        assert_eq!(tally(&format!("{two}{result}"), true), (2, 0));
        assert_eq!(tally(&format!("{two}{result}"), false), (2, 1), "it crashed at its exit");
        assert_eq!(tally(two, false), (0, 1), "it was killed");
        assert_eq!(tally(two, true), (0, 1), "a test ended the program");
        let left_out = format!("NOT SHOWN HERE: one: no namespaces\n{two}{result}");
        assert_eq!(tally(&left_out, true), (1, 0));
    }

    /// A program with a harness of its own prints no result; cargo's word is enough.
    #[test]
    fn a_program_without_result_is_no_failure_when_all_went_well() {
        assert_eq!(tally("     Running tests/own.rs (a)\nfine\n", true), Tally::default());
    }

    #[test]
    fn other_lines_are_no_results() {
        assert_eq!(result("test results: ok. 1 passed; 0 failed"), None);
        assert_eq!(result("  test result: ok. 1 passed; 0 failed"), None);
        assert_eq!(result("test result: ok. many passed; 0 failed"), None);
        assert_eq!(result("test result: "), None);
    }

    #[test]
    fn shows_what_failed_and_nothing_else() {
        let shown = failures(TWO_PROGRAMS);
        assert!(shown.contains("assertion failed"), "{shown}");
        assert!(!shown.contains("test one ... ok"), "{shown}");
        assert!(!shown.contains("Doc-tests"), "{shown}");
    }
}
