//! The outcome of a run in numbers and words: the same sentences in every report.

use crate::model::{Level, Outcome, Run, Verdict};
use crate::text::plural;

const LEVELS: [Level; 4] = [Level::Must, Level::Should, Level::May, Level::Robustness];

/// The results for the requirements of one level.
#[derive(Debug, Default, Clone, Copy)]
struct Fared {
    met: usize,
    broken: usize,
    /// Violated as well, as the known list says.
    known: usize,
    /// Skipped, unimplemented, flaky, or the suite's own error.
    unjudged: usize,
}

impl Fared {
    fn of(run: &Run, level: Level) -> Self {
        let mut fared = Self::default();
        for case in run.cases.iter().filter(|case| case.level == level) {
            let count = match case.verdict {
                verdict if verdict.is_failure() => &mut fared.broken,
                verdict if verdict.is_unjudged() => &mut fared.unjudged,
                Verdict::ExpectedFail => &mut fared.known,
                _ => &mut fared.met,
            };
            *count += 1;
        }
        fared
    }

    fn judged(self) -> usize {
        self.met + self.broken + self.known
    }

    /// Returns the remark about it; empty if everything is as expected.
    fn sentences(self, level: Level) -> Vec<String> {
        let not_met = |count: usize| match count {
            1 => format!("1 of {} {} is not met", self.judged(), label(level)),
            _ => format!("{count} of {} {} are not met", self.judged(), label(level)),
        };
        let mut sentences = Vec::new();
        if self.broken > 0 {
            sentences.push(not_met(self.broken));
        }
        if self.known > 0 {
            sentences.push(format!("{}, as the known list says", not_met(self.known)));
        }
        if level == Level::Must && sentences.is_empty() {
            sentences.push(self.all_met());
        }
        if level == Level::Must && self.unjudged > 0 && self.judged() > 0 {
            let all = self.judged() + self.unjudged;
            let were = if self.unjudged == 1 { "was" } else { "were" };
            sentences.push(format!("{} of {all} MUST {were} not judged", self.unjudged));
        }
        sentences
    }

    fn all_met(self) -> String {
        let words = match (self.judged(), self.unjudged) {
            (0, 0) => "no MUST was selected",
            (0, _) => "no MUST was judged, so nothing is proved",
            (_, 0) => "every MUST is met",
            _ => "every MUST that was judged is met",
        };
        words.to_owned()
    }
}

fn label(level: Level) -> &'static str {
    match level {
        Level::Must => "MUST",
        Level::Should => "SHOULD",
        Level::May => "MAY",
        Level::Robustness => "robustness cases",
    }
}

/// `61 cases: 58 pass, 2 fail, 1 skip`.
pub(crate) fn counts(run: &Run) -> String {
    let counts: Vec<_> =
        present([run]).map(|verdict| format!("{} {verdict}", run.count(verdict))).collect();
    match counts.is_empty() {
        true => "0 cases".to_owned(),
        false => format!("{}: {}", plural(run.cases.len(), "case"), counts.join(", ")),
    }
}

/// Returns the verdicts that occur in any of these runs, in the order of reports.
pub(crate) fn present<'a>(
    runs: impl IntoIterator<Item = &'a Run, IntoIter: Clone>,
) -> impl Iterator<Item = Verdict> {
    let runs = runs.into_iter();
    Verdict::ALL.into_iter().filter(move |verdict| runs.clone().any(|run| run.count(*verdict) > 0))
}

/// Returns the verdict in a word or two.
pub(crate) fn outcome(run: &Run) -> &'static str {
    match run.outcome() {
        Outcome::Conformant => "conformant",
        Outcome::NotConformant => "not conformant",
        _ => "no verdict",
    }
}

/// Returns the verdict and why, in one sentence.
pub(crate) fn sentence(run: &Run) -> String {
    format!("{}: {}", outcome(run), reasons(run).join("; "))
}

/// Why it is that verdict.
pub(crate) fn reasons(run: &Run) -> Vec<String> {
    if run.cases.is_empty() {
        return vec!["nothing was selected, so nothing is proved".to_owned()];
    }
    if run.outcome() == Outcome::NothingSelected {
        let how = match run.count(Verdict::Unimplemented) {
            0 => "skipped",
            _ => "skipped or not implemented",
        };
        return vec![format!("every case was {how}, so nothing is proved")];
    }
    let mut reasons = Vec::new();
    match run.count(Verdict::Error) {
        0 => {}
        errors => reasons.push(format!("the suite itself failed in {}", plural(errors, "case"))),
    }
    match run.strays {
        0 => {}
        1 => reasons.push(
            "a process outlived its case, and it is unknown which one; use --jobs 1 to find out".to_owned(),
        ),
        strays => reasons.push(format!(
            "{strays} processes outlived a case, and it is unknown which one; use --jobs 1 to find out"
        )),
    }
    reasons.extend(LEVELS.iter().flat_map(|level| Fared::of(run, *level).sentences(*level)));
    match run.count(Verdict::Unimplemented) {
        0 => {}
        count if run.allow_unimplemented => {
            reasons.push(format!("{} not implemented, which is allowed", plural(count, "case")));
        }
        count => reasons.push(format!("{} not implemented", plural(count, "case"))),
    }
    match run.count(Verdict::UnexpectedPass) {
        0 => {}
        count => reasons.push(format!(
            "the known list is out of date: {} passed although listed as failing",
            plural(count, "case")
        )),
    }
    reasons
}

/// Returns the outcome with `--strict`; none if there is no verdict.
pub(crate) fn strict(run: &Run) -> Option<String> {
    let outcome = run.outcome();
    if !matches!(outcome, Outcome::Conformant | Outcome::NotConformant) {
        return None;
    }
    if run.strict {
        return Some("this run is strict: SHOULD and robustness cases count as well".to_owned());
    }
    let more: Vec<_> = LEVELS[1..]
        .iter()
        // A MAY never counts.
        .filter(|level| **level != Level::May)
        .map(|level| (Fared::of(run, *level).broken, label(*level)))
        .filter(|(broken, _)| *broken > 0)
        .map(|(broken, label)| format!("{broken} {}", label.trim_end_matches(" cases")))
        .collect();
    Some(match more.is_empty() {
        true => "--strict would say the same".to_owned(),
        false if outcome == Outcome::Conformant => {
            format!("--strict would say: not conformant, for {}", more.join(", "))
        }
        false => format!("--strict would count {} more", more.join(", ")),
    })
}
