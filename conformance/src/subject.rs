//! What is judged: a file that its author checks in, or flags.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use plugwire_conformance_report::model::Role;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::case::{FileError, Source};

/// Each feature that a case can need, with its role.
pub const FEATURES: [(&str, &str); 16] = [
    ("plugin", "probe"),
    ("plugin", "tcp"),
    ("plugin", "mutual-tls"),
    ("plugin", "multiplex"),
    ("plugin", "stdio"),
    ("plugin", "reflection"),
    ("plugin", "broker"),
    ("plugin", "socket-dir"),
    ("plugin", "socket-group"),
    ("plugin", "several-versions"),
    ("host", "mutual-tls"),
    ("host", "multiplex"),
    ("host", "broker"),
    ("host", "stdio"),
    ("host", "logs"),
    ("host", "reattach"),
];

/// Returns the features of a role.
pub fn features(role: Role) -> BTreeSet<String> {
    let role = role.to_string();
    let of_role = FEATURES.iter().filter(|(whose, _)| *whose == role);
    of_role.map(|(_, feature)| (*feature).to_owned()).collect()
}

/// The magic cookie.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cookie {
    /// The variable's name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// An implementation in one role.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What it is called.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The plugin's, or the driver's, program and arguments.
    pub command: Vec<String>,
    /// The plugin's cookie.
    pub cookie: Cookie,
    /// The plugin's app versions, the lowest first.
    pub app_versions: Vec<u32>,
    /// What it can do.
    pub features: BTreeSet<String>,
    /// Of a driver: parts of its error messages, by the kind that they mean.
    pub errors: BTreeMap<String, String>,
}

/// The file's form.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SubjectFile {
    /// What it is.
    pub implementation: Implementation,
    /// How a plugin is started.
    #[serde(default)]
    pub handshake: Option<Handshake>,
    /// What it can do; what is not named it cannot, and cases that need it are skipped and counted.
    #[serde(default)]
    pub features: BTreeMap<String, bool>,
    /// Of a driver: parts of its error messages, by the kind that they mean.
    #[serde(default)]
    pub errors: BTreeMap<String, String>,
}

/// What is judged.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Implementation {
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(default)]
    pub version: Option<String>,
    /// `plugin` or `host`.
    pub role: RoleWord,
    /// The plugin's, or the driver's, program and arguments. Relative paths are relative to this file's directory: a program
    /// with a slash, and each argument with a slash that names a file or a directory.
    pub command: Vec<String>,
}

/// [`Role`], in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RoleWord {
    /// The suite is its host.
    Plugin,
    /// The suite is its plugin.
    Host,
}

/// How a plugin is started.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Handshake {
    /// The cookie.
    pub cookie: Cookie,
    /// The app versions that it serves. Default: 1.
    #[serde(default = "first")]
    pub app_versions: Vec<u32>,
}

fn first() -> Vec<u32> {
    vec![1]
}

impl Subject {
    /// Returns the probe's cookie, which the suite's own plugin in host mode has, too.
    pub fn probe_cookie() -> Cookie {
        Cookie { key: "PLUGWIRE_PROBE".to_owned(), value: "plugwire".to_owned() }
    }

    /// Reads a description. `folder` is the file's.
    pub fn parse(source: Source<'_>, folder: &Path) -> Result<Self, FileError> {
        let file: SubjectFile = source.read()?;
        let role = match file.implementation.role {
            RoleWord::Plugin => Role::Plugin,
            RoleWord::Host => Role::Host,
        };
        let known = features(role);
        if let Some(unknown) = file.features.keys().find(|name| !known.contains(*name)) {
            let all: Vec<_> = known.into_iter().collect();
            let what =
                format!("unknown feature {unknown:?} of a {role}; known: {}", all.join(", "));
            let offset = source.text.find(unknown.as_str()).unwrap_or_default();
            return Err(source.error(offset, what));
        }
        let handshake = match (role, file.handshake) {
            (_, Some(handshake)) => handshake,
            (Role::Host, None) => Handshake { cookie: Self::probe_cookie(), app_versions: first() },
            (Role::Plugin, None) => {
                return Err(
                    source.error(0, "a plugin's description needs [handshake] with its cookie")
                );
            }
        };
        let command = anchored(file.implementation.command, folder);
        if command.is_empty() {
            return Err(source.error(0, "command is empty"));
        }
        let version = file.implementation.version.map(|version| format!(" {version}"));
        Ok(Self {
            name: format!("{}{}", file.implementation.name, version.unwrap_or_default()),
            role,
            command,
            cookie: handshake.cookie,
            app_versions: sorted(handshake.app_versions),
            features: file
                .features
                .into_iter()
                .filter(|(_, has)| *has)
                .map(|(name, _)| name)
                .collect(),
            errors: file.errors,
        })
    }

    /// Returns whether it has a feature.
    pub fn has(&self, feature: &str) -> bool {
        self.features.contains(feature)
    }
}

/// Makes a command independent of the working directory, since each case has its own. Paths are a
/// program with a slash (one without is looked up in `PATH`) and each argument with a slash that
/// names a file or directory. A bare word such as `serve` stays a word even if a file has that
/// name.
pub fn anchored(command: Vec<String>, folder: &Path) -> Vec<String> {
    let anchored = |(at, word): (usize, String)| {
        let path = folder.join(&word);
        let is_path = word.contains('/') && (at == 0 || path.exists());
        match std::path::absolute(path) {
            Ok(path) if is_path => path.display().to_string(),
            _ => word,
        }
    };
    command.into_iter().enumerate().map(anchored).collect()
}

/// Returns the lowest first, each once.
pub fn sorted(mut versions: Vec<u32>) -> Vec<u32> {
    versions.sort_unstable();
    versions.dedup();
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[implementation]
name = "acme"
version = "0.3"
role = "plugin"
command = ["./probe", "--fast"]
[handshake]
cookie = { key = "K", value = "V" }
app-versions = [2, 1]
[features]
probe = true
tcp = false
"#;

    fn read(text: &str) -> Result<Subject, FileError> {
        Subject::parse(Source { name: "s.toml", text }, Path::new("/here"))
    }

    #[test]
    fn a_description_is_read() {
        let subject = read(GOOD).unwrap();
        assert_eq!((subject.name.as_str(), subject.role), ("acme 0.3", Role::Plugin));
        assert_eq!(subject.command, ["/here/probe", "--fast"]);
        assert_eq!(subject.app_versions, [1, 2]);
        assert!(subject.has("probe") && !subject.has("tcp"));
    }

    #[test]
    fn a_path_means_the_same_wherever_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display().to_string();
        std::fs::create_dir_all(folder.path().join("serve/inner")).unwrap();
        for file in ["driver.py", "test"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let anchored = |words: &[&str]| {
            anchored(words.iter().map(|word| (*word).to_owned()).collect(), folder.path())
        };
        let driver = format!("{here}/driver.py");
        assert_eq!(anchored(&["./a", "./driver.py"]), [format!("{here}/a"), driver.clone()]);
        assert_eq!(anchored(&["driver.py", &driver]), ["driver.py".to_owned(), driver]);
        // Words like any other, that are also the names of a directory and of a file.
        assert_eq!(anchored(&["python3", "serve", "test", ""]), ["python3", "serve", "test", ""]);
        assert_eq!(anchored(&["a", "serve/inner"])[1], format!("{here}/serve/inner"));
        assert_eq!(anchored(&["a", "serve/other"])[1], "serve/other");
    }

    #[test]
    fn mistakes_are_named() {
        let error = read(&GOOD.replace("tcp", "tpc")).unwrap_err();
        assert_eq!(error.place, "s.toml:12");
        assert!(error.what.contains("tpc"), "{error}");
        assert!(read(&GOOD.replace("[handshake]", "[handshaek]")).is_err());
    }
}
