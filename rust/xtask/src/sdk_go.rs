//! The Go peers in `sdk-go-compat`: which releases there are, and how each of them is built.

use std::{error::Error, fs, path::PathBuf, process::Command};

use serde_json::Value;

use crate::{libtest::Tally, machine};

/// go-plugin's newest release, with the grpc-go that it pins.
pub(crate) const NEWEST_RELEASE: &str = "1.8.0";
/// The same release with the newest grpc-go.
pub(crate) const NEWEST_GRPC: &str = "1.8.0-newest";

/// A release of go-plugin with its grpc-go.
#[derive(Debug, PartialEq)]
pub(crate) struct Release {
    pub(crate) name: String,
    modfile: String,
    tags: Vec<String>,
    programs: Vec<String>,
}

impl Release {
    /// Returns the command that builds its programs where the tests look for them (`plugwire_interop::go`).
    pub(crate) fn build(&self) -> Command {
        let mut command = self.go("build");
        // The trailing slash makes it a directory.
        command.arg("-o").arg(self.peers().join(""));
        command.args(self.programs.iter().map(|program| format!("./cmd/{program}")));
        command
    }

    /// Whether it has been built before, maybe from older sources.
    pub(crate) fn is_built(&self) -> bool {
        self.peers().exists()
    }

    fn peers(&self) -> PathBuf {
        machine::root().join("target/go-peers").join(&self.name).join("peers")
    }

    /// Returns `go VERB` with this release's modules, in the directory of the Go peers.
    pub(crate) fn go(&self, verb: &str) -> Command {
        let mut command = Command::new("go");
        command.current_dir(directory()).args([verb, &format!("-modfile={}", self.modfile)]);
        if !self.tags.is_empty() {
            command.arg(format!("-tags={}", self.tags.join(",")));
        }
        command
    }
}

/// Returns all releases that `versions.json` lists, the oldest first.
pub(crate) fn releases() -> Result<Vec<Release>, Box<dyn Error>> {
    let path = directory().join("versions.json");
    let text =
        fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    Ok(parse(&text)?)
}

/// Counts the packages in the output of `go test`. A package without tests does not count.
pub(crate) fn tally(output: &str, success: bool) -> Tally {
    let lines = |start| output.lines().filter(|line| line.starts_with(start)).count() as u64;
    let failed = lines("FAIL\t");
    Tally { passed: lines("ok  \t"), failed: if success { failed } else { failed.max(1) } }
}

fn directory() -> PathBuf {
    machine::root().join("sdk-go-compat")
}

fn parse(text: &str) -> Result<Vec<Release>, String> {
    let json: Value = serde_json::from_str(text).map_err(|e| format!("versions.json: {e}"))?;
    let versions = json["versions"].as_object().ok_or("versions.json: `versions` is no object")?;
    versions.iter().map(|(name, version)| release(name, version)).collect()
}

fn release(name: &str, version: &Value) -> Result<Release, String> {
    let wrong = |field| format!("versions.json: `{field}` of {name} is missing or wrong");
    let words = |field: &str| -> Option<Vec<String>> {
        version[field].as_array()?.iter().map(|word| word.as_str().map(str::to_owned)).collect()
    };
    Ok(Release {
        name: name.to_owned(),
        modfile: version["modfile"].as_str().ok_or_else(|| wrong("modfile"))?.to_owned(),
        tags: words("tags").ok_or_else(|| wrong("tags"))?,
        programs: words("programs").ok_or_else(|| wrong("programs"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Release, parse, tally};
    use crate::libtest::Tally;

    #[test]
    fn reads_releases() {
        let text = r#"{"versions": {
            "1.0.1": {"modfile": "v1.0.1.mod", "tags": ["old", "older"], "programs": ["a", "b"]},
            "1.8.0": {"modfile": "v1.8.0.mod", "tags": [], "programs": []}
        }}"#;
        let releases = parse(text).unwrap();
        let wanted = Release {
            name: "1.0.1".into(),
            modfile: "v1.0.1.mod".into(),
            tags: vec!["old".into(), "older".into()],
            programs: vec!["a".into(), "b".into()],
        };
        assert_eq!(releases[0], wanted);
        assert_eq!(releases.len(), 2);

        let vet: Vec<_> = releases[0].go("vet").get_args().map(|a| a.to_owned()).collect();
        assert_eq!(vet, ["vet", "-modfile=v1.0.1.mod", "-tags=old,older"]);
        let vet: Vec<_> = releases[1].go("vet").get_args().map(|a| a.to_owned()).collect();
        assert_eq!(vet, ["vet", "-modfile=v1.8.0.mod"]);
    }

    #[test]
    fn counts_packages_that_have_tests() {
        let output = "?   \ta/b\t[no test files]\nok  \ta/c\t0.003s\n--- FAIL: TestX (0.00s)\nFAIL\n\
                      FAIL\ta/d\t0.010s\nFAIL\ta/e [build failed]\nFAIL\n";
        assert_eq!(tally(output, false), Tally { passed: 1, failed: 2 });
        assert_eq!(tally("ok  \ta/c\t(cached)\n", true), Tally { passed: 1, failed: 0 });
        assert_eq!(tally("go: no such module\n", false), Tally { passed: 0, failed: 1 });
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(parse("{}").unwrap_err().contains("`versions`"));
        let without_tags = r#"{"versions": {"1.8.0": {"modfile": "a"}}}"#;
        assert!(parse(without_tags).unwrap_err().contains("`tags` of 1.8.0"));
        let wrong_tag = r#"{"versions": {"1.8.0": {"modfile": "a", "tags": [1], "programs": []}}}"#;
        assert!(parse(wrong_tag).unwrap_err().contains("`tags` of 1.8.0"));
    }
}
