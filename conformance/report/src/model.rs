//! The results of a run: one verdict for each case, and what was seen.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The version of everything that is written as JSON here. A reader refuses what it does not know.
pub const FORMAT: u32 = 1;

/// Which role the subject plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The subject is a plugin, the suite its host.
    Plugin,
    /// The subject is a host, reached by its driver; the suite is the plugin.
    Host,
}

/// How much a case's requirement asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Stock go-plugin 1.8.0 keeps it, and its peers rely on it. Failing it is not conformant.
    Must,
    /// Asked for with good reason; go-plugin itself may miss it. Counted, and failing with `--strict` only.
    Should,
    /// Left to the implementation.
    May,
    /// More than go-plugin does: a peer cannot tell, the user can. As [`Level::Should`].
    Robustness,
}

/// The verdict of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As required.
    Pass,
    /// Passed in another, tolerated way; the notes say which.
    NonStrict,
    /// Not as required.
    Fail,
    /// It did not end within the case's budget.
    Timeout,
    /// The subject died where it should not.
    Crash,
    /// The subject lacks a feature that the case needs.
    Skip,
    /// The subject itself reports that it does not support this (a driver's exit status 89, a
    /// plugin's `UNIMPLEMENTED` probe).
    Unimplemented,
    /// It failed, as the known list says.
    ExpectedFail,
    /// It passed although the known list says that it fails: the list is out of date.
    UnexpectedPass,
    /// The known list says that it may pass or fail.
    Flaky,
    /// The suite itself failed: a misbehaviour without its witness, no directory, no process.
    Error,
}

/// One event of a case, in the order of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Microseconds since the case began.
    pub at_us: u64,
    /// The source: `suite`, `subject`, `stdout`, `stderr`, `tls`, `grpc`, `broker`, `yamux`,
    /// `signal`, `exit`, `witness`, `driver`.
    pub source: String,
    /// What, in one line or several.
    pub text: String,
}

/// Why a case did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was expected.
    pub expected: String,
    /// What happened instead.
    pub actual: String,
    /// The number of the step, from 1, and its text; empty if no step was concerned.
    #[serde(default)]
    pub step: String,
}

/// A case and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseResult {
    /// `area/name`, unique within a role.
    pub id: String,
    /// Whose case it is.
    pub role: Role,
    /// `black-box`, `probe` or `raw`; for hosts `driver`.
    pub tier: String,
    /// How much it asks.
    pub level: Level,
    /// The clauses of the specification, such as `HS-7`.
    pub clauses: Vec<String>,
    /// The requirement, a sentence.
    pub requirement: String,
    /// Why it matters, a sentence.
    pub why: String,
    /// What became of it.
    pub verdict: Verdict,
    /// The finding, if it did not pass.
    #[serde(default)]
    pub finding: Option<Finding>,
    /// Additional notes: leaks, tolerated behaviour, the reason in the known list.
    #[serde(default)]
    pub notes: Vec<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Everything that was seen.
    #[serde(default)]
    pub timeline: Vec<Event>,
    /// A command that plays it again by hand.
    #[serde(default)]
    pub replay: Option<String>,
}

/// One run against one subject in one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// [`FORMAT`].
    pub format: u32,
    /// The suite's version.
    pub suite: String,
    /// The name of the subject.
    pub subject: String,
    /// Its role.
    pub role: Role,
    /// Its command.
    pub command: Vec<String>,
    /// Operating system and architecture.
    pub machine: String,
    /// When it began, in seconds since 1970.
    pub started: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The seed of the order, for `--shuffle`; none for the catalogue's order.
    pub seed: Option<u64>,
    /// Whether SHOULD and robustness cases count.
    pub strict: bool,
    /// Whether `unimplemented` is accepted.
    pub allow_unimplemented: bool,
    /// The number of processes that outlived an unknown case.
    pub strays: usize,
    /// Each case, in the catalogue's order.
    pub cases: Vec<CaseResult>,
}

impl Verdict {
    /// Every verdict, in the order of reports.
    pub const ALL: [Self; 11] = [
        Self::Pass,
        Self::NonStrict,
        Self::Fail,
        Self::Timeout,
        Self::Crash,
        Self::Skip,
        Self::Unimplemented,
        Self::ExpectedFail,
        Self::UnexpectedPass,
        Self::Flaky,
        Self::Error,
    ];

    /// Returns the word for it, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::NonStrict => "non-strict",
            Self::Fail => "fail",
            Self::Timeout => "timeout",
            Self::Crash => "crash",
            Self::Skip => "skip",
            Self::Unimplemented => "unimplemented",
            Self::ExpectedFail => "expected-fail",
            Self::UnexpectedPass => "unexpected-pass",
            Self::Flaky => "flaky",
            Self::Error => "error",
        }
    }

    /// Returns whether the subject failed, regardless of the known list.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Fail | Self::Timeout | Self::Crash)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::May => "may",
            Self::Robustness => "robustness",
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plugin => "plugin",
            Self::Host => "host",
        })
    }
}

/// The program's exit status, for people and for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Status 0.
    Conformant,
    /// Status 1: a MUST is not met (with `--strict`, anything), or the known list is out of date.
    NotConformant,
    /// Status 2: the command line, a case file, a known list or a subject description is wrong.
    Usage,
    /// Status 3: the suite could not do its job.
    Engine,
    /// Status 4: nothing was selected, so nothing is proved.
    NothingSelected,
    /// Status 130: interrupted.
    Interrupted,
}

impl Outcome {
    /// Returns the exit status.
    pub fn code(self) -> u8 {
        match self {
            Self::Conformant => 0,
            Self::NotConformant => 1,
            Self::Usage => 2,
            Self::Engine => 3,
            Self::NothingSelected => 4,
            Self::Interrupted => 130,
        }
    }
}

impl CaseResult {
    /// Returns the part of the id before the slash; all of it where there is none.
    pub fn area(&self) -> &str {
        self.id.split_once('/').map_or(&self.id, |(area, _)| area)
    }

    /// Returns the part of the id behind the slash; all of it where there is none.
    pub fn name(&self) -> &str {
        self.id.split_once('/').map_or(&self.id, |(_, name)| name)
    }
}

impl Run {
    /// Returns the number of cases with this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|case| case.verdict == verdict).count()
    }

    /// Returns whether this case speaks against the subject in this run: its level counts, and it failed or was not tried.
    pub fn counts_against(&self, case: &CaseResult) -> bool {
        let counted = match case.level {
            Level::Must => true,
            Level::Should | Level::Robustness => self.strict,
            Level::May => false,
        };
        match case.verdict {
            Verdict::Fail | Verdict::Timeout | Verdict::Crash => counted,
            Verdict::Unimplemented => !self.allow_unimplemented,
            Verdict::UnexpectedPass => true,
            _ => false,
        }
    }

    /// Returns the outcome of the run. After an error of the suite nothing is proved, whatever else
    /// happened. The same is true with a stray, since some case missed a process, and if every case
    /// was skipped, or unimplemented with `--allow-unimplemented`.
    pub fn outcome(&self) -> Outcome {
        let allowed = if self.allow_unimplemented { self.count(Verdict::Unimplemented) } else { 0 };
        if self.count(Verdict::Skip) + allowed == self.cases.len() {
            return Outcome::NothingSelected;
        }
        if self.count(Verdict::Error) > 0 || self.strays > 0 {
            return Outcome::Engine;
        }
        match self.cases.iter().any(|case| self.counts_against(case)) {
            true => Outcome::NotConformant,
            false => Outcome::Conformant,
        }
    }
}
