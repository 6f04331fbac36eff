//! What `cargo test` prints.

use std::collections::BTreeSet;
use std::ops::AddAssign;

/// What a test prints, with its name and the reason, that the system does not let show what it is for (`not_here` of
/// plugwire-interop).
const NOT_SHOWN: &str = "NOT SHOWN HERE: ";

/// How many passed and failed.
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

/// The sum over all test programs and doc tests of one `cargo test`.
///
/// A program that was killed leaves no result, and one that does not compile is never started. So when cargo says
/// that something failed, a program without result counts as a failed test, and there is at least one. A test that had
/// to leave something out has not passed, whatever its harness says.
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
    let left_out: BTreeSet<&str> =
        not_shown(output).filter_map(|line| line.split(": ").nth(1)).collect();
    tally.passed = tally.passed.saturating_sub(left_out.len() as u64);
    if !success {
        tally.failed = (tally.failed + without_result).max(1);
    }
    tally
}

/// One line `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
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

/// The lines of tests that could not show something on this system. The harness may have begun the line.
pub(crate) fn not_shown(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter_map(|line| Some(&line[line.find(NOT_SHOWN)?..]))
}

/// The parts of the output between `failures:` and the result: what failed, and what it printed.
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

/// Cargo announces each program, indented: `Running tests/a.rs (…)`, `Doc-tests plugwire`.
fn starts_program(line: &str) -> bool {
    let words = line.trim_start();
    words.len() < line.len() && (words.starts_with("Running ") || words.starts_with("Doc-tests "))
}

#[cfg(test)]
mod tests {
    use super::{Tally, failures, not_shown, result, tally};

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
