//! The environment of a plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use plugwire_protocol::environment::{is_inherited_by_default, is_protocol_variable};

/// Which of the host's own variables a plugin sees.
#[derive(Debug, Clone)]
pub(super) enum Inherit {
    /// The documented ones and those named.
    Clean {
        also: BTreeSet<OsString>,
    },
    All,
}

impl Default for Inherit {
    fn default() -> Self {
        Inherit::Clean { also: BTreeSet::new() }
    }
}

impl Inherit {
    /// Adds names. Does nothing if all are passed on.
    pub(super) fn also(&mut self, names: impl Iterator<Item = OsString>) {
        if let Inherit::Clean { also } = self {
            also.extend(names);
        }
    }

    fn passes(&self, name: &OsStr) -> bool {
        match self {
            Inherit::All => true,
            Inherit::Clean { also } => {
                also.contains(name) || name.to_str().is_some_and(is_inherited_by_default)
            }
        }
    }
}

/// A plugin's whole environment, and the number of the host's variables that are withheld.
pub(super) struct Environment {
    pub(super) variables: BTreeMap<OsString, OsString>,
    pub(super) withheld: usize,
}

/// Builds the environment. For equal names, the protocol's value wins over the user's, and that over the host's. A protocol
/// variable that is not set must be absent: an outer host's `PLUGIN_CLIENT_CERT` would make the plugin answer to the wrong
/// host. Spec: ENV-5.
pub(super) fn build(
    host: impl Iterator<Item = (OsString, OsString)>,
    inherit: &Inherit,
    user: Vec<(OsString, OsString)>,
    protocol: Vec<(String, OsString)>,
) -> Environment {
    let mut withheld = 0;
    let mut variables = BTreeMap::new();
    for (name, value) in host {
        let outer_hosts = name.to_str().is_some_and(is_protocol_variable);
        if inherit.passes(&name) && !outer_hosts {
            variables.insert(name, value);
        } else {
            withheld += 1;
        }
    }
    let is_protocols = |name: &OsString| name.to_str().is_some_and(is_protocol_variable);
    variables.extend(user.into_iter().filter(|(name, _)| !is_protocols(name)));
    variables.extend(protocol.into_iter().map(|(name, value)| (name.into(), value)));
    Environment { variables, withheld }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(inherit: &Inherit) -> (Vec<String>, usize) {
        let host = [
            "PATH",
            "LC_TIME",
            "AWS_SECRET",
            "PLUGIN_CLIENT_CERT",
            "PLUGIN_MULTIPLEX_GRPC",
            "COOKIE",
        ];
        let host = host.map(|name| (OsString::from(name), OsString::from("host's")));
        let user =
            ["COOKIE", "MINE", "PLUGIN_CLIENT_CERT"].map(|name| (name.into(), "user's".into()));
        let user = user.to_vec();
        let protocol = vec![("COOKIE".to_owned(), "protocol's".into())];
        let built = build(host.into_iter(), inherit, user, protocol);
        let lines = built
            .variables
            .iter()
            .map(|(name, value)| format!("{}={}", name.to_str().unwrap(), value.to_str().unwrap()));
        (lines.collect(), built.withheld)
    }

    #[test]
    fn clean_by_default() {
        let (variables, withheld) = given(&Inherit::default());
        assert_eq!(
            variables,
            ["COOKIE=protocol's", "LC_TIME=host's", "MINE=user's", "PATH=host's"]
        );
        assert_eq!(withheld, 4);
    }

    #[test]
    fn named_ones_pass() {
        let mut inherit = Inherit::default();
        inherit.also(["AWS_SECRET", "PLUGIN_CLIENT_CERT"].map(OsString::from).into_iter());
        let (variables, withheld) = given(&inherit);
        assert!(variables.contains(&"AWS_SECRET=host's".to_owned()));
        assert!(!variables.iter().any(|line| line.starts_with("PLUGIN_")));
        assert_eq!(withheld, 3);
    }

    #[test]
    fn all_passes_all_but_an_outer_hosts_protocol() {
        let (variables, withheld) = given(&Inherit::All);
        assert!(variables.contains(&"AWS_SECRET=host's".to_owned()));
        assert!(!variables.iter().any(|line| line.starts_with("PLUGIN_")));
        assert_eq!(withheld, 2);
    }
}
