//! Checks the licences and the sources of all dependencies against `deny.toml`, from what `cargo metadata` says. It asks
//! the same as `cargo deny check licenses bans sources`, which takes minutes to compile and can still be run by hand.

mod spdx;

use std::{collections::BTreeSet, error::Error, fs};

use serde_json::Value;

use crate::{machine, schedule::Outcome, steps::Logs};

/// How cargo names the official registry, by either protocol.
const REGISTRIES: [&str; 2] =
    ["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/"];

/// The settings of `deny.toml` that this check follows, or that change nothing about a licence, a source or a version. Another
/// one would be a wish that it does not know.
const UNDERSTOOD: [&str; 9] = [
    "graph.all-features",
    "licenses.allow",
    "licenses.confidence-threshold",
    "licenses.unused-allowed-license",
    "bans.multiple-versions",
    "bans.wildcards",
    "bans.allow-wildcard-paths",
    "sources.unknown-registry",
    "sources.unknown-git",
];

/// Runs the check as a step of its own.
pub(crate) fn check(logs: &Logs, step: &str) -> Outcome {
    let mut metadata = machine::cargo();
    metadata.args(["metadata", "--format-version=1", "--all-features", "--locked"]);
    let ended = logs.read(step, &mut metadata);
    let took = ended.took;
    let result = match ended.success {
        true => problems(&ended.stdout).map_err(|error| error.to_string()),
        false => Err(ended.output),
    };
    let outcome = match result {
        Ok(problems) if problems.is_empty() => {
            let tally = crate::libtest::Tally { passed: 1, failed: 0 };
            Outcome { success: true, tally, ..Outcome::default() }
        }
        Ok(problems) => Outcome::failed(problems.join("\n")),
        Err(error) => Outcome::failed(error),
    };
    Outcome { took, ..outcome }
}

fn problems(metadata: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let metadata: Value = serde_json::from_str(metadata)?;
    let deny = fs::read_to_string(machine::root().join("deny.toml"))?;
    let allowed = allowed(&deny)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let root = metadata["workspace_root"].as_str().ok_or("cargo metadata names no workspace")?;
    let mut problems: Vec<String> =
        packages.iter().flat_map(|package| problems_of(package, &allowed, root)).collect();
    problems.extend(unused(packages, &allowed));
    Ok(problems)
}

/// Returns the list of licences in `deny.toml`.
fn allowed(deny: &str) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let deny: toml::Table = deny.parse()?;
    let settings = deny.iter().flat_map(|(section, settings)| {
        settings.as_table().into_iter().flatten().map(move |(key, _)| format!("{section}.{key}"))
    });
    if let Some(unknown) = settings.into_iter().find(|it| !UNDERSTOOD.contains(&it.as_str())) {
        return Err(format!("deny.toml sets {unknown}, which this check does not know").into());
    }
    let list = deny.get("licenses").and_then(|licenses| licenses.get("allow")?.as_array());
    let list = list.ok_or("deny.toml has no list licenses.allow")?;
    let name = |name: &toml::Value| name.as_str().map(str::to_owned);
    list.iter().map(|it| name(it).ok_or("licenses.allow: not a text".into())).collect()
}

fn problems_of(package: &Value, allowed: &BTreeSet<String>, root: &str) -> Vec<String> {
    let text = |field: &str| package[field].as_str().unwrap_or_default();
    let name = format!("{} {}", text("name"), text("version"));
    let mut problems = Vec::new();
    match spdx::parse(text("license")) {
        Ok(licence) if licence.is_met(allowed) => {}
        Ok(_) => problems.push(format!("{name}: `{}` is not allowed", text("license"))),
        Err(error) => problems.push(format!("{name}: licence `{}`: {error}", text("license"))),
    }
    match package["source"].as_str() {
        Some(source) if REGISTRIES.contains(&source) => {}
        None if text("manifest_path").starts_with(root) => {}
        source => problems.push(format!(
            "{name} is neither from crates.io nor of this workspace: {}",
            source.unwrap_or(text("manifest_path"))
        )),
    }
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let wildcards = dependencies.filter(|dependency| is_wildcard(package, dependency));
    problems.extend(wildcards.map(|it| format!("{name} takes any version of {}", it["name"])));
    problems
}

/// A dependency by its path needs no version unless the package is published with it.
fn is_wildcard(package: &Value, dependency: &Value) -> bool {
    let private = package["publish"].as_array().is_some_and(Vec::is_empty);
    let left_out = private || dependency["kind"] == "dev";
    dependency["req"] == "*" && !(dependency["path"].is_string() && left_out)
}

/// A licence that no package mentions any more must not stay allowed.
fn unused(packages: &[Value], allowed: &BTreeSet<String>) -> Vec<String> {
    let expressions = packages.iter().filter_map(|package| package["license"].as_str());
    let used: BTreeSet<String> = expressions
        .filter_map(|expression| spdx::parse(expression).ok())
        .flat_map(|licence| licence.names())
        .collect();
    allowed
        .difference(&used)
        .map(|name| format!("deny.toml allows {name}, which no dependency mentions"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn package(changes: Value) -> Value {
        let mut package = json!({
            "name": "libc", "version": "0.2.1", "license": "MIT OR Apache-2.0", "dependencies": [],
            "source": REGISTRIES[0], "manifest_path": "/home/libc/Cargo.toml", "publish": null,
        });
        for (field, value) in changes.as_object().unwrap() {
            package[field] = value.clone();
        }
        package
    }

    #[track_caller]
    fn assert_problems(changes: Value, expected: &[&str]) {
        let problems = problems_of(&package(changes), &list(&["MIT", "ISC"]), "/w");
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, part) in problems.iter().zip(expected) {
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn a_licence_must_be_allowed() {
        assert_problems(json!({}), &[]);
        assert_problems(json!({ "license": "GPL-3.0" }), &["libc 0.2.1: `GPL-3.0` is not allowed"]);
        assert_problems(json!({ "license": null }), &["licence ``"]);
        assert_problems(json!({ "license": "MIT OR" }), &["licence `MIT OR`"]);
    }

    #[test]
    fn a_package_is_of_the_registry_or_of_the_workspace() {
        let git = "git+https://github.com/a/b#123";
        assert_problems(json!({ "source": git }), &[git]);
        let other = "registry+https://example.com/index";
        assert_problems(json!({ "source": other }), &[other]);
        assert_problems(json!({ "source": null }), &["/home/libc/Cargo.toml"]);
        assert_problems(json!({ "source": null, "manifest_path": "/w/xtask/Cargo.toml" }), &[]);
    }

    #[test]
    fn a_dependency_has_a_version() {
        let on = |req: &str, kind: Value, path: Value| json!([{ "name": "cc", "req": req, "kind": kind, "path": path }]);
        let any = "takes any version of \"cc\"";
        assert_problems(json!({ "dependencies": on("^1", json!(null), json!(null)) }), &[]);
        assert_problems(json!({ "dependencies": on("*", json!(null), json!(null)) }), &[any]);
        assert_problems(json!({ "dependencies": on("*", json!("dev"), json!(null)) }), &[any]);
        assert_problems(json!({ "dependencies": on("*", json!("dev"), json!("/w/cc")) }), &[]);
        assert_problems(json!({ "dependencies": on("*", json!(null), json!("/w/cc")) }), &[any]);
        let private =
            json!({ "dependencies": on("*", json!(null), json!("/w/cc")), "publish": [] });
        assert_problems(private, &[]);
    }

    #[test]
    fn a_licence_that_is_not_used_is_not_allowed() {
        let packages = [package(json!({})), package(json!({ "license": "(ISC)" }))];
        let unused = unused(&packages, &list(&["Apache-2.0", "ISC", "MIT", "Zlib"]));
        assert_eq!(unused, ["deny.toml allows Zlib, which no dependency mentions"]);
    }

    #[test]
    fn reads_the_list_of_deny_toml() {
        let deny = "[licenses]\nallow = [\n    \"MIT\", # a comment\n    \"ISC\",\n]\n";
        assert_eq!(allowed(deny).unwrap(), list(&["ISC", "MIT"]));
        assert!(allowed("[licenses]\n").is_err());
        assert!(allowed("[licenses]\nallow = [1]\n").is_err());
        let denies = "[licenses]\nallow = [\"MIT\"]\n[bans]\ndeny = [\"openssl\"]\n";
        assert!(allowed(denies).unwrap_err().to_string().contains("bans.deny"));
    }

    /// The real thing, in which the check must find what it looks at.
    #[test]
    fn all_dependencies_are_as_they_should_be() {
        let mut metadata = machine::cargo();
        metadata.args(["metadata", "--format-version=1", "--all-features", "--locked"]);
        let output = metadata.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(problems(&text).unwrap(), Vec::<String>::new());
        let metadata: Value = serde_json::from_str(&text).unwrap();
        assert!(metadata["packages"].as_array().unwrap().len() > 100);
    }
}
