//! Checks that the cases are complete: every line of the catalogue has a case, every MUST of the
//! specification has a case or a reason, and `docs/conformance-coverage.md` lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use plugwire_conformance::case::Header;
use plugwire_conformance::catalogue;
use plugwire_conformance_report::model::Role;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The lines of the catalogue in `cases/catalogue.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lines {
    plugin: Vec<String>,
    host: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Uncovered {
    uncovered: Vec<Reason>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    clauses: Vec<String>,
    reason: String,
}

/// A clause of the specification.
struct Clause {
    number: String,
    /// The role and the level: `host, MUST`.
    kind: String,
}

impl Clause {
    fn is_must(&self) -> bool {
        self.kind.contains("MUST")
    }
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let text = fs::read_to_string(folder().join("cases").join(name)).unwrap();
    toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn headers(role: Role) -> Vec<Header> {
    let plugins = || catalogue::plugin(None).unwrap().cases.into_iter().map(|case| case.header);
    let hosts = || catalogue::host(None).unwrap().cases.into_iter().map(|case| case.header);
    match role {
        Role::Plugin => plugins().collect(),
        Role::Host => hosts().collect(),
    }
}

/// Clauses begin a paragraph: `**HS-1** (plugin, MUST). …`
fn clauses() -> Vec<Clause> {
    let text = fs::read_to_string(folder().join("../docs/spec.md")).unwrap();
    let clause = |line: &str| {
        let (number, rest) = line.strip_prefix("**")?.split_once("** (")?;
        let (kind, _) = rest.split_once(')')?;
        Some(Clause { number: number.to_owned(), kind: kind.to_owned() })
    };
    let clauses: Vec<Clause> = text.lines().filter_map(clause).collect();
    assert!(clauses.len() > 150, "only {} clauses were found", clauses.len());
    clauses
}

/// Returns the cases that cite a clause, by its number.
fn cited() -> BTreeMap<String, Vec<String>> {
    let mut cited: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for role in [Role::Plugin, Role::Host] {
        for header in headers(role) {
            for clause in header.clause {
                cited.entry(clause).or_default().push(format!("{role}:{}", header.id));
            }
        }
    }
    cited
}

#[test]
fn every_line_of_the_catalogue_has_a_case() {
    let lines: Lines = read("catalogue.toml");
    for (role, lines) in [(Role::Plugin, lines.plugin), (Role::Host, lines.host)] {
        let wanted: BTreeSet<String> = lines.iter().cloned().collect();
        assert_eq!(wanted.len(), lines.len(), "a line stands twice");
        let covered: BTreeSet<String> =
            headers(role).into_iter().flat_map(|header| header.catalogue).collect();
        let missing: Vec<_> = wanted.difference(&covered).collect();
        let unknown: Vec<_> = covered.difference(&wanted).collect();
        assert!(missing.is_empty(), "no {role} case covers {missing:?}");
        assert!(unknown.is_empty(), "{role} cases name {unknown:?}, which are no lines");
    }
}

#[test]
fn every_must_has_a_case_or_a_reason() {
    let (clauses, cited) = (clauses(), cited());
    let known: BTreeMap<&str, &Clause> =
        clauses.iter().map(|clause| (clause.number.as_str(), clause)).collect();
    assert_eq!(known.len(), clauses.len(), "a number stands twice");
    for (number, cases) in &cited {
        assert!(known.contains_key(number.as_str()), "{cases:?} cite {number}, which is no clause");
    }
    let mut excused = BTreeSet::new();
    for Reason { clauses, reason } in read::<Uncovered>("uncovered.toml").uncovered {
        assert!(!reason.trim().is_empty(), "{clauses:?} have no reason");
        for number in clauses {
            assert!(known.contains_key(number.as_str()), "{number} is no clause");
            assert!(!cited.contains_key(&number), "{number} has a case, and needs no reason");
            assert!(excused.insert(number.clone()), "{number} has two reasons");
        }
    }
    let bare = clauses.iter().filter(|clause| clause.is_must()).map(|clause| &clause.number);
    let bare: Vec<_> =
        bare.filter(|number| !cited.contains_key(*number) && !excused.contains(*number)).collect();
    assert!(bare.is_empty(), "neither a case nor a reason: {bare:?}");
}

#[test]
fn the_coverage_that_is_checked_in_is_current() {
    let file: PathBuf = folder().join("../docs/conformance-coverage.md");
    let current = coverage();
    if std::env::var_os("PLUGWIRE_BLESS").is_some() {
        fs::write(&file, &current).unwrap();
    }
    let checked_in = fs::read_to_string(&file).unwrap_or_default();
    assert!(checked_in == current, "{} differs: PLUGWIRE_BLESS=1 writes it", file.display());
}

fn coverage() -> String {
    let (clauses, cited) = (clauses(), cited());
    let reasons: Vec<Reason> = read::<Uncovered>("uncovered.toml").uncovered;
    let reason_of = |number: &String| reasons.iter().find(|reason| reason.clauses.contains(number));
    let count = |musts: bool, with_case: bool| {
        let of_kind = clauses.iter().filter(|clause| !musts || clause.is_must());
        of_kind.filter(|clause| !with_case || cited.contains_key(&clause.number)).count()
    };
    let mut text = format!(
        "# Which case tries which clause\n\n\
         A test writes this file and compares it: `PLUGWIRE_BLESS=1 cargo test -p plugwire-conformance --test\n\
         catalogue`. Clauses are those of the [specification](spec.md), cases those of the\n\
         [conformance suite](../conformance/README.md); `plugwire-conformance explain CASE` says more of one.\n\n\
         {} of {} clauses have a case. Of {} with MUST, {} have one; the others have a reason why there is none.\n\n\
         | clause | | cases |\n|---|---|---|\n",
        count(false, true),
        count(false, false),
        count(true, false),
        count(true, true),
    );
    for Clause { number, kind } in &clauses {
        let tried = match (cited.get(number), reason_of(number)) {
            (Some(cases), _) => {
                cases.iter().map(|case| format!("`{case}`")).collect::<Vec<_>>().join(", ")
            }
            (None, Some(reason)) => format!("none: {}", reason.reason),
            (None, None) => "none".to_owned(),
        };
        let _ = writeln!(text, "| {number} | {kind} | {tried} |");
    }
    text
}
