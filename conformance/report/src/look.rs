//! The look of a verdict: the same symbols and tones in every report.

use crate::model::{CaseResult, Run, Verdict};

/// The tone of a cell, visible before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Worth a look, and does not speak against the subject in this run.
    Mild,
    /// Speaks against the subject.
    Bad,
    /// Nothing was found out.
    Quiet,
    /// The suite itself failed.
    Broken,
}

impl Verdict {
    /// One character for it; the word always stands beside it.
    pub(crate) fn symbol(self) -> char {
        match self {
            Self::Pass => '✓',
            Self::NonStrict => '≈',
            Self::Fail => '✗',
            Self::Timeout => '◷',
            Self::Crash => '↯',
            Self::Skip => '–',
            Self::Unimplemented => '○',
            Self::ExpectedFail => '⊗',
            Self::UnexpectedPass => '⊕',
            Self::Flaky => '∿',
            Self::Error => '‼',
        }
    }

    /// Returns what it means, for a legend.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Pass => "as required",
            Self::NonStrict => "another way that is tolerated",
            Self::Fail => "not as required",
            Self::Timeout => "did not end in time",
            Self::Crash => "died where it should not",
            Self::Skip => "not tried: the subject is said not to have the feature",
            Self::Unimplemented => "not tried: the subject says that it cannot",
            Self::ExpectedFail => "not as required, as the known list says",
            Self::UnexpectedPass => "as required, though the known list says that it fails",
            Self::Flaky => "may end either way, as the known list says",
            Self::Error => "the suite itself failed",
        }
    }

    /// Returns whether the verdict says nothing about the subject.
    pub(crate) fn is_unjudged(self) -> bool {
        matches!(self, Self::Skip | Self::Unimplemented | Self::Flaky | Self::Error)
    }
}

/// Returns the tone of a case in its run: what does not count there is not shown as bad.
pub(crate) fn tone(run: &Run, case: &CaseResult) -> Tone {
    match case.verdict {
        _ if run.counts_against(case) => Tone::Bad,
        Verdict::Pass => Tone::Good,
        Verdict::Skip | Verdict::Unimplemented => Tone::Quiet,
        Verdict::Error => Tone::Broken,
        _ => Tone::Mild,
    }
}

/// Returns the case that says most of these: the suite's failure, then what counts, then what is worth a look, and of those what
/// is not kept.
pub(crate) fn telling<'a>(
    run: &Run,
    cases: impl IntoIterator<Item = &'a CaseResult>,
) -> Option<&'a CaseResult> {
    let weight = |case: &&CaseResult| {
        let tone = match tone(run, case) {
            Tone::Broken => 0,
            Tone::Bad => 1,
            Tone::Mild => 2,
            Tone::Good => 3,
            Tone::Quiet => 4,
        };
        (tone, !case.verdict.is_failure())
    };
    cases.into_iter().min_by_key(weight)
}
