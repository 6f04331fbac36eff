//! Where each case rejects each of its mutants: at the step that the mutant is about, and not by some accident before it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use plugwire_conformance_report::model::{CaseResult, Role, Verdict};
use serde::Deserialize;

/// What stands in `mutants/caught.toml`: role, case, mutant, and the place.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caught {
    host: Cases,
    plugin: Cases,
}

type Cases = BTreeMap<String, BTreeMap<String, Places>>;

/// Several where it is the machine's speed that decides.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Places {
    One(String),
    OneOf(BTreeSet<String>),
}

impl Caught {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// The file has a mistake; the text says where.
    pub fn read() -> Result<Self, String> {
        toml::from_str(include_str!("../mutants/caught.toml"))
            .map_err(|error| format!("conformance/mutants/caught.toml: {error}"))
    }

    /// The places that are right for a mutant; none where nobody has said.
    pub fn places(&self, role: Role, case: &str, mutant: &str) -> Vec<&str> {
        match self.cases(role).get(case).and_then(|mutants| mutants.get(mutant)) {
            None => Vec::new(),
            Some(Places::One(place)) => vec![place],
            Some(Places::OneOf(places)) => places.iter().map(String::as_str).collect(),
        }
    }

    /// Each case and mutant that it tells of.
    pub fn pairs(&self, role: Role) -> BTreeSet<(String, String)> {
        let of_case = |(case, mutants): (&String, &BTreeMap<String, Places>)| {
            mutants.keys().map(|mutant| (case.clone(), mutant.clone())).collect::<Vec<_>>()
        };
        self.cases(role).iter().flat_map(of_case).collect()
    }

    fn cases(&self, role: Role) -> &Cases {
        match role {
            Role::Host => &self.host,
            Role::Plugin => &self.plugin,
        }
    }
}

/// Where a case ended: its step, or what was wanted after the last. A crash and a budget are told apart.
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

/// The file, of what was seen: role, case, mutant, place.
pub fn written<'a>(seen: impl IntoIterator<Item = (Role, &'a str, &'a str, &'a str)>) -> String {
    let mut text = String::new();
    let mut last = None;
    for (role, case, mutant, place) in seen {
        if last != Some((role, case)) {
            let _ = write!(text, "\n[{role}.{case:?}]\n");
            last = Some((role, case));
        }
        // A string of JSON is one of TOML.
        let _ = writeln!(text, "{mutant} = {}", serde_json::Value::from(place));
    }
    text
}
