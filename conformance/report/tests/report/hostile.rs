//! Checks that no text of a subject controls the viewer of the report or passes for a line of it.

use plugwire_conformance_report::html::{self, Detail};
use plugwire_conformance_report::terminal::{self, Style};
use plugwire_conformance_report::{jsonl, junit, markdown};

use crate::fixture::{self, HOSTILE};
use crate::markup;

/// Control characters but for the line feed, what is invisible, and what changes the direction of text.
fn is_dangerous(character: char) -> bool {
    let invisible = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}' | '\u{fffe}');
    character != '\n' && (character.is_control() || invisible)
}

#[test]
fn the_fixture_is_dangerous() {
    assert!(HOSTILE.chars().filter(|character| is_dangerous(*character)).count() >= 9);
}

#[test]
fn no_form_lets_a_dangerous_character_through() {
    let runs = fixture::runs();
    let mut lines = Vec::new();
    let mut forms = vec![
        ("junit", junit::document(&runs)),
        ("html", html::page(&runs, Detail::All)),
        ("markdown", markdown::matrix(&runs)),
    ];
    for run in &runs {
        jsonl::write(&mut lines, run).expect("a vector takes everything");
    }
    forms.push(("jsonl", String::from_utf8(lines).expect("JSON is UTF-8")));
    let terminals = runs.iter().map(|run| terminal::report(run, Style::plain(), 80));
    forms.push(("terminal", terminals.collect()));
    for (form, text) in forms {
        assert!(text.contains("owned"), "{form}: the subject's text is there");
        let found = text.chars().find(|character| is_dangerous(*character));
        assert_eq!(found, None, "{form}");
    }
}

#[test]
fn the_only_escapes_of_a_coloured_report_are_its_own() {
    for run in fixture::runs() {
        let mut report = terminal::report(&run, Style::coloured(), 80);
        for code in ["0", "1", "2", "32", "33", "1;31", "1;35"] {
            report = report.replace(&format!("\x1b[{code}m"), "");
        }
        // Without its colours it is the plain one.
        assert_eq!(report, terminal::report(&run, Style::plain(), 80));
    }
}

#[test]
fn a_subject_cannot_forge_a_line_of_the_report() {
    let report = terminal::report(&fixture::runs()[1], Style::plain(), 80);
    assert!(report.contains("✓ handshake  conformant"), "the forged line is shown");
    assert!(
        report.lines().all(|line| !line.starts_with("✓ handshake")),
        "but indented or within a line"
    );
}

#[test]
fn the_page_holds_no_script_and_loads_nothing() {
    let runs = fixture::runs();
    for detail in [Detail::NotPassed, Detail::All] {
        assert!(html::page(&runs, detail).contains("&lt;script&gt;alert(1)"), "it is shown");
        let page = markup::page(&html::page(&runs, detail));
        for element in ["script", "link", "img", "iframe", "object", "base"] {
            assert!(page.all(element).is_empty(), "{element}");
        }
        assert!(page.all("a").iter().all(|link| link.attribute("href").starts_with('#')));
        let policy = page.all("meta")[1].attribute("content");
        assert!(policy.starts_with("default-src 'none'; style-src 'unsafe-inline';"), "{policy}");
    }
    assert!(!include_str!("../../src/html/page.css").contains("url("));
}

#[test]
fn every_link_of_the_page_leads_somewhere_and_to_one_place() {
    for detail in [Detail::NotPassed, Detail::All] {
        let page = html::page(&fixture::runs(), detail);
        for link in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert_eq!(page.matches(&format!("id=\"{link}\"")).count(), 1, "{link}");
        }
    }
}
