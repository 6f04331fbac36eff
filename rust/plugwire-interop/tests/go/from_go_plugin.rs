//! Compares the documents with go-plugin's own source: every setting is answered, and every source
//! of a clause exists.

#[path = "../rust/docs/spec.rs"]
mod spec;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use plugwire_interop::go::{root, versions};
use serde_json::Value;

/// The types that the page must cover, with the minimum number of names in each. The minimum
/// catches a reader of Go source that finds none.
const TYPES: [(&str, usize); 9] = [
    ("Client", 8),
    ("ClientConfig", 20),
    ("GRPCBroker", 6),
    ("HandshakeConfig", 3),
    ("ReattachConfig", 6),
    ("SecureConfig", 3),
    ("ServeConfig", 7),
    ("ServeTestConfig", 4),
    ("UnixSocketConfig", 2),
];

#[test]
fn every_setting_of_go_plugin_has_its_row() {
    let go_plugin = module("go-plugin", "v1.8.0");
    let page = fs::read_to_string(root().join("docs/from-go-plugin.md")).expect("the page");
    for (name, least) in TYPES {
        let exported = exported(&go_plugin, name);
        assert!(exported.len() >= least, "{name}: only {exported:?} were found");
        let rows = rows(&page, name);
        let rows: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
        let exported: BTreeSet<&str> = exported.iter().map(String::as_str).collect();
        let missing: Vec<_> = exported.difference(&rows).collect();
        assert!(missing.is_empty(), "{name}: no row for {missing:?}");
        let stale: Vec<_> = rows.difference(&exported).collect();
        assert!(stale.is_empty(), "{name}: go-plugin has no {stale:?}");
    }
}

#[test]
fn every_method_of_a_runner_has_its_row() {
    let source = fs::read_to_string(module("go-plugin", "v1.8.0").join("runner/runner.go"));
    let source = source.expect("Go's sources are text");
    let name = |line: &str| {
        let line = line.strip_prefix('\t')?;
        let end = line.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(line.len());
        line.starts_with(|c: char| c.is_ascii_uppercase()).then(|| line[..end].to_owned())
    };
    let exported: BTreeSet<String> = source.lines().filter_map(name).collect();
    assert!(exported.len() >= 12, "only {exported:?} were found");
    let page = fs::read_to_string(root().join("docs/from-go-plugin.md")).expect("the page");
    let rows: BTreeSet<String> = rows(&page, "runner.Runner").into_iter().collect();
    let missing: Vec<_> = exported.difference(&rows).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}

/// Returns the names in the first column of the table under `### NAME`. The second column must not
/// be empty.
fn rows(page: &str, name: &str) -> Vec<String> {
    let heading = format!("### {name}");
    let section = page
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with('#'));
    let rows = section.filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(name, answer)| {
        assert!(!answer.starts_with('|'), "{name}: no answer");
        name.to_owned()
    })
    .collect()
}

/// Returns the exported fields and methods of a type, including embedded types by their names.
fn exported(package: &Path, name: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(package).expect("the package") {
        let path = entry.expect("an entry").path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if file.ends_with(".go") && !file.ends_with("_test.go") {
            let text = fs::read_to_string(&path).expect("Go's sources are text");
            names.extend(fields(&text, name).into_iter().chain(methods(&text, name)));
        }
    }
    names.retain(|name| name.starts_with(|c: char| c.is_ascii_uppercase()));
    names
}

fn fields(text: &str, name: &str) -> Vec<String> {
    let begin = format!("type {name} struct {{");
    let body =
        text.lines().skip_while(|line| *line != begin).skip(1).take_while(|line| *line != "}");
    let declarations = body
        .map(|line| line.split("//").next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty());
    declarations
        .flat_map(|declaration| {
            let words: Vec<&str> = declaration.split_whitespace().collect();
            // `A, B type`; a single word is an embedded type.
            let names = if words.len() == 1 { &words[..] } else { &words[..words.len() - 1] };
            let names = names.iter().take_while({
                let mut more = true;
                move |word| std::mem::replace(&mut more, word.ends_with(','))
            });
            names
                .map(|name| {
                    name.trim_end_matches(',').rsplit('.').next().unwrap_or_default().to_owned()
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

fn methods(text: &str, name: &str) -> Vec<String> {
    let method = |line: &str| {
        let (receiver, rest) = line.strip_prefix("func (")?.split_once(") ")?;
        let owner = receiver.split_whitespace().last()?.trim_start_matches('*');
        (owner == name).then(|| rest.split('(').next().unwrap_or_default().to_owned())
    };
    text.lines().filter_map(method).collect()
}

/// Whether the lines support the clause is for a person to judge; this test checks that they exist.
#[test]
fn the_lines_that_clauses_name_are_there() {
    let mut modules = BTreeMap::new();
    let mut seen = 0;
    for clause in spec::clauses() {
        for reference in clause.references {
            let key = (reference.module.clone(), reference.version.clone());
            let folder =
                modules.entry(key).or_insert_with(|| module(&reference.module, &reference.version));
            let (first, last) = reference.lines;
            let text = fs::read_to_string(folder.join(&reference.file))
                .unwrap_or_else(|error| panic!("{:?}: {}: {error}", clause.id, reference.file));
            let lines: Vec<&str> = text.lines().skip(first - 1).take(last + 1 - first).collect();
            let all_there =
                lines.len() == last + 1 - first && lines.iter().any(|line| !line.trim().is_empty());
            assert!(
                all_there,
                "{:?}: {} does not have lines {first}-{last}",
                clause.id, reference.file
            );
            seen += 1;
        }
    }
    assert!(seen > 200, "only {seen} references were found");
}

/// Returns the directory of a module's sources; Go downloads them if necessary.
fn module(name: &str, version: &str) -> PathBuf {
    let path = match name {
        "go-plugin" => "github.com/hashicorp/go-plugin",
        "grpc-go" => "google.golang.org/grpc",
        "yamux" => "github.com/hashicorp/yamux",
        other => panic!("{other} is not a module that clauses refer to"),
    };
    // One of the module sets that we build with contains it, together with its checksum.
    let all = versions().as_object().expect("versions").values();
    let mut found =
        all.filter_map(|set| downloaded(set["modfile"].as_str().expect("modfile"), path));
    let module = found.find(|module| module["Version"] == version);
    let module = module.unwrap_or_else(|| panic!("no modfile has {path} {version}"));
    PathBuf::from(module["Dir"].as_str().expect("Dir"))
}

/// Returns what Go reports about this module in this set; `None` if the set does not contain it.
fn downloaded(modfile: &str, path: &str) -> Option<Value> {
    let mut go = Command::new("go");
    go.current_dir(root().join("sdk-go-compat"));
    let output =
        go.args(["mod", "download", "-json", &format!("-modfile={modfile}"), path]).output();
    let output = output
        .unwrap_or_else(|error| panic!("`go` cannot be run ({error}): see plugwire_interop::go"));
    let module: Value = serde_json::from_slice(&output.stdout).ok()?;
    module["Error"].is_null().then_some(module)
}
