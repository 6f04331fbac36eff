//! The library's own generated code, which is checked in. Examples and tests generate theirs in a build script.

use std::{
    collections::BTreeMap,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use crate::machine;

/// The directory of the generated code. It holds nothing else.
const DIRECTORY: &str = "rust/plugwire/src/generated";

/// The directories in `proto/` that the code is generated from.
const PROTOS: [&str; 2] = ["plugin", "grpc/health/v1"];

const HEADER: &str = "\
//! Written by `cargo xtask codegen` from the files in proto/, not by hand.

";

/// Writes the files that differ, and removes those that are no longer generated.
pub(crate) fn write() -> Result<(), Box<dyn Error>> {
    let directory = machine::root().join(DIRECTORY);
    fs::create_dir_all(&directory)?;
    let wanted = wanted()?;
    for name in drift(&directory, &wanted)? {
        let path = directory.join(&name);
        match wanted.get(&name) {
            Some(contents) => fs::write(&path, contents)?,
            None => fs::remove_file(&path)?,
        }
        println!("{DIRECTORY}/{name}");
    }
    Ok(())
}

/// Fails with the list of files that [`write()`] would touch.
pub(crate) fn check() -> Result<(), Box<dyn Error>> {
    let drifted = drift(&machine::root().join(DIRECTORY), &wanted()?)?;
    if drifted.is_empty() {
        return Ok(());
    }
    Err(format!(
        "generated code in {DIRECTORY} is out of date, run `cargo xtask codegen`:\n{}",
        drifted.join("\n")
    )
    .into())
}

/// Returns the files that belong in the directory, by name. The module tree is `mod.rs`.
fn wanted() -> Result<BTreeMap<String, Vec<u8>>, Box<dyn Error>> {
    let root = machine::root().join("proto");
    let mut contracts = plugwire_build::Contracts::new().include(&root);
    for directory in PROTOS {
        for proto in files(&root.join(directory))? {
            contracts = contracts.proto(proto);
        }
    }
    Ok(contracts
        .generate()?
        .into_iter()
        .map(|file| match file.name.as_str() {
            "contracts.rs" => ("mod.rs".into(), [HEADER.as_bytes(), &file.contents].concat()),
            _ => (file.name, file.contents),
        })
        .collect())
}

/// Returns the names of files that are missing, different, or not wanted.
fn drift(directory: &Path, wanted: &BTreeMap<String, Vec<u8>>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for (name, contents) in wanted {
        if !fs::read(directory.join(name)).is_ok_and(|found| found == *contents) {
            names.push(name.clone());
        }
    }
    for path in files(directory)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !wanted.contains_key(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Lists a directory's files, sorted so that the output does not depend on the file system. A missing directory has none.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_what_is_missing_different_or_unwanted() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["different", "right", "unwanted"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let wanted = BTreeMap::from([
            ("different".into(), b"other".to_vec()),
            ("missing".into(), b"missing".to_vec()),
            ("right".into(), b"right".to_vec()),
        ]);
        assert_eq!(drift(directory.path(), &wanted).unwrap(), ["different", "missing", "unwanted"]);
        assert_eq!(drift(&directory.path().join("none"), &wanted).unwrap().len(), 3);
    }

    #[test]
    fn checked_in_code_is_current() {
        if let Err(error) = check() {
            panic!("{error}");
        }
    }
}
