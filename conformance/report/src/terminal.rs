//! The report for people: the result of each area, the failures in detail, and the verdict last,
//! where the eye is.

use std::fmt::Write as _;

use crate::look::{Tone, telling, tone};
use crate::matrix;
use crate::model::{CaseResult, Event, Run, Verdict};
use crate::tally;
use crate::text::{duration, line, lines, moment, offset, plural, wrap};

/// The number of a timeline's last events that are shown.
const EVENTS: usize = 24;
/// How many lines are shown of one event, and of each text of a finding.
const LINES: usize = 8;

/// Colours, or none. Whether they are wanted (`--color`, `NO_COLOR`, no terminal) is the caller's to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    coloured: bool,
}

impl Style {
    /// No escape sequences at all.
    pub fn plain() -> Self {
        Self { coloured: false }
    }

    /// ANSI colours, of the terminal's own palette.
    pub fn coloured() -> Self {
        Self { coloured: true }
    }

    fn paint(self, tone: Tone, text: impl std::fmt::Display) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Mild => "33",
            Tone::Bad => "1;31",
            Tone::Quiet => "2",
            Tone::Broken => "1;35",
        };
        self.sgr(code, text)
    }

    fn dim(self, text: impl std::fmt::Display) -> String {
        self.sgr("2", text)
    }

    fn strong(self, text: impl std::fmt::Display) -> String {
        self.sgr("1", text)
    }

    fn sgr(self, code: &str, text: impl std::fmt::Display) -> String {
        match self.coloured {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }
}

/// Returns the whole report of one run, for a terminal of `width` columns; it is kept between 40 and 120 of them.
pub fn report(run: &Run, style: Style, width: usize) -> String {
    let page = Page { run, style, width: width.clamp(40, 120) };
    let mut text = page.head();
    text.push_str(&page.areas());
    for case in run.cases.iter().filter(|case| is_told_in_full(case)) {
        text.push('\n');
        text.push_str(&page.case(case));
    }
    text.push('\n');
    text.push_str(&page.foot());
    text
}

/// Returns one case in full, as [`report`] shows failures, for output during the run.
pub fn case(run: &Run, case: &CaseResult, style: Style, width: usize) -> String {
    Page { run, style, width: width.clamp(40, 120) }.case(case)
}

/// Returns whether a case is shown in full; the others fit into one line of their area.
fn is_told_in_full(case: &CaseResult) -> bool {
    case.verdict.is_failure() || case.verdict == Verdict::Error
}

struct Page<'a> {
    run: &'a Run,
    style: Style,
    width: usize,
}

impl Page<'_> {
    fn head(&self) -> String {
        let run = self.run;
        let subject = self.style.strong(line(&run.subject));
        let command = run.command.iter().map(|word| line(word)).collect::<Vec<_>>().join(" ");
        let order = run.seed.map(|seed| format!(", shuffled with seed {seed}")).unwrap_or_default();
        let about = format!(
            "plugwire-conformance {}, {}, {}\n{}{order}",
            line(&run.suite),
            line(&run.machine),
            moment(run.started),
            plural(run.cases.len(), "case"),
        );
        let mut text = format!("{subject} as {}\n", run.role);
        for part in [command, about] {
            for wrapped in wrap(&part, self.width) {
                let _ = writeln!(text, "{}", self.style.dim(wrapped));
            }
        }
        text.push('\n');
        text
    }

    /// Returns a line for each area, and below it what is worth a line.
    fn areas(&self) -> String {
        let areas = matrix::areas(&[self.run]);
        let names = areas.iter().map(|area| line(area.name).chars().count());
        let column = names.max().unwrap_or(0).min(24);
        let mut text = String::new();
        for area in &areas {
            // All of the run's, not the matrix's one cell: a case may have run several times.
            let cases: Vec<_> =
                self.run.cases.iter().filter(|case| case.area() == area.name).collect();
            let Some(verdict) = telling(self.run, cases.iter().copied()) else {
                continue;
            };
            let symbol = self.style.paint(tone(self.run, verdict), verdict.verdict.symbol());
            let name = line(area.name);
            let _ = writeln!(text, "{symbol} {name:column$}  {}", self.area_counts(&cases));
            text.push_str(&self.remarks(&cases));
        }
        text
    }

    fn area_counts(&self, cases: &[&CaseResult]) -> String {
        let mut counts = Vec::new();
        for verdict in Verdict::ALL {
            let of_it: Vec<_> = cases.iter().filter(|case| case.verdict == verdict).collect();
            let Some(first) = of_it.iter().max_by_key(|case| self.run.counts_against(case)) else {
                continue;
            };
            let count = format!("{} {verdict}", of_it.len());
            counts.push(self.style.paint(tone(self.run, first), count));
        }
        counts.join(", ")
    }

    /// Returns what neither passed nor is told in full below: each with its first note, and together what has the same note.
    fn remarks(&self, cases: &[&CaseResult]) -> String {
        let mut groups: Vec<(&CaseResult, Vec<String>)> = Vec::new();
        for case in cases.iter().filter(|case| case.verdict != Verdict::Pass) {
            let same = |group: &&mut (&CaseResult, _)| {
                let first = group.0;
                first.verdict == case.verdict && first.notes.first() == case.notes.first()
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.1.push(line(case.name())),
                None => groups.push((case, vec![line(case.name())])),
            }
        }
        let mut text = String::new();
        for (case, names) in groups.into_iter().filter(|(case, _)| !is_told_in_full(case)) {
            let symbol = case.verdict.symbol();
            let why = case.bounded().notes.first().map(|note| format!(": {}", line(note)));
            let remark =
                format!("{} {}{}", case.verdict, names.join(", "), why.unwrap_or_default());
            let lines = clipped(wrap(&remark, self.width - 6), LINES);
            for (index, part) in lines.into_iter().enumerate() {
                let lead = if index == 0 { symbol } else { ' ' };
                let lead = self.style.paint(tone(self.run, case), lead);
                let _ = writeln!(text, "    {lead} {}", self.style.dim(part));
            }
        }
        text
    }

    fn case(&self, case: &CaseResult) -> String {
        let case = &case.bounded();
        let verdict = format!("{} {}", case.verdict.symbol(), case.verdict);
        let mut text = format!(
            "{}  {}  {}\n",
            self.style.paint(tone(self.run, case), verdict),
            self.style.strong(line(&case.id)),
            self.style.dim(format!(
                "{}, {}, {}",
                case.level,
                line(&case.tier),
                duration(case.took_ms)
            )),
        );
        for part in wrap(&line(&case.requirement), self.width - 2) {
            let _ = writeln!(text, "  {part}");
        }
        text.push('\n');
        if let Some(finding) = &case.finding {
            text.push_str(&self.field("expected", &finding.expected));
            text.push_str(&self.field("actual", &finding.actual));
            text.push_str(&self.field("step", &finding.step));
        }
        text.push_str(&self.field("clause", &case.clauses.join(", ")));
        text.push_str(&self.field("why", &case.why));
        for note in &case.notes {
            text.push_str(&self.field("note", note));
        }
        text.push_str(&self.timeline(&case.timeline));
        text.push('\n');
        text.push_str(&self.field("explain", &format!("plugwire-conformance explain {}", case.id)));
        text.push_str(&self.field("replay", case.replay.as_deref().unwrap_or_default()));
        text
    }

    /// Writes `name  text`, with further lines below the text. Writes nothing without a text.
    fn field(&self, name: &str, text: &str) -> String {
        const COLUMN: usize = 10;
        if text.is_empty() {
            return String::new();
        }
        let mut field = String::new();
        let parts = clipped(wrap(&lines(text), self.width - COLUMN - 2), LINES);
        for (index, part) in parts.into_iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            let name = self.style.dim(format_args!("{name:>COLUMN$}"));
            let _ = writeln!(field, "{name}  {part}");
        }
        field
    }

    fn timeline(&self, events: &[Event]) -> String {
        if events.is_empty() {
            return String::new();
        }
        let earlier = events.len().saturating_sub(EVENTS);
        let mut text = String::from("\n");
        if earlier > 0 {
            let remark = format!(
                "  … {} before these; a JSON lines report has them",
                plural(earlier, "event")
            );
            let _ = writeln!(text, "{}", self.style.dim(remark));
        }
        for event in &events[earlier..] {
            let at = format!("{:>12} ms", offset(event.at_us));
            let mut lead = format!("{}  {:<8}", self.style.dim(at), line(&event.source));
            for part in clipped(wrap(&lines(&event.text), self.width - 26), LINES) {
                let _ = writeln!(text, "{lead} {part}");
                lead = " ".repeat(25);
            }
        }
        text
    }

    fn foot(&self) -> String {
        let run = self.run;
        let tone = telling(run, &run.cases).map_or(Tone::Broken, |case| tone(run, case));
        let verdict = tally::sentence(run);
        let counts = format!("{}, in {}", tally::counts(run), duration(run.took_ms));
        let mut text = String::new();
        for part in wrap(&counts, self.width) {
            let _ = writeln!(text, "{part}");
        }
        for part in wrap(&verdict, self.width) {
            let _ = writeln!(text, "{}", self.style.paint(tone, part));
        }
        for part in tally::strict(run).iter().flat_map(|strict| wrap(strict, self.width)) {
            let _ = writeln!(text, "{}", self.style.dim(part));
        }
        text
    }
}

/// Returns the first lines and the last: what is between them is counted.
fn clipped(mut lines: Vec<String>, limit: usize) -> Vec<String> {
    if lines.len() > limit {
        let (head, tail) = (limit / 2, limit - limit / 2 - 1);
        let left_out = lines.len() - head - tail;
        lines.splice(head..lines.len() - tail, [format!("[…{left_out} lines left out…]")]);
    }
    lines
}
