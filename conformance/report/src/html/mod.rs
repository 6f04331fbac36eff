//! One self-contained page: the matrix case × run, and below it what was seen in each case.
//!
//! The page contains no script, and its policy forbids any: text from a subject cannot become one
//! even if the escaping failed.

use std::fmt::Write as _;

use crate::look::{Tone, tone};
use crate::matrix::{Area, Matrix, Row, matrices};
use crate::model::{CaseResult, Event, Level, Outcome, Role, Run, Verdict};
use crate::tally;
use crate::text::{duration, line, lines, markup, moment, offset, plural};

const STYLE: &str = include_str!("page.css");
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Which cases get a section with their timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// The cases that did not simply pass.
    NotPassed,
    /// All of them. The page gets long.
    All,
}

impl Detail {
    fn includes(self, case: &CaseResult) -> bool {
        self == Self::All || case.verdict != Verdict::Pass
    }
}

/// Returns the page for these runs. Those of one role stand in one matrix.
pub fn page(runs: &[Run], detail: Detail) -> String {
    let matrices = matrices(runs);
    let mut html = String::new();
    let _ = write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>go-plugin conformance</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    header(&mut html, runs, &matrices);
    html.push_str("<main>\n");
    for matrix in &matrices {
        matrix_section(&mut html, matrix, detail);
    }
    for matrix in &matrices {
        case_sections(&mut html, matrix, detail);
    }
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

/// Neutral and escaped, in one line.
fn text(text: &str) -> String {
    markup(&line(text))
}

/// Neutral and escaped, with its line feeds, for where the style keeps them.
fn preformatted(text: &str) -> String {
    markup(&lines(text))
}

fn header(html: &mut String, runs: &[Run], matrices: &[Matrix<'_>]) {
    html.push_str("<header>\n<h1>go-plugin conformance</h1>\n");
    let mut suites: Vec<_> = runs.iter().map(|run| text(&run.suite)).collect();
    suites.dedup();
    let first = runs.iter().map(|run| run.started).min().map(moment).unwrap_or_default();
    let _ = writeln!(
        html,
        "<p class=\"about\">plugwire-conformance {} · {} · {first}</p>",
        suites.join(", "),
        plural(runs.len(), "run"),
    );
    html.push_str("<nav>");
    for matrix in matrices {
        let _ = write!(html, "<a href=\"#{0}\">As {0}</a> ", matrix.role);
    }
    html.push_str("</nav>\n");
    // Without a script: the style looks at which of them is checked.
    html.push_str(
        "<form class=\"filter\">\
         <label><input type=\"radio\" name=\"show\" checked> all cases</label> \
         <label><input type=\"radio\" name=\"show\" id=\"telling\"> only those that at least one did not pass</label>\
         </form>\n",
    );
    html.push_str("<dl class=\"legend\">\n");
    for verdict in tally::present(runs) {
        let _ = writeln!(
            html,
            "<div><dt>{} {verdict}</dt><dd>{}</dd></div>",
            verdict.symbol(),
            verdict.meaning()
        );
    }
    html.push_str("</dl>\n</header>\n");
}

fn matrix_section(html: &mut String, matrix: &Matrix<'_>, detail: Detail) {
    let role = matrix.role;
    let suite = match role {
        Role::Plugin => "The subjects are plugins; the suite is their host.",
        Role::Host => "The subjects are hosts; the suite is their plugin.",
    };
    let _ = writeln!(
        html,
        "<section id=\"{role}\">\n<h2>As {role}</h2>\n<p class=\"about\">{suite}</p>"
    );
    html.push_str("<div class=\"subjects\">\n");
    for run in &matrix.runs {
        subject(html, run);
    }
    html.push_str("</div>\n<div class=\"wide\">\n<table class=\"matrix\">\n<thead><tr><th>case</th><th>level</th>");
    for run in &matrix.runs {
        let _ = write!(html, "<th>{}</th>", text(&run.subject));
    }
    html.push_str("</tr></thead>\n");
    for area in &matrix.areas {
        area_rows(html, matrix, area, detail);
    }
    column_counts(html, matrix);
    html.push_str("</table>\n</div>\n</section>\n");
}

/// The outcome of one run.
fn subject(html: &mut String, run: &Run) {
    let class = match run.outcome() {
        Outcome::Conformant => "good",
        Outcome::NotConformant => "bad",
        _ => "broken",
    };
    let command = run.command.iter().map(|word| text(word)).collect::<Vec<_>>().join(" ");
    let seed = run.seed.map(|seed| format!(", shuffled with seed {seed}")).unwrap_or_default();
    let _ = write!(
        html,
        "<article class=\"subject\">\n<h3>{}</h3>\n<p class=\"{class}\"><strong>{}</strong></p>\n<ul>",
        text(&run.subject),
        tally::outcome(run),
    );
    for reason in tally::reasons(run) {
        let _ = write!(html, "<li>{reason}</li>");
    }
    html.push_str("</ul>\n");
    bar(html, run);
    let _ = writeln!(html, "<p>{}</p>", tally::counts(run));
    if let Some(strict) = tally::strict(run) {
        let _ = writeln!(html, "<p class=\"about\">{strict}</p>");
    }
    let _ = writeln!(
        html,
        "<p class=\"about\"><code>{command}</code><br>{}, {}, {}{seed}</p>\n</article>",
        text(&run.machine),
        moment(run.started),
        duration(run.took_ms),
    );
}

/// The counts as lengths, with labels beside them.
fn bar(html: &mut String, run: &Run) {
    html.push_str("<div class=\"bar\" aria-hidden=\"true\">");
    for shown in [Tone::Good, Tone::Mild, Tone::Bad, Tone::Broken, Tone::Quiet] {
        let count = run.cases.iter().filter(|case| tone(run, case) == shown).count();
        if count > 0 {
            let _ = write!(html, "<i class=\"{}\" style=\"flex-grow:{count}\"></i>", class(shown));
        }
    }
    html.push_str("</div>\n");
}

fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Mild => "mild",
        Tone::Bad => "bad",
        Tone::Quiet => "quiet",
        Tone::Broken => "broken",
    }
}

fn area_rows(html: &mut String, matrix: &Matrix<'_>, area: &Area<'_>, detail: Detail) {
    let columns = matrix.runs.len() + 2;
    let calm = if area.rows.iter().all(all_passed) { " class=\"calm\"" } else { "" };
    let name = text(area.name);
    let _ = writeln!(
        html,
        "<tbody{calm}>\n<tr class=\"area\"><th colspan=\"{columns}\" scope=\"rowgroup\">{name}</th></tr>"
    );
    for row in &area.rows {
        let calm = if all_passed(row) { " class=\"calm\"" } else { "" };
        let name = text(row.case.name());
        let name = match is_detailed(row, detail) {
            true => format!("<a href=\"#{}\">{name}</a>", anchor(row.case)),
            false => name,
        };
        let _ = write!(
            html,
            "<tr{calm}><th scope=\"row\">{name}<span class=\"requirement\">{}</span></th><td>{}</td>",
            text(&row.case.bounded().requirement),
            badge(row.case.level),
        );
        for (run, cell) in matrix.runs.iter().zip(&row.cells) {
            html.push_str(&verdict_cell(run, *cell, detail));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n");
}

fn verdict_cell(run: &Run, cell: Option<&CaseResult>, detail: Detail) -> String {
    let Some(case) = cell else {
        return "<td class=\"absent\">not run</td>".to_owned();
    };
    let verdict = format!("<b>{}</b> {}", case.verdict.symbol(), case.verdict);
    let verdict = match detail.includes(case) {
        true => format!("<a href=\"#{}\">{verdict}</a>", anchor(case)),
        false => verdict,
    };
    format!("<td class=\"{}\">{verdict}</td>", class(tone(run, case)))
}

fn column_counts(html: &mut String, matrix: &Matrix<'_>) {
    html.push_str("<tfoot>\n");
    for verdict in tally::present(matrix.runs.iter().copied()) {
        let _ = write!(html, "<tr><th scope=\"row\">{} {verdict}</th><td></td>", verdict.symbol());
        for run in &matrix.runs {
            let _ = write!(html, "<td>{}</td>", run.count(verdict));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("<tr class=\"total\"><th scope=\"row\">all cases</th><td></td>");
    for run in &matrix.runs {
        let _ = write!(html, "<td>{}</td>", run.cases.len());
    }
    html.push_str("</tr>\n</tfoot>\n");
}

fn all_passed(row: &Row<'_>) -> bool {
    row.cells.iter().flatten().all(|case| case.verdict == Verdict::Pass)
}

fn is_detailed(row: &Row<'_>, detail: Detail) -> bool {
    row.cells.iter().flatten().any(|case| detail.includes(case))
}

/// Stable, so that a link to a case's section outlives the page.
fn anchor(case: &CaseResult) -> String {
    let plain = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '/' | '-' | '_' | '.' => character,
        _ => '-',
    };
    let id: String = case.id.chars().take(200).map(plain).collect();
    format!("{}/{id}", case.role)
}

fn badge(level: Level) -> String {
    format!("<span class=\"level\">{level}</span>")
}

fn case_sections(html: &mut String, matrix: &Matrix<'_>, detail: Detail) {
    let rows: Vec<_> = matrix
        .areas
        .iter()
        .flat_map(|area| &area.rows)
        .filter(|row| is_detailed(row, detail))
        .collect();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(html, "<section>\n<h2>Cases, as {}</h2>", matrix.role);
    for row in rows {
        case_section(html, matrix, row, detail);
    }
    html.push_str("</section>\n");
}

/// What the case requires, then the result of each run.
fn case_section(html: &mut String, matrix: &Matrix<'_>, row: &Row<'_>, detail: Detail) {
    let case = row.case.bounded();
    let _ = write!(
        html,
        "<article class=\"case\" id=\"{}\">\n<h3>{}</h3>\n<p>{} {}</p>\n<dl>\n",
        anchor(&case),
        text(&case.id),
        badge(case.level),
        text(&case.requirement),
    );
    field(html, "why", &case.why);
    field(html, "clause", &case.clauses.join(", "));
    field(html, "tier", &case.tier);
    html.push_str("</dl>\n");
    for (run, result) in matrix.runs.iter().zip(&row.cells) {
        if let Some(result) = result.filter(|result| detail.includes(result)) {
            result_section(html, run, &result.bounded());
        }
    }
    html.push_str("</article>\n");
}

fn result_section(html: &mut String, run: &Run, case: &CaseResult) {
    let _ = write!(
        html,
        "<div class=\"result\">\n<h4>{} <span class=\"verdict {}\">{} {}</span> <small>{}</small></h4>\n<dl>\n",
        text(&run.subject),
        class(tone(run, case)),
        case.verdict.symbol(),
        case.verdict,
        duration(case.took_ms),
    );
    if let Some(finding) = &case.finding {
        field(html, "expected", &finding.expected);
        field(html, "actual", &finding.actual);
        field(html, "step", &finding.step);
    }
    for note in &case.notes {
        field(html, "note", note);
    }
    field(html, "replay", case.replay.as_deref().unwrap_or_default());
    html.push_str("</dl>\n");
    timeline(html, case);
    html.push_str("</div>\n");
}

fn field(html: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        let _ = writeln!(html, "<div><dt>{name}</dt><dd>{}</dd></div>", preformatted(value));
    }
}

/// Open if something went wrong, since that is what the reader looks for.
fn timeline(html: &mut String, case: &CaseResult) {
    if case.timeline.is_empty() {
        return;
    }
    let open =
        if case.verdict.is_failure() || case.verdict == Verdict::Error { " open" } else { "" };
    let events = plural(case.timeline.len(), "event");
    let _ = writeln!(
        html,
        "<details{open}>\n<summary>timeline, {events}</summary>\n<table class=\"timeline\">"
    );
    for Event { at_us, source, text: what } in &case.timeline {
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            offset(*at_us),
            text(source),
            preformatted(what)
        );
    }
    html.push_str("</table>\n</details>\n");
}
