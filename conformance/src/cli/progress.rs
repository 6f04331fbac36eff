//! Progress on standard error: a line that is overwritten on a terminal; elsewhere only slow cases.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::time::{Duration, Instant};

use plugwire_conformance_report::model::Verdict;
use plugwire_conformance_report::terminal::Style;

use super::args::Color;
use crate::engine::Progress;
use crate::trust::Tried;

/// The interval of messages without a terminal.
const EVERY: Duration = Duration::from_secs(10);
/// The length of the line that is overwritten.
const WIDTH: usize = 76;

/// What has been told.
pub(super) struct Shown {
    quiet: bool,
    terminal: bool,
    failed: usize,
    last: Instant,
}

impl Shown {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, terminal: stderr().is_terminal(), failed: 0, last: Instant::now() }
    }

    /// Prints it. A missing reader is no reason to end a run.
    pub(super) fn tell(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::Slow(name) => {
                self.line(&format!("slow: {name} has used up half of its time"));
            }
            Progress::Done(case, done, total) => {
                let failed = case.verdict.is_failure() || case.verdict == Verdict::Error;
                self.failed += usize::from(failed);
                self.over(&format!("{done}/{total}, {} failed, {}", self.failed, case.id));
            }
        }
    }

    /// Tells of a mutant.
    pub(super) fn tell_tried(&mut self, tried: &Tried<'_>) {
        self.failed += usize::from(!tried.cell.is_good());
        let Tried { cell, done, total } = tried;
        let alive = self.failed;
        self.over(&format!("{}s: {done}/{total}, {alive} wrong, {}", cell.role, cell.case));
    }

    /// Overwrites the last line.
    fn over(&mut self, line: &str) {
        if self.quiet {
            return;
        }
        if self.terminal {
            let line: String = line.chars().take(WIDTH).collect();
            let _ = write!(stderr(), "\r\x1b[K{line}");
            let _ = stderr().flush();
        } else if self.last.elapsed() > EVERY {
            self.last = Instant::now();
            let _ = writeln!(stderr(), "{line}");
        }
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(stderr(), "{}{text}", if self.terminal { "\r\x1b[K" } else { "" });
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if self.terminal && !self.quiet {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

/// Returns whether there is colour.
pub(super) fn style(color: Color) -> Style {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match color {
        Color::Always => Style::coloured(),
        Color::Auto if stdout().is_terminal() && !no_color => Style::coloured(),
        Color::Auto | Color::Never => Style::plain(),
    }
}

/// Returns the width for texts: the terminal's, within what is good to read.
pub(super) fn width() -> usize {
    let columns =
        rustix::termios::tcgetwinsize(stdout()).map_or(100, |size| usize::from(size.ws_col));
    columns.clamp(60, 110)
}
