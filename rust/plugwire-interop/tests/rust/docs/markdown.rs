//! Parses the part of Markdown that the documents use.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use plugwire_interop::go::root;

/// A document.
pub(super) struct Document {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Returns the documents for readers: those in the root, all of `docs`, and those of the
/// conformance suite.
pub(super) fn documents() -> Vec<Document> {
    let of = |folder: PathBuf| {
        fs::read_dir(folder).expect("a directory").map(|entry| entry.expect("an entry").path())
    };
    of(root().to_owned())
        .chain(
            ["docs", "conformance", "conformance/vectors"]
                .map(|f| of(root().join(f)))
                .into_iter()
                .flatten(),
        )
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| Document { text: fs::read_to_string(&path).expect("a document"), path })
        .collect()
}

/// Returns a document by its path from the root.
pub(super) fn document(path: &str) -> Document {
    let path = root().join(path);
    Document { text: fs::read_to_string(&path).expect("a document"), path }
}

impl Document {
    /// Returns the lines outside code blocks.
    pub(super) fn prose(&self) -> impl Iterator<Item = &str> {
        let mut fenced = false;
        self.text.lines().filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            !fenced && !fence
        })
    }

    /// Returns the targets of its links: `[text](target)` and `[text]: target`.
    pub(super) fn links(&self) -> Vec<String> {
        let mut links: Vec<String> = self.definitions().into_values().collect();
        for line in self.prose() {
            for part in line.split("](").skip(1) {
                links.push(part.split(')').next().expect("a first part").to_owned());
            }
        }
        links
    }

    /// Returns the targets of `[name]: target`, by name.
    pub(super) fn definitions(&self) -> BTreeMap<String, String> {
        let definition = |line: &str| {
            let (name, target) = line.strip_prefix('[')?.split_once("]: ")?;
            Some((name.to_owned(), target.to_owned()))
        };
        self.prose().filter_map(definition).collect()
    }

    /// Returns the anchors of its headings, by GitHub's rule.
    pub(super) fn anchors(&self) -> Vec<String> {
        let headings = self.prose().filter(|line| line.starts_with('#'));
        let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
        headings
            .map(|line| {
                line.trim_start_matches('#')
                    .trim()
                    .to_lowercase()
                    .chars()
                    .filter(kept)
                    .collect::<String>()
            })
            .map(|heading| heading.replace(' ', "-"))
            .collect()
    }

    /// Returns the text between single backticks.
    pub(super) fn code_spans(&self) -> Vec<&str> {
        self.prose().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
    }

    /// Returns the code blocks that follow `<!-- KIND: NAME -->`, by name; blocks with the same
    /// name are joined.
    pub(super) fn blocks(&self, kind: &str) -> BTreeMap<String, String> {
        let mut blocks = BTreeMap::<String, String>::new();
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            let name = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
            let Some((_, name)) =
                name.and_then(|rest| rest.split_once(": ")).filter(|(k, _)| *k == kind)
            else {
                continue;
            };
            assert!(
                lines.next().is_some_and(|line| line.starts_with("```")),
                "{name} is not followed by a code block"
            );
            let block = blocks.entry(name.to_owned()).or_default();
            for line in lines.by_ref().take_while(|line| *line != "```") {
                block.push_str(line);
                block.push('\n');
            }
        }
        blocks
    }

    /// Returns the name for failure messages.
    pub(super) fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap_or(&self.path).display().to_string()
    }
}

/// Lists all Rust sources below a directory.
pub(super) fn rust_sources(folder: &Path) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources.extend(rust_sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    sources
}
