//! The matrix as a table for documentation: which case fares how in which run.

use std::fmt::Write as _;

use crate::matrix::{Matrix, Row, matrices};
use crate::model::Run;
use crate::tally;
use crate::text::line;

/// Returns a table for each role: a row for each case, a column for each run, below them the counts.
pub fn matrix(runs: &[Run]) -> String {
    matrices(runs).iter().map(table).collect::<Vec<_>>().join("\n")
}

fn table(matrix: &Matrix<'_>) -> String {
    let mut text = format!("### As {}\n\n", matrix.role);
    let subjects = matrix.runs.iter().map(|run| inline(&run.subject));
    write_row(&mut text, ["case".to_owned(), "level".to_owned()].into_iter().chain(subjects));
    let columns = matrix.runs.len() + 2;
    let _ = writeln!(text, "|{}", "---|".repeat(columns));
    for row in matrix.areas.iter().flat_map(|area| &area.rows) {
        write_row(&mut text, cells(row));
    }
    for verdict in tally::present(matrix.runs.iter().copied()) {
        let counts = matrix.runs.iter().map(|run| run.count(verdict).to_string());
        let name = format!("**{} {verdict}**", verdict.symbol());
        write_row(&mut text, [name, String::new()].into_iter().chain(counts));
    }
    let totals = matrix.runs.iter().map(|run| format!("**{}**", run.cases.len()));
    write_row(&mut text, ["**cases**".to_owned(), String::new()].into_iter().chain(totals));
    let outcomes = matrix.runs.iter().map(|run| tally::outcome(run).to_owned());
    write_row(&mut text, ["**outcome**".to_owned(), String::new()].into_iter().chain(outcomes));
    text
}

fn cells(row: &Row<'_>) -> impl Iterator<Item = String> {
    let verdicts = row.cells.iter().map(|cell| match cell {
        Some(case) => format!("{} {}", case.verdict.symbol(), case.verdict),
        None => String::new(),
    });
    [inline(&row.case.id), row.case.level.to_string()].into_iter().chain(verdicts)
}

fn write_row(text: &mut String, cells: impl Iterator<Item = String>) {
    let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
}

/// Text that neither ends its cell nor counts as markup.
fn inline(text: &str) -> String {
    let mut escaped = String::new();
    for character in line(text).chars() {
        if character.is_ascii_punctuation() && !matches!(character, '/' | '-' | '.' | ',') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
