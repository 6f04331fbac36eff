//! The command line that runs one case again: all flags that describe the subject, none that select
//! cases.

use plugwire_conformance_report::model::Role;

use super::args::{AnySubject, HostSubject, PluginSubject, RunOptions};
use crate::engine::CASE;

/// For a plugin.
pub(super) fn of_plugin(subject: &PluginSubject, run: &RunOptions) -> Vec<String> {
    let mut words = begin(Role::Plugin, &subject.any, run);
    if let Some(cookie) = &subject.cookie {
        words.extend(["--cookie".to_owned(), cookie.clone()]);
    }
    for version in &subject.app_versions {
        words.extend(["--app-version".to_owned(), version.to_string()]);
    }
    end(words, &subject.command)
}

/// For a host.
pub(super) fn of_host(subject: &HostSubject, run: &RunOptions) -> Vec<String> {
    end(begin(Role::Host, &subject.any, run), &subject.command)
}

fn begin(role: Role, subject: &AnySubject, run: &RunOptions) -> Vec<String> {
    let mut words = ["plugwire-conformance", "run"].map(str::to_owned).to_vec();
    words.extend([format!("{role}:{CASE}"), "--keep".to_owned()]);
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    if let Some(file) = &subject.subject {
        add("--subject", file.display().to_string());
    }
    if let Some(folder) = &run.cases {
        add("--cases", folder.display().to_string());
    }
    if run.timeout_scale != 1 {
        add("--timeout-scale", run.timeout_scale.to_string());
    }
    for feature in &subject.features {
        add("--feature", feature.clone());
    }
    for feature in &subject.without {
        add("--without", feature.clone());
    }
    words
}

fn end(mut words: Vec<String>, command: &[String]) -> Vec<String> {
    if !command.is_empty() {
        words.push("--".to_owned());
        words.extend(command.iter().cloned());
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Args, Command};
    use super::*;

    fn replay(line: &str) -> Vec<String> {
        match Args::parse_from(line.split_whitespace()).command {
            Command::Plugin(plugin) => of_plugin(&plugin.subject, &plugin.run),
            Command::Host(host) => of_host(&host.subject, &host.run),
            other => panic!("{other:?}"),
        }
    }

    /// The replay names the same subject as the run did, and is a command line that is understood.
    #[test]
    fn whatever_tells_the_subject_is_in_the_replay() {
        for (line, wanted) in [
            (
                "p plugin --only a/* --strict --cookie K=V --app-version 3 --without stdio -- ./p -x",
                "--without stdio --cookie K=V --app-version 3 -- ./p -x",
            ),
            (
                "p plugin --subject s.toml --cases c --timeout-scale 3 -- ./other",
                "--subject s.toml --cases c --timeout-scale 3 -- ./other",
            ),
            ("p plugin --subject s.toml --shuffle 3 --report junit=f", "--subject s.toml"),
        ] {
            let words = replay(line);
            assert_eq!(
                words.join(" "),
                format!("plugwire-conformance run plugin:{CASE} --keep {wanted}")
            );
            assert!(Args::try_parse_from(&words).is_ok(), "{words:?}");
        }
        let words = replay("p host --feature logs -- ./driver");
        let wanted =
            format!("plugwire-conformance run host:{CASE} --keep --feature logs -- ./driver");
        assert_eq!(words.join(" "), wanted);
    }
}
