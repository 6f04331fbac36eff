//! The plugins that the cases for plugins must reject.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::script::Script;

/// A plugin that is wrong in one way.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// What it does wrong, as a sentence.
    pub about: String,
    /// How it is played.
    pub script: Script,
}

/// Returns all mutants by name, from `conformance/mutants/plugin.toml`.
///
/// # Errors
///
/// The file has a mistake; the text says where.
pub fn mutants() -> Result<BTreeMap<String, Mutant>, String> {
    toml::from_str(include_str!("../../../mutants/plugin.toml"))
        .map_err(|error| format!("conformance/mutants/plugin.toml: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mutant_differs_from_a_healthy_plugin_and_from_the_others() {
        let mutants = mutants().unwrap();
        assert!(mutants.len() > 100);
        let mut seen: Vec<(&str, &Script)> = Vec::new();
        for (name, mutant) in &mutants {
            assert_ne!(mutant.script, Script::default(), "{name}");
            assert!(mutant.about.ends_with('.'), "{name}: {}", mutant.about);
            let twin = seen.iter().find(|(_, script)| **script == mutant.script);
            assert_eq!(twin, None, "{name} does the same");
            seen.push((name, &mutant.script));
        }
    }
}
