//! The judgement of a mode about a case.

use plugwire_conformance_report::model::{Finding, Verdict};

/// A verdict with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The finding, if it did not pass.
    pub finding: Option<Finding>,
    /// Additional notes.
    pub notes: Vec<String>,
}

impl Judgement {
    fn plain(verdict: Verdict) -> Self {
        Self { verdict, finding: None, notes: Vec::new() }
    }

    /// As required.
    pub fn pass() -> Self {
        Self::plain(Verdict::Pass)
    }

    /// In another way that is tolerated.
    pub fn tolerated(note: impl Into<String>) -> Self {
        Self { notes: vec![note.into()], ..Self::plain(Verdict::NonStrict) }
    }

    /// Not as required. `step` is the number and text of the step, or empty.
    pub fn fail(
        step: impl Into<String>,
        expected: impl Into<String>,
        actual: impl Into<String>,
    ) -> Self {
        let finding =
            Finding { expected: expected.into(), actual: actual.into(), step: step.into() };
        Self { finding: Some(finding), ..Self::plain(Verdict::Fail) }
    }

    /// Returns a failure because the subject died unexpectedly.
    pub fn crash(
        step: impl Into<String>,
        expected: impl Into<String>,
        actual: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Crash, ..Self::fail(step, expected, actual) }
    }

    /// Returns the judgement that the subject does not support this.
    pub fn unimplemented(what: impl Into<String>) -> Self {
        Self { notes: vec![what.into()], ..Self::plain(Verdict::Unimplemented) }
    }

    /// Returns the judgement that the case does not apply to this subject.
    pub fn skip(why: impl Into<String>) -> Self {
        Self { notes: vec![why.into()], ..Self::plain(Verdict::Skip) }
    }

    /// Returns the judgement that the suite itself failed.
    pub fn error(why: impl Into<String>) -> Self {
        let finding = Finding {
            expected: "that the suite itself works".to_owned(),
            actual: why.into(),
            step: String::new(),
        };
        Self { finding: Some(finding), ..Self::plain(Verdict::Error) }
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}
