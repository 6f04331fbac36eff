//! Everything, one JSON object a line: `run` first, a `case` as each ends, `summary` last.
//!
//! Several runs may follow each other in one file. Characters that could drive a terminal are escaped as JSON escapes
//! them, so that a line may be looked at; what is read back is what was written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::model::{CaseResult, FORMAT, Role, Run, Verdict};
use crate::tally;

/// The maximum number of bytes that are read.
const READ_LIMIT: u64 = 256 * 1024 * 1024;
/// The maximum number of cases that are read, over all runs.
const CASE_LIMIT: usize = 10_000;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line {
    Run(Header),
    Case(CaseResult),
    Summary(Summary),
}

/// A [`Run`] as far as it is known when it begins.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    suite: String,
    subject: String,
    role: Role,
    command: Vec<String>,
    machine: String,
    started: u64,
    seed: Option<u64>,
    strict: bool,
    allow_unimplemented: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Summary {
    /// Of each verdict that occurs.
    counts: BTreeMap<Verdict, usize>,
    /// Their sum.
    total: usize,
    took_ms: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    strays: usize,
    /// For readers that have only this line.
    outcome: String,
    exit: u8,
}

/// The type of a line, regardless of its other members.
#[derive(Debug, Deserialize)]
struct Kind {
    event: String,
    format: Option<u32>,
}

/// Writes the first line of a run, without its cases and its duration.
///
/// # Errors
///
/// Writing to `out` failed.
pub fn begin(out: &mut impl Write, run: &Run) -> io::Result<()> {
    write_line(out, &Line::Run(Header::of(run)))
}

/// Writes the line of a case that ended.
///
/// # Errors
///
/// Writing to `out` failed.
pub fn case(out: &mut impl Write, case: &CaseResult) -> io::Result<()> {
    write_line(out, &Line::Case(case.bounded()))
}

/// Writes the last line of a run, its outcome. Without it the run was cut off.
///
/// # Errors
///
/// Writing to `out` failed.
pub fn end(out: &mut impl Write, run: &Run) -> io::Result<()> {
    write_line(out, &Line::Summary(Summary::of(run)))
}

/// Writes a whole run.
///
/// # Errors
///
/// Writing to `out` failed.
pub fn write(out: &mut impl Write, run: &Run) -> io::Result<()> {
    begin(out, run)?;
    run.cases.iter().try_for_each(|result| case(out, result))?;
    end(out, run)
}

/// Reads all runs that were written one after the other. At most 256 MiB and 10 000 cases are taken in.
///
/// # Errors
///
/// [`ReadError`]: another format, no report, one that ends too early, or one whose numbers do not add up.
pub fn read(input: impl BufRead) -> Result<Vec<Run>, ReadError> {
    read_at_most(READ_LIMIT, input)
}

fn read_at_most(limit: u64, input: impl BufRead) -> Result<Vec<Run>, ReadError> {
    let mut runs: Vec<Run> = Vec::new();
    let mut open: Option<Run> = None;
    let mut cases = 0;
    let mut number = 0;
    let mut input = input.take(limit);
    let mut text = String::new();
    while input.read_line(&mut text).map_err(ReadError::Read)? > 0 {
        number += 1;
        if input.limit() == 0 {
            return Err(ReadError::TooLong);
        }
        match (parse(number, &text)?, open.take()) {
            (Line::Run(header), None) => open = Some(header.into_run()),
            (Line::Case(case), Some(mut run)) => {
                cases += 1;
                run.cases.push(case);
                open = Some(run);
            }
            (Line::Summary(summary), Some(run)) => runs.push(summary.complete(number, run)?),
            (Line::Run(_), Some(_)) | (_, None) => {
                return Err(ReadError::OutOfPlace { line: number });
            }
        }
        if cases > CASE_LIMIT {
            return Err(ReadError::TooLong);
        }
        text.clear();
    }
    match (open, runs.is_empty()) {
        (Some(_), _) => Err(ReadError::CutOff),
        (None, true) => Err(ReadError::Empty),
        (None, false) => Ok(runs),
    }
}

fn parse(line: usize, text: &str) -> Result<Line, ReadError> {
    let malformed = |source| ReadError::Malformed { line, source };
    let kind: Kind = serde_json::from_str(text).map_err(malformed)?;
    match kind.format {
        Some(format) if kind.event == "run" && format != FORMAT => {
            Err(ReadError::UnknownFormat { line, format })
        }
        _ => serde_json::from_str(text).map_err(malformed),
    }
}

/// JSON escapes only control characters below the space. Non-ASCII characters occur only in
/// strings, so each can be escaped.
fn write_line(out: &mut impl Write, line: &Line) -> io::Result<()> {
    let json = serde_json::to_string(line)?;
    let mut text = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        match character {
            ' '..='~' => text.push(character),
            _ if character.escape_debug().count() == 1 => text.push(character),
            _ => escape(&mut text, character),
        }
    }
    text.push('\n');
    out.write_all(text.as_bytes())
}

fn escape(text: &mut String, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\\u{unit:04x}");
    }
}

impl Header {
    fn of(run: &Run) -> Self {
        Self {
            format: FORMAT,
            suite: run.suite.clone(),
            subject: run.subject.clone(),
            role: run.role,
            command: run.command.clone(),
            machine: run.machine.clone(),
            started: run.started,
            seed: run.seed,
            strict: run.strict,
            allow_unimplemented: run.allow_unimplemented,
        }
    }

    fn into_run(self) -> Run {
        Run {
            format: self.format,
            suite: self.suite,
            subject: self.subject,
            role: self.role,
            command: self.command,
            machine: self.machine,
            started: self.started,
            took_ms: 0,
            seed: self.seed,
            strict: self.strict,
            allow_unimplemented: self.allow_unimplemented,
            strays: 0,
            cases: Vec::new(),
        }
    }
}

impl Summary {
    fn of(run: &Run) -> Self {
        let outcome = run.outcome();
        Self {
            counts: tally::present([run]).map(|verdict| (verdict, run.count(verdict))).collect(),
            total: run.cases.len(),
            took_ms: run.took_ms,
            strays: run.strays,
            outcome: tally::outcome(run).to_owned(),
            exit: outcome.code(),
        }
    }

    /// Returns the run with what only its end tells, if the cases before are those that it counted.
    fn complete(self, line: usize, mut run: Run) -> Result<Run, ReadError> {
        run.took_ms = self.took_ms;
        run.strays = self.strays;
        let read = Self::of(&run);
        match self.counts == read.counts && self.total == read.total {
            true => Ok(run),
            false => Err(ReadError::DoesNotAddUp { line }),
        }
    }
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The reason why a report was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The report ends before a run's summary: the run was interrupted, or the file is incomplete. Run again.
    #[error("the report ends before its summary: it is incomplete")]
    CutOff,
    /// The summary counts other cases than those above it: the file was changed, or is incomplete.
    #[error("line {line}: the summary counts other cases than those above it")]
    DoesNotAddUp {
        /// The number of the line, from 1.
        line: usize,
    },
    /// The report is empty.
    #[error("the report is empty")]
    Empty,
    /// The line does not belong to a report.
    #[error("line {line} does not belong to a report")]
    Malformed {
        /// The number of the line, from 1.
        line: usize,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// The line belongs to a report, but not here: a case outside a run, or a run within another.
    #[error("line {line} is out of place")]
    OutOfPlace {
        /// The number of the line, from 1.
        line: usize,
    },
    /// The report could not be read.
    #[error("the report cannot be read")]
    Read(#[source] io::Error),
    /// The report exceeds the limits for reading.
    #[error("the report exceeds {} MiB or {CASE_LIMIT} cases", READ_LIMIT / 1024 / 1024)]
    TooLong,
    /// The report has a format of another version of the suite. Use that version.
    #[error("line {line}: the report has format {format}, but only {FORMAT} is supported")]
    UnknownFormat {
        /// The number of the line, from 1.
        line: usize,
        /// The format that the line names.
        format: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_the_limit() {
        let endless = io::BufReader::new(io::repeat(b' '));
        assert!(matches!(read_at_most(1024, endless), Err(ReadError::TooLong)));
    }
}
