//! Which cases run, and which failures are known.

use plugwire_conformance_report::model::Verdict;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::case::{Case, FileError, Source, Tier};

/// Returns whether a name matches a pattern, in which `*` is any text.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| matches(after, &rest[at..]))
        }),
    }
}

/// What a user wants to run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only what one of these matches; all where there is none.
    pub only: Vec<String>,
    /// Nothing that one of these matches.
    pub skip: Vec<String>,
    /// Only these tiers; all where there is none.
    pub tiers: Vec<Tier>,
}

impl Selection {
    /// Returns the cases that run, in their order. A pattern that matches nothing is an error: a mistyped one would prove less than
    /// its author thinks.
    pub fn of<'a, S>(&self, cases: &'a [Case<S>]) -> Result<Vec<&'a Case<S>>, String> {
        for pattern in self.only.iter().chain(&self.skip) {
            if !cases.iter().any(|case| names(case, pattern)) {
                return Err(format!("no case matches {pattern:?}"));
            }
        }
        let wanted = |case: &&Case<S>| {
            (self.only.is_empty() || self.only.iter().any(|pattern| names(case, pattern)))
                && !self.skip.iter().any(|pattern| names(case, pattern))
                && (self.tiers.is_empty() || self.tiers.contains(&case.header.tier))
        };
        Ok(cases.iter().filter(wanted).collect())
    }
}

fn names<S>(case: &Case<S>, pattern: &str) -> bool {
    let header = &case.header;
    std::iter::once(&header.id).chain(&header.aliases).any(|name| matches(pattern, name))
}

/// What is known of a subject. It is strict both ways: what is said to fail and passes is an error of the list.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Each entry.
    #[serde(default)]
    pub known: Vec<Entry>,
}

/// One entry.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Which cases.
    pub pattern: String,
    /// What they do.
    pub expect: Expect,
    /// Why, a sentence.
    pub reason: String,
    /// Where it is followed up.
    #[serde(default)]
    pub issue: Option<String>,
}

/// What a case is known to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// It fails.
    Fail,
    /// It ends either way.
    Flaky,
    /// It is not to be run.
    Skip,
}

impl Known {
    /// Reads a list and compares it with the catalogue: no pattern without a case, no case with two entries, no empty reason.
    pub fn parse<S>(source: Source<'_>, cases: &[Case<S>]) -> Result<Self, FileError> {
        let list: Self = source.read()?;
        let at = |pattern: &str| source.text.find(&format!("{pattern:?}")).unwrap_or_default();
        for entry in &list.known {
            if entry.reason.trim().is_empty() {
                return Err(
                    source.error(at(&entry.pattern), format!("{:?} has no reason", entry.pattern))
                );
            }
            if !cases.iter().any(|case| matches(&entry.pattern, &case.header.id)) {
                let what = format!("no case matches {:?}", entry.pattern);
                return Err(source.error(at(&entry.pattern), what));
            }
        }
        for case in cases {
            let mut entries = list.all_for(&case.header.id);
            if let (Some(_), Some(second)) = (entries.next(), entries.next()) {
                let what = format!(
                    "{} has two entries, the second is {:?}",
                    case.header.id, second.pattern
                );
                return Err(source.error(at(&second.pattern), what));
            }
        }
        Ok(list)
    }

    fn all_for<'a>(&'a self, id: &str) -> impl Iterator<Item = &'a Entry> {
        self.known.iter().filter(move |entry| matches(&entry.pattern, id))
    }

    /// Returns the entry for a case.
    pub fn of(&self, id: &str) -> Option<&Entry> {
        self.all_for(id).next()
    }
}

/// Applies an entry to a verdict. An error of the suite, or a case that was not tried, is never
/// excused.
pub fn judged(verdict: Verdict, expect: Expect) -> Verdict {
    match (expect, verdict) {
        (Expect::Fail, verdict) if verdict.is_failure() => Verdict::ExpectedFail,
        (Expect::Fail, Verdict::Pass | Verdict::NonStrict) => Verdict::UnexpectedPass,
        (Expect::Flaky, Verdict::Pass | Verdict::NonStrict) => Verdict::Flaky,
        (Expect::Flaky, verdict) if verdict.is_failure() => Verdict::Flaky,
        (_, verdict) => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case;

    fn cases() -> Vec<Case<toml::Table>> {
        let text = ["one", "two", "three"].map(|id| {
            format!("[[case]]\nid = \"{id}\"\nlevel = \"must\"\nclause = [\"X\"]\nrequirement = \"\"\nwhy = \"\"\nmutants = {{ m = \"1\" }}\n")
        });
        case::parse("a", case::Source { name: "a.toml", text: &text.concat() }).unwrap()
    }

    fn chosen(only: &[&str], skip: &[&str]) -> Result<Vec<String>, String> {
        let own = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect();
        let selection = Selection { only: own(only), skip: own(skip), tiers: Vec::new() };
        let cases = cases();
        let chosen = selection.of(&cases)?;
        Ok(chosen.into_iter().map(|case| case.header.id.clone()).collect())
    }

    #[test]
    fn a_star_is_any_text() {
        assert!(matches("a/*", "a/b") && matches("*", "") && matches("*b*", "abc"));
        assert!(matches("a*c", "abbc") && !matches("a*c", "abb") && !matches("a", "ab"));
        assert!(matches("**ä", "xä"));
    }

    #[test]
    fn every_pattern_of_a_mix_counts() {
        assert_eq!(chosen(&["a/one", "a/t*"], &["a/two"]).unwrap(), ["a/one", "a/three"]);
        assert_eq!(chosen(&[], &[]).unwrap().len(), 3);
        assert!(chosen(&["a/one", "b/*"], &[]).unwrap_err().contains("b/*"));
        assert!(chosen(&[], &["a/tow"]).unwrap_err().contains("a/tow"));
    }

    #[test]
    fn a_known_list_is_compared_with_the_catalogue() {
        let list = |text: &str| Known::parse(Source { name: "k.toml", text }, &cases());
        let entry = |pattern: &str, reason: &str| {
            format!(
                "[[known]]\npattern = \"{pattern}\"\nexpect = \"fail\"\nreason = \"{reason}\"\n"
            )
        };
        assert!(list(&entry("a/one", "r")).unwrap().of("a/one").is_some());
        assert!(list(&entry("a/four", "r")).unwrap_err().what.contains("no case matches"));
        assert!(list(&entry("a/one", " ")).unwrap_err().what.contains("no reason"));
        let twice = list(&(entry("a/one", "r") + &entry("a/o*", "r"))).unwrap_err();
        assert!(twice.what.contains("two entries"), "{twice}");
        assert_eq!(twice.place, "k.toml:6");
    }

    #[test]
    fn a_known_failure_that_passes_is_told() {
        assert_eq!(judged(Verdict::Timeout, Expect::Fail), Verdict::ExpectedFail);
        assert_eq!(judged(Verdict::NonStrict, Expect::Fail), Verdict::UnexpectedPass);
        assert_eq!(judged(Verdict::Error, Expect::Fail), Verdict::Error);
        assert_eq!(judged(Verdict::Unimplemented, Expect::Flaky), Verdict::Unimplemented);
        assert_eq!(judged(Verdict::Crash, Expect::Flaky), Verdict::Flaky);
    }
}
