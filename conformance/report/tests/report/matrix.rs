//! The matrix in the page and in the table.

use plugwire_conformance_report::html::{self, Detail};
use plugwire_conformance_report::markdown;
use plugwire_conformance_report::model::{Level, Role, Verdict};

use crate::fixture::{self, case, run};
use crate::markup;

#[test]
fn the_columns_of_the_table_add_up() {
    let table = markdown::matrix(&fixture::runs());
    // The columns of the three plugins, and of the host.
    for (table, totals) in table.split("\n\n### ").zip([[13, 3, 4].as_slice(), &[2]]) {
        let mut sums = vec![0; totals.len()];
        for row in table.lines().filter(|line| line.starts_with("| **")) {
            let cells: Vec<_> = row.trim_matches(['|', ' ']).split(" | ").skip(2).collect();
            assert_eq!(cells.len(), totals.len(), "{row}");
            match row.split("**").nth(1) {
                Some("outcome") => {}
                Some("cases") => {
                    let wanted = totals.iter().map(|total| format!("**{total}**"));
                    assert_eq!(cells, wanted.collect::<Vec<_>>());
                }
                _ => {
                    for (sum, cell) in sums.iter_mut().zip(cells) {
                        *sum += cell.parse::<usize>().expect("a count");
                    }
                }
            }
        }
        assert_eq!(sums, totals);
    }
}

#[test]
fn the_columns_of_the_page_add_up() {
    let page = markup::page(&html::page(&fixture::runs(), Detail::NotPassed));
    let mut totals = Vec::new();
    for foot in page.all("tfoot") {
        let rows: Vec<Vec<usize>> = foot
            .all("tr")
            .iter()
            .map(|row| row.all("td").iter().filter_map(|cell| cell.text.parse().ok()).collect())
            .collect();
        let (total, counts) = rows.split_last().expect("the total is last");
        for (column, total) in total.iter().enumerate() {
            assert_eq!(counts.iter().map(|row| row[column]).sum::<usize>(), *total);
        }
        totals.extend(total.iter().copied());
    }
    assert_eq!(totals, [13, 3, 4, 2]);
}

#[test]
fn of_several_rounds_the_worst_is_shown() {
    let rounds = |level, verdicts: &[Verdict]| {
        let rounds = verdicts.iter().map(|verdict| case("area/name", level, *verdict));
        let table = markdown::matrix(&[run("subject", Role::Plugin, rounds.collect())]);
        let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| area")).collect();
        assert_eq!(rows.len(), 1);
        rows[0].rsplit(" | ").next().unwrap_or_default().to_owned()
    };
    use Verdict::{Crash, Error, Fail, NonStrict, Pass, Skip};
    assert_eq!(rounds(Level::Must, &[Pass, NonStrict, Pass]), "≈ non-strict |");
    assert_eq!(rounds(Level::Must, &[NonStrict, Fail, Pass]), "✗ fail |");
    assert_eq!(rounds(Level::Should, &[NonStrict, Crash, Pass]), "↯ crash |");
    assert_eq!(rounds(Level::Must, &[Fail, Error]), "‼ error |");
    assert_eq!(rounds(Level::Must, &[Skip, Pass]), "✓ pass |");
}

#[test]
fn what_only_a_later_run_has_stands_with_its_area() {
    let first =
        [case("a/one", Level::Must, Verdict::Pass), case("b/one", Level::Must, Verdict::Pass)];
    let second =
        [case("c/one", Level::Must, Verdict::Pass), case("a/two", Level::Must, Verdict::Fail)];
    let runs = [run("x", Role::Plugin, first.to_vec()), run("y", Role::Plugin, second.to_vec())];
    let table = markdown::matrix(&runs);
    let rows: Vec<_> =
        table.lines().filter(|line| line.contains("one") || line.contains("two")).collect();
    assert_eq!(
        rows,
        [
            "| a/one | must | ✓ pass |  |",
            "| a/two | must |  | ✗ fail |",
            "| b/one | must | ✓ pass |  |",
            "| c/one | must |  | ✓ pass |",
        ]
    );
}

#[test]
fn a_subject_ends_no_cell_of_the_table() {
    let table = markdown::matrix(&fixture::runs()[..3]);
    assert!(table.contains("owned"), "the hostile subject is a column");
    for row in table.lines().filter(|line| line.starts_with('|')) {
        // An escaped bar is not a border.
        let borders = row.replace(r"\\", "").replace(r"\|", "").matches('|').count();
        assert_eq!(borders, 6, "{row}");
    }
}
