//! Reads docs/spec.md strictly: a clause in any other form fails the test.

use std::fs;

use plugwire_interop::go::root;

/// The prefixes of clause names, in the order of their chapters.
pub(super) const PREFIXES: [&str; 13] =
    ["HS", "ENV", "SOCK", "TLS", "GRPC", "HLT", "RFL", "STD", "LOG", "SHD", "RAT", "BRK", "MUX"];

/// The releases that may follow "observed".
const RELEASES: [&str; 5] = ["1.0.1", "1.4.8", "1.6.3", "1.7.0", "1.8.0"];

/// One clause.
pub(super) struct Clause {
    /// The prefix and the number: "HS", 1.
    pub(super) id: (String, u32),
    /// The places in source code and documents that the clause is based on.
    pub(super) references: Vec<Reference>,
}

/// Lines in a file of a Go module.
pub(super) struct Reference {
    /// "go-plugin", "grpc-go" or "yamux".
    pub(super) module: String,
    /// "v1.8.0".
    pub(super) version: String,
    pub(super) file: String,
    pub(super) lines: (usize, usize),
}

/// Returns all clauses, in the order of the document.
pub(super) fn clauses() -> Vec<Clause> {
    let text = fs::read_to_string(root().join("docs/spec.md")).expect("docs/spec.md");
    let mut clauses: Vec<String> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let begins = line.starts_with("**") && line.contains("** (");
        if begins {
            clauses.push(String::new());
        }
        inside = begins || (inside && !line.starts_with('#'));
        if inside {
            let clause = clauses.last_mut().expect("begun");
            clause.push_str(line);
            clause.push('\n');
        }
    }
    clauses
        .iter()
        .map(|clause| parse(clause).unwrap_or_else(|why| panic!("{why} in:\n{clause}")))
        .collect()
}

/// `**HS-1** (plugin, MUST). Prints one line. [code server.go:426-432; observed 1.8.0]`
pub(super) fn parse(clause: &str) -> Result<Clause, &'static str> {
    let (id, rest) =
        clause.strip_prefix("**").and_then(|rest| rest.split_once("** (")).ok_or("no id")?;
    let (prefix, number) = id.split_once('-').ok_or("an id without a number")?;
    if !PREFIXES.contains(&prefix) {
        return Err("an unknown kind of clause");
    }
    let number = number.parse().map_err(|_| "an id without a number")?;
    let (scope, text) = rest.split_once("). ").ok_or("no `). ` after the role and the level")?;
    let scope: Vec<&str> = scope.split(", ").collect();
    let levels = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY"];
    match scope.as_slice() {
        [role, level, more @ ..]
            if ["host", "plugin", "both"].contains(role)
                && levels.contains(level)
                && (more.is_empty() || more == ["robustness"]) => {}
        _ => return Err("neither a role and a level, nor robustness"),
    }
    let sources = text.trim_end().strip_suffix(']').ok_or("no source at its end")?;
    let (_, sources) = sources.rsplit_once('[').ok_or("no source at its end")?;
    Ok(Clause { id: (prefix.to_owned(), number), references: references(sources)? })
}

fn references(sources: &str) -> Result<Vec<Reference>, &'static str> {
    let sources = sources.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut references = Vec::new();
    for source in sources.split("; ") {
        let (kind, which) = source.split_once(' ').ok_or("a source without a place")?;
        for which in which.split(", ") {
            match kind {
                "code" => references.push(reference(which)?),
                "documented" if which.starts_with("docs/") => references.push(reference(which)?),
                "observed" if RELEASES.contains(&which) => {}
                _ => return Err("a source that is neither code, documented nor observed"),
            }
        }
    }
    Ok(references)
}

/// Parses `client.go:10-12` in go-plugin 1.8.0, or `yamux@v0.1.2/mux.go:70`.
fn reference(text: &str) -> Result<Reference, &'static str> {
    let (path, lines) = text.rsplit_once(':').ok_or("a file without lines")?;
    let (first, last) = lines.split_once('-').unwrap_or((lines, lines));
    let number = |text: &str| text.parse().map_err(|_| "a line that is no number");
    let (module, version, file) = match path.split_once('@') {
        None => ("go-plugin", "v1.8.0", path),
        Some((module, rest)) => {
            let (version, file) = rest.split_once('/').ok_or("a module without a file")?;
            (module, version, file)
        }
    };
    Ok(Reference {
        module: module.to_owned(),
        version: version.to_owned(),
        file: file.to_owned(),
        lines: (number(first)?, number(last)?),
    })
}
