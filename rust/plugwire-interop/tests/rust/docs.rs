//! Checks the documents: links have targets, clauses have their form and their numbers, names of
//! our API exist, and the programs printed in the guide are built and run.

mod markdown;
mod signatures;
mod spec;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use markdown::{document, documents, rust_sources};
use plugwire_interop::go::{root, versions};
use plugwire_interop::sandbox::Sandbox;
use tokio::process::Command;
use tokio::time::timeout;

/// The limit for a build from scratch on a busy machine, which takes minutes.
const BUILD: Duration = Duration::from_secs(1200);

#[test]
fn links_have_targets() {
    for document in documents() {
        let folder = document.path.parent().expect("it lies in a folder");
        for link in document.links().iter().filter(|link| !link.starts_with("http")) {
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(f, a)| (f, Some(a)));
            let target = if file.is_empty() { document.path.clone() } else { folder.join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", document.name());
            let Some(anchor) = anchor else { continue };
            let path = target.canonicalize().expect("it exists");
            let there = markdown::Document { text: fs::read_to_string(&path).expect("text"), path };
            assert!(
                there.anchors().iter().any(|heading| heading == anchor),
                "{}: {link} leads to no heading",
                document.name()
            );
        }
    }
}

/// A crate that stands in a public signature is part of the promise: a new major version of it is one of ours.
#[test]
fn crates_in_public_signatures_are_listed() {
    let page = fs::read_to_string(root().join("docs/stability.md")).expect("a page");
    let (_, section) = page.split_once("## Crates in our signatures").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let listed: BTreeSet<String> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.replace('-', "_"))
        .collect();
    let found = signatures::foreign_crates();
    for (name, file) in &found {
        assert!(listed.contains(name), "`{name}` is in a public signature of {file}: list it");
    }
    for name in &listed {
        assert!(found.contains_key(name), "`{name}` is in no public signature any more");
    }
}

/// Also checks the short form, `[name]` with its target defined separately.
#[test]
fn names_in_brackets_have_targets() {
    for document in documents() {
        let defined = document.definitions();
        let used: BTreeSet<String> = document
            .prose()
            .filter(|line| !(line.starts_with('[') && line.contains("]: ")))
            .flat_map(|line| line.split("[`").skip(1))
            .filter_map(|part| Some(format!("`{}`", part.split_once("`]")?.0)))
            .filter(|name| !name.contains("]("))
            .collect();
        for name in &used {
            assert!(defined.contains_key(name), "{}: {name} has no target", document.name());
        }
        for name in defined.keys() {
            assert!(used.contains(name), "{}: the target of {name} is not used", document.name());
        }
    }
}

/// A statement about safety or lifetimes is worth as much as its test.
#[test]
fn tests_that_the_documents_name_exist() {
    for (name, at_least) in [("docs/threat-model.md", 20), ("docs/lifetime.md", 10)] {
        let mut seen = 0;
        for span in document(name).code_spans() {
            let Some((file, test)) = span.split_once(".rs: ") else { continue };
            let path = root().join("rust/plugwire-interop/tests").join(format!("{file}.rs"));
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{span}: {error}"));
            let declared = text.lines().any(|line| {
                ["fn ", "async fn "].iter().any(|form| line.starts_with(&format!("{form}{test}()")))
            });
            assert!(declared, "{name}: there is no test `{span}`");
            seen += 1;
        }
        assert!(seen > at_least, "{name}: too few tests were found");
    }
}

#[test]
fn clauses_are_numbered_without_gaps() {
    let mut next = spec::PREFIXES.map(|prefix| (prefix, 1));
    for clause in spec::clauses() {
        let (prefix, number) = &clause.id;
        let counter = next.iter_mut().find(|(known, _)| known == prefix);
        let (_, expected) = counter.expect("the kinds are known");
        assert_eq!(number, expected, "{prefix}-{number} is out of order");
        *expected += 1;
        for reference in &clause.references {
            let known = ["go-plugin", "grpc-go", "yamux"].contains(&reference.module.as_str());
            assert!(
                known && reference.version.starts_with('v'),
                "{prefix}-{number}: {}",
                reference.file
            );
            assert!(
                reference.lines.0 <= reference.lines.1,
                "{prefix}-{number}: {}",
                reference.file
            );
        }
    }
    for (prefix, next) in next {
        assert!(next > 1, "there is no clause {prefix}-1");
    }
}

/// Every clause that the tests above read has all of these parts: a clause that lacks one is not
/// recognised.
#[test]
fn a_clause_has_a_role_a_level_and_a_source() {
    let right = "**HS-1** (plugin, MUST, robustness). Prints. [code server.go:1-2; observed 1.8.0]";
    assert!(spec::parse(right).is_ok());
    let wrong = [
        ("HS-1", "XX-1"),
        ("HS-1", "HS-one"),
        ("plugin, ", ""),
        ("plugin", "client"),
        (", MUST", ""),
        ("MUST", "OUGHT"),
        ("robustness", "perhaps"),
        (" [code server.go:1-2; observed 1.8.0]", ""),
        ("code server.go:1-2; observed 1.8.0", ""),
        ("code server.go:1-2", "code server.go"),
        ("code", "hearsay"),
        ("observed 1.8.0", "observed 9.9.9"),
    ];
    for (part, instead) in wrong {
        let clause = right.replace(part, instead);
        assert!(clause != right && spec::parse(&clause).is_err(), "taken: {clause}");
    }
}

/// Returns the names of all clauses.
fn known_clauses() -> BTreeSet<String> {
    spec::clauses().iter().map(|clause| format!("{}-{}", clause.id.0, clause.id.1)).collect()
}

#[test]
fn vectors_have_unique_names_and_existing_clauses() {
    let known = known_clauses();
    let mut seen = 0;
    for entry in fs::read_dir(root().join("conformance/vectors")).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        let file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let mut names = BTreeSet::new();
        for case in file["cases"].as_array().expect("cases") {
            let name = case["name"].as_str().expect("a name");
            assert!(names.insert(name), "{}: {name} twice", path.display());
            let clauses = case["clause"].as_array().expect("clauses");
            assert!(!clauses.is_empty(), "{}: {name} has no clause", path.display());
            for clause in clauses.iter().map(|clause| clause.as_str().expect("text")) {
                assert!(known.contains(clause), "{}: {name}: no {clause}", path.display());
            }
        }
        seen += names.len();
    }
    assert!(seen > 290, "too few vectors were found: {seen}");
}

/// The byte sequences in the specification, which go-plugin accepts, are vectors.
#[test]
fn bytes_in_the_specification_are_vectors() {
    let spec = document("docs/spec.md").text;
    let (_, chapter) = spec.split_once("## 18. In bytes").expect("the chapter");
    let blocks: Vec<Vec<String>> = chapter
        .split("```")
        .skip(1)
        .step_by(2)
        .map(|block| block.lines().skip(1).map(spelled).collect())
        .collect();
    let [_, call, answer, printed, announcements, _] = blocks.as_slice() else {
        panic!("{} blocks", blocks.len());
    };
    let grpc = hex_of("grpc-frames");
    assert_eq!(Some(&call.concat()), grpc.get("health-check"));
    assert!(answer.concat().ends_with(&grpc["health-answer-serving"]));
    assert_eq!(Some(&printed.concat()), grpc.get("stdout"));
    let broker = hex_of("broker-messages");
    let named = ["announcement-unix", "knock", "acknowledgement", "refusal"];
    assert_eq!(*announcements, named.map(|name| broker[name].clone()));
}

/// Returns the bytes of a line such as `12 04 "unix"   a text` in hexadecimal, up to the first word
/// that is not a byte.
fn spelled(line: &str) -> String {
    let mut bytes = String::new();
    for (number, part) in line.split('"').enumerate() {
        if number % 2 == 1 {
            bytes.extend(part.bytes().map(|byte| format!("{byte:02x}")));
            continue;
        }
        for word in part.split_whitespace() {
            if word.len() % 2 == 1 || !word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return bytes;
            }
            bytes.push_str(word);
        }
    }
    bytes
}

/// Returns the hexadecimal bytes in a file of vectors, by the names of the cases.
fn hex_of(file: &str) -> BTreeMap<String, String> {
    let path = root().join("conformance/vectors").join(file).with_extension("json");
    let text = fs::read_to_string(path).expect("a file of vectors");
    let file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let cases = file["cases"].as_array().expect("cases").iter();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    cases.filter_map(|c| Some((text(&c["name"])?, text(&c["hex"]).or(text(&c["send"]))?))).collect()
}

#[test]
fn named_clauses_exist() {
    let known = known_clauses();
    let mut named = 0;
    let sources = ["rust", "conformance"].map(|folder| rust_sources(&root().join(folder)));
    let documents = documents().into_iter().map(|document| document.path);
    for path in sources.into_iter().flatten().chain(documents) {
        for id in clause_ids(&fs::read_to_string(&path).expect("text")) {
            assert!(known.contains(&id), "{}: there is no clause {id}", path.display());
            named += 1;
        }
    }
    assert!(named > known.len(), "too few clauses were found");
}

/// Returns names such as `HS-1`, as whole words.
fn clause_ids(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let id = |word: &str| {
        let (prefix, number) = word.split_once('-')?;
        let is_id = spec::PREFIXES.contains(&prefix)
            && !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit());
        is_id.then(|| word.to_owned())
    };
    words.filter_map(id).collect()
}

/// `Launch::version` in a document is a public name of that type. A link on the name must lead to
/// its file.
#[test]
fn names_of_our_api_exist() {
    let crates = ["plugwire", "plugwire-process", "plugwire-protocol", "plugwire-build"];
    let sources: Vec<_> = crates
        .iter()
        .flat_map(|name| rust_sources(&root().join("rust").join(name).join("src")))
        .collect();
    let mut seen = 0;
    for document in documents() {
        for span in document.code_spans() {
            let Some((owner, member)) = our_name(span) else { continue };
            let declared = sources.iter().any(|path| declares(path, owner, member));
            assert!(declared, "{}: there is no `{span}`", document.name());
            seen += 1;
        }
        for (name, target) in document.definitions() {
            let name = name.trim_matches('`');
            let file = document.path.parent().expect("a directory").join(&target);
            let declared = match our_name(name) {
                Some((owner, member)) => declares(&file, owner, member),
                None => declares_item(&file, name),
            };
            assert!(declared, "{}: `{name}` is not in {target}", document.name());
        }
    }
    assert!(seen > 100, "too few names were found");
}

/// Parses `Type::member`, optionally with `()`.
fn our_name(span: &str) -> Option<(&str, &str)> {
    let (owner, member) = span.trim_end_matches("()").split_once("::")?;
    let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (owner.starts_with(|c: char| c.is_ascii_uppercase()) && word(owner) && word(member))
        .then_some((owner, member))
}

/// Returns whether a file has this public method, field or variant inside `impl Owner`, `struct
/// Owner`, `enum Owner` or `trait Owner`.
fn declares(file: &Path, owner: &str, member: &str) -> bool {
    let text = fs::read_to_string(file).expect("a source");
    let blocks = text.split("\n}").map(|block| block.trim_start());
    let of_owner = blocks.filter(|block| {
        block.lines().any(|line| {
            let words: Vec<&str> =
                line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
            let declares = line.starts_with("impl")
                || line.starts_with("pub struct")
                || line.starts_with("pub enum")
                || line.starts_with("pub trait");
            declares && !line.contains(" for ") && words.contains(&owner)
        })
    });
    let public = ["pub fn", "pub async fn", "pub const fn"];
    // The items of a trait are as public as the trait.
    let of_trait = ["fn", "async fn"];
    of_owner.flat_map(|block| block.lines().map(move |line| (block, line))).any(|(block, line)| {
        let is_trait = block.lines().any(|line| line.starts_with("pub trait"));
        let forms = public.iter().chain(of_trait.iter().filter(|_| is_trait));
        let forms: Vec<String> = forms.map(|form| format!("{form} {member}")).collect();
        let line = line.trim_start();
        let begins = |form: &str| {
            line.strip_prefix(form).is_some_and(|rest| rest.starts_with(['(', '<', ':', ',', ' ']))
        };
        forms.iter().any(|form| begins(form)) || begins(&format!("pub {member}")) || begins(member)
    })
}

/// Returns whether a file has this public type or function.
fn declares_item(file: &Path, name: &str) -> bool {
    let text = fs::read_to_string(file).expect("a source");
    ["pub struct", "pub enum", "pub trait", "pub fn", "pub async fn"].iter().any(|kind| {
        text.lines()
            .filter_map(|line| line.strip_prefix(&format!("{kind} {name}")))
            .any(|rest| rest.starts_with(['(', '<', ' ', ';', ':']))
    })
}

/// The codes of every operation: users match on them, and look them up.
#[test]
fn the_guide_lists_every_error_code() {
    let guide = document("docs/guide.md");
    let listed = guide.code_spans();
    let sources = ["plugwire", "plugwire-protocol"].map(|name| {
        let sources = rust_sources(&root().join("rust").join(name).join("src"));
        sources.into_iter().map(|path| fs::read_to_string(path).expect("a source"))
    });
    let sources: Vec<String> = sources.into_iter().flatten().collect();
    let strings = sources.iter().flat_map(|source| source.split('"'));
    let codes: BTreeSet<&str> = strings.filter(|text| is_error_code(text)).collect();
    assert!(codes.len() > 55, "too few codes were found: {codes:?}");
    for code in codes {
        assert!(listed.contains(&code), "the guide does not list `{code}`");
    }
}

fn is_error_code(text: &str) -> bool {
    const OPERATIONS: [&str; 7] =
        ["address", "attach", "broker", "ports", "reattach", "serve", "start"];
    let Some((operation, kind)) = text.split_once('.') else { return false };
    let word = |c: char| c.is_ascii_lowercase() || c == '-';
    OPERATIONS.contains(&operation) && !kind.is_empty() && kind.chars().all(word)
}

/// The first paragraph of each crate and the page make the same promise.
#[test]
fn every_crate_states_its_stability_promise() {
    let page = document("docs/stability.md");
    for entry in fs::read_dir(root().join("rust")).expect("a directory") {
        let folder = entry.expect("an entry").path();
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let row = page.text.lines().find_map(|line| line.strip_prefix(&format!("| `{name}` | ")));
        let promise = row.and_then(|rest| rest.split(' ').next());
        let promise = promise.unwrap_or_else(|| panic!("the page has no row for {name}"));
        let source =
            ["src/lib.rs", "src/main.rs"].map(|file| fs::read_to_string(folder.join(file)));
        let source = source.into_iter().find_map(Result::ok).expect("a crate has a root");
        let own = source.lines().take(6).any(|line| {
            line.contains(&format!("**{promise}**"))
                || line.contains(&format!("**Promise: {promise}"))
        });
        assert!(own, "the page calls {name} {promise}, but the crate itself does not");
    }
}

#[test]
fn the_readme_lists_every_release() {
    let readme = document("README.md").text;
    for (name, version) in versions().as_object().expect("versions") {
        let (go_plugin, grpc) = (version["go_plugin"].as_str(), version["grpc"].as_str());
        let (go_plugin, grpc) = (go_plugin.expect("go_plugin"), grpc.expect("grpc"));
        let cells =
            format!("| {} | {} |", go_plugin.trim_start_matches('v'), grpc.trim_start_matches('v'));
        assert!(readme.lines().any(|line| line.starts_with(&cells)), "{name}: no row `{cells}`");
    }
}

#[test]
fn the_readmes_samples_are_the_guides() {
    let guide = document("docs/guide.md").blocks("sample");
    let readme = document("README.md").blocks("sample");
    assert_eq!(readme.len(), 2, "a plugin and a host");
    for (path, sample) in readme {
        assert!(guide[&path].starts_with(&sample), "{path} in the README is not the guide's");
    }
}

/// Writes the guide's crate as printed, builds it with its own build script, tests it and runs it.
/// The shorter samples of the guide, and those of the page for Go users, are compiled along with
/// it.
#[tokio::test]
async fn the_guides_programs_are_built_and_run() {
    // Shared with this test's own build, which has compiled nearly all that the crate needs.
    let test = std::env::current_exe().expect("a test is a program");
    let target = test.ancestors().nth(3).expect("target/debug/deps/test");
    let package = target.join("guide");
    write_package(&package);
    let cargo = |arguments: &'static [&'static str]| succeed(cargo(&package, target, arguments));
    cargo(&["build", "--offline", "--bins", "--examples"]).await;
    let tested = cargo(&["test", "--offline", "--bins"]).await;
    let tested = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert!(tested.contains("test tests::greets_by_name ... ok"), "{tested}");

    let programs = test.ancestors().nth(2).expect("target/debug/deps/test");
    let sandbox = Sandbox::new();
    let mut host = sandbox.command(programs.join("hello-host"));
    let greeted = sandbox.run(host.arg(programs.join("hello-plugin"))).await;
    assert_eq!(String::from_utf8_lossy(&greeted.stdout), "Hello, World!\n", "{greeted:?}");
    let by_hand = sandbox.run(&mut sandbox.command(programs.join("hello-plugin"))).await;
    assert_eq!((by_hand.status.code(), by_hand.stdout.len()), (Some(1), 0), "{by_hand:?}");
    sandbox.assert_empty().await;
}

fn cargo(package: &Path, target: &Path, arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(package).env("CARGO_TARGET_DIR", target).args(arguments);
    // `cargo test` describes this package in variables that some build scripts watch: if they were
    // set here, everything would be built again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo
}

async fn succeed(mut command: Command) -> Output {
    let output = timeout(BUILD, command.kill_on_drop(true).output()).await;
    let output = output.expect("the command ends in time").expect("the command runs");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Another process of this test may do the same at the same time: both write the same content, and
/// cargo locks its directory.
fn write_package(package: &Path) {
    let guide = document("docs/guide.md");
    for (path, text) in guide.blocks("sample") {
        let text = if path == "Cargo.toml" { here(&text) } else { text };
        write(&package.join(path), &text);
    }
    let mut snippets = "#![allow(dead_code)]\n".to_owned();
    for document in [guide, document("docs/from-go-plugin.md")] {
        for (name, text) in document.blocks("snippet") {
            snippets.push_str(&format!("mod {name} {{\n{text}}}\n"));
        }
    }
    snippets.push_str("fn main() {}\n");
    write(&package.join("examples/snippets.rs"), &snippets);
    // Use the same releases of all dependencies, so that nothing has to be fetched.
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    write(&package.join("Cargo.lock"), &lock);
}

/// Returns the manifest as a user would write it, with this checkout instead of the published
/// release.
fn here(manifest: &str) -> String {
    const PUBLISHED: &str = "git = \"https://github.com/plugwire/plugwire\"";
    let mut manifest: String = manifest
        .lines()
        .map(|line| {
            let name = line.split(' ').next().expect("a first word");
            let path = root().join("rust").join(name);
            line.replace(PUBLISHED, &format!("path = {:?}", path.display().to_string())) + "\n"
        })
        .collect();
    // A workspace of its own. It has the same profiles as this one, so that compiled dependencies are shared.
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let (_, profiles) = workspace.split_once("[profile.dev]").expect("profiles");
    manifest.push_str(&format!("\n[workspace]\n\n[profile.dev]{profiles}"));
    manifest
}

fn write(path: &Path, text: &str) {
    // Do not rewrite an unchanged file: cargo compares the modification times of files.
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    fs::write(path, text).expect("a file");
}
