//! Where a case rejects a mutant: at the step that the mutant is about, not by an accident before it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use plugwire_conformance_report::model::{CaseResult, Role, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

/// The mutants that a case must reject, in the order of the file, each with the places where the rejection counts.
///
/// A place is the step, or what was expected after the last one. `crash at` and `timeout at` in front of it are part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mutants(Vec<(String, Places)>);

/// One place, or several if the speed of the machine decides which one it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Places {
    One(String),
    OneOf(BTreeSet<String>),
}

impl Mutants {
    /// Returns the mutants' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Returns the number of mutants.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if the case names no mutant.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if the mutant has to be rejected at this place.
    pub fn has(&self, mutant: &str, place: &str) -> bool {
        self.0.iter().any(|(name, places)| {
            name == mutant
                && match places {
                    Places::One(one) => one == place,
                    Places::OneOf(all) => all.contains(place),
                }
        })
    }
}

impl<'de> Deserialize<'de> for Mutants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The parser sorts a table by its keys; their positions restore the order of the file.
        let table = BTreeMap::<Spanned<String>, Places>::deserialize(deserializer)?;
        let mut mutants: Vec<_> = table.into_iter().collect();
        mutants.sort_by_key(|(name, _)| name.span().start);
        let plain = |(name, places): (Spanned<String>, Places)| (name.into_inner(), places);
        Ok(Self(mutants.into_iter().map(plain).collect()))
    }
}

impl JsonSchema for Mutants {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Mutants".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        BTreeMap::<String, Places>::json_schema(generator)
    }
}

/// Returns where a case ended: its step, or what was expected after the last one. Crashes and exceeded budgets are marked.
pub fn place(case: &CaseResult) -> Option<String> {
    let finding = case.finding.as_ref()?;
    let at = if finding.step.is_empty() { &finding.expected } else { &finding.step };
    match case.verdict {
        Verdict::Fail => Some(at.clone()),
        Verdict::Crash => Some(format!("crash at {at}")),
        Verdict::Timeout => Some(format!("timeout at {at}")),
        _ => None,
    }
}

/// Writes observed places (role, case, mutant, place) as TOML, one table per case.
pub fn written<'a>(seen: impl IntoIterator<Item = (Role, &'a str, &'a str, &'a str)>) -> String {
    let mut text = String::new();
    let mut last = None;
    for (role, case, mutant, place) in seen {
        if last != Some((role, case)) {
            let _ = write!(text, "\n[{role}.{case:?}]\n");
            last = Some((role, case));
        }
        // A JSON string is also a TOML string.
        let _ = writeln!(text, "{mutant} = {}", serde_json::Value::from(place));
    }
    text
}
