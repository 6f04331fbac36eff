//! Every form of the report, byte for byte, as it is checked in under `golden/`.
//!
//! `PLUGWIRE_BLESS=1 cargo test -p plugwire-conformance-report golden` writes the files again. Then look at them.

use std::path::Path;
use std::{env, fs};

use plugwire_conformance_report::html::{self, Detail};
use plugwire_conformance_report::terminal::{self, Style};
use plugwire_conformance_report::{jsonl, junit, markdown};

use crate::fixture;

fn is_as_checked_in(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if env::var_os("PLUGWIRE_BLESS").is_some() {
        fs::write(&path, text).expect("the golden file is written");
    }
    let golden = fs::read_to_string(&path).expect("the golden file is there");
    // Not assert_eq: it would print both texts in one line each.
    let differs = golden.lines().zip(text.lines()).position(|(golden, text)| golden != text);
    if let Some(index) = differs {
        let line = |text: &str| text.lines().nth(index).unwrap_or_default().to_owned();
        panic!(
            "{name}:{}:\n  checked in {:?}\n  written    {:?}",
            index + 1,
            line(&golden),
            line(text)
        );
    }
    assert!(golden == text, "{name}: one of them is longer, or line ends differ");
}

#[test]
fn terminal_without_colours() {
    let reports: Vec<_> =
        fixture::runs().iter().map(|run| terminal::report(run, Style::plain(), 100)).collect();
    is_as_checked_in("terminal.txt", &reports.join("\n\n"));
}

#[test]
fn terminal_with_colours() {
    let report = terminal::report(&fixture::runs()[0], Style::coloured(), 100);
    is_as_checked_in("terminal-colour.txt", &report);
}

#[test]
fn narrow_terminal() {
    is_as_checked_in(
        "terminal-narrow.txt",
        &terminal::report(&fixture::runs()[0], Style::plain(), 48),
    );
}

#[test]
fn json_lines() {
    let mut written = Vec::new();
    for run in fixture::runs() {
        jsonl::write(&mut written, &run).expect("a vector takes everything");
    }
    is_as_checked_in("report.jsonl", &String::from_utf8(written).expect("JSON is UTF-8"));
}

#[test]
fn junit_xml() {
    is_as_checked_in("junit.xml", &junit::document(&fixture::runs()));
}

#[test]
fn html_page() {
    is_as_checked_in("page.html", &html::page(&fixture::runs(), Detail::NotPassed));
}

#[test]
fn html_page_with_all_cases() {
    is_as_checked_in("page-all.html", &html::page(&fixture::runs()[2..], Detail::All));
}

#[test]
fn markdown_table() {
    is_as_checked_in("matrix.md", &markdown::matrix(&fixture::runs()));
}
