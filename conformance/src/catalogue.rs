//! The cases that are built into the program. They are files that people can read and write;
//! `--cases` replaces them with those of a directory.

use std::fs;
use std::path::Path;

use plugwire_conformance_report::model::Role;
use serde::de::DeserializeOwned;

use crate::case::{Catalogue, FileError, Source};
use crate::{host, plugin};

/// One embedded file: its area and its text.
type Embedded = (&'static str, &'static str);

const PLUGIN: [Embedded; 10] = [
    ("handshake", include_str!("../cases/plugin/handshake.toml")),
    ("cookie", include_str!("../cases/plugin/cookie.toml")),
    ("env", include_str!("../cases/plugin/env.toml")),
    ("tls", include_str!("../cases/plugin/tls.toml")),
    ("grpc", include_str!("../cases/plugin/grpc.toml")),
    ("stdio", include_str!("../cases/plugin/stdio.toml")),
    ("broker", include_str!("../cases/plugin/broker.toml")),
    ("mux", include_str!("../cases/plugin/mux.toml")),
    ("shutdown", include_str!("../cases/plugin/shutdown.toml")),
    ("log", include_str!("../cases/plugin/log.toml")),
];

const HOST: [Embedded; 11] = [
    ("handshake", include_str!("../cases/host/handshake.toml")),
    ("environment", include_str!("../cases/host/environment.toml")),
    ("tls", include_str!("../cases/host/tls.toml")),
    ("connection", include_str!("../cases/host/connection.toml")),
    ("calls", include_str!("../cases/host/calls.toml")),
    ("stdio", include_str!("../cases/host/stdio.toml")),
    ("log", include_str!("../cases/host/log.toml")),
    ("broker", include_str!("../cases/host/broker.toml")),
    ("mux", include_str!("../cases/host/mux.toml")),
    ("shutdown", include_str!("../cases/host/shutdown.toml")),
    ("reattach", include_str!("../cases/host/reattach.toml")),
];

/// Returns the cases about plugins: those of a directory, or the embedded ones.
pub fn plugin(folder: Option<&Path>) -> Result<Catalogue<plugin::scene::Scene>, FileError> {
    read(Role::Plugin, &PLUGIN, folder)
}

/// Returns the cases about hosts.
pub fn host(folder: Option<&Path>) -> Result<Catalogue<host::scene::Scene>, FileError> {
    read(Role::Host, &HOST, folder)
}

/// Returns the text of an embedded file.
pub fn source(role: Role, area: &str) -> Option<&'static str> {
    let embedded: &[Embedded] = match role {
        Role::Plugin => &PLUGIN,
        Role::Host => &HOST,
    };
    embedded.iter().find(|(name, _)| *name == area).map(|(_, text)| *text)
}

fn read<S: DeserializeOwned>(
    role: Role,
    embedded: &[Embedded],
    folder: Option<&Path>,
) -> Result<Catalogue<S>, FileError> {
    let Some(folder) = folder else {
        let names: Vec<String> =
            embedded.iter().map(|(area, _)| format!("cases/{role}/{area}.toml")).collect();
        let files: Vec<(&str, Source<'_>)> = embedded
            .iter()
            .zip(&names)
            .map(|((area, text), name)| (*area, Source { name, text }))
            .collect();
        return Catalogue::read(role, &files);
    };
    let texts = files_in(folder)?;
    let files: Vec<(&str, Source<'_>)> =
        texts.iter().map(|(area, name, text)| (area.as_str(), Source { name, text })).collect();
    Catalogue::read(role, &files)
}

/// Area, name and text of each `.toml` in a directory, by name.
fn files_in(folder: &Path) -> Result<Vec<(String, String, String)>, FileError> {
    let wrong = |path: &Path, error: std::io::Error| FileError {
        place: path.display().to_string(),
        what: error.to_string(),
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| wrong(folder, error))? {
        let path = entry.map_err(|error| wrong(folder, error))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = fs::read_to_string(&path).map_err(|error| wrong(&path, error))?;
            let area = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            files.push((area, path.display().to_string(), text));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_is_embedded_and_reads() {
        for (role, embedded) in [("plugin", PLUGIN.as_slice()), ("host", HOST.as_slice())] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(role);
            let on_disk: BTreeSet<_> =
                files_in(&folder).unwrap().into_iter().map(|(area, ..)| area).collect();
            let in_program: BTreeSet<_> =
                embedded.iter().map(|(area, _)| (*area).to_owned()).collect();
            assert_eq!(on_disk, in_program);
        }
        let read = plugin(None).map_err(|error| error.to_string());
        assert!(!read.unwrap().cases.is_empty());
        let read = host(None).map_err(|error| error.to_string());
        assert!(!read.unwrap().cases.is_empty());
    }
}
