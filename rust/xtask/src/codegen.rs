//! The checked-in Rust code of `proto/`, made by `plugwire-build` as a user's build script would make it.

use std::{
    collections::BTreeMap,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use crate::machine;

/// A folder that belongs to the generator alone, and the folders in proto/ whose files it holds.
struct Target {
    folder: &'static str,
    protos: &'static [&'static str],
}

const TARGETS: &[Target] = &[
    Target { folder: "rust/plugwire/src/generated", protos: &["plugin", "grpc/health/v1"] },
    Target { folder: "rust/plugwire/examples/contracts", protos: &["greeter", "kv"] },
    // Its package is `proto`, as is the KV contract's, and their messages have the same names.
    Target { folder: "rust/plugwire/examples/counter_contract", protos: &["counter"] },
    Target {
        folder: "rust/plugwire-interop/src/generated",
        protos: &["greeter", "grpc/health/v1", "kv", "probe", "streaming"],
    },
];

const HEADER: &str = "\
//! Written by `cargo xtask codegen` from the files in proto/, not by hand.

";

/// Writes what differs, and removes what is no longer generated.
pub(crate) fn write() -> Result<(), Box<dyn Error>> {
    for target in TARGETS {
        let folder = machine::root().join(target.folder);
        fs::create_dir_all(&folder)?;
        let wanted = wanted(target)?;
        for name in drift(&folder, &wanted)? {
            let path = folder.join(&name);
            match wanted.get(&name) {
                Some(contents) => fs::write(&path, contents)?,
                None => fs::remove_file(&path)?,
            }
            println!("{}/{name}", target.folder);
        }
    }
    Ok(())
}

/// Fails with the list of files that [`write()`] would touch.
pub(crate) fn check() -> Result<(), Box<dyn Error>> {
    let mut drifted = Vec::new();
    for target in TARGETS {
        let names = drift(&machine::root().join(target.folder), &wanted(target)?)?;
        drifted.extend(names.into_iter().map(|name| format!("{}/{name}", target.folder)));
    }
    if drifted.is_empty() {
        return Ok(());
    }
    Err(format!(
        "generated code is not current, run `cargo xtask codegen`:\n{}",
        drifted.join("\n")
    )
    .into())
}

/// What belongs into the folder, by name. The module tree is the folder's `mod.rs`.
fn wanted(target: &Target) -> Result<BTreeMap<String, Vec<u8>>, Box<dyn Error>> {
    let root = machine::root().join("proto");
    let mut contracts = plugwire_build::Contracts::new().include(&root);
    for folder in target.protos {
        for proto in files(&root.join(folder))? {
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

/// The names that are missing, different, or there without being wanted.
fn drift(folder: &Path, wanted: &BTreeMap<String, Vec<u8>>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for (name, contents) in wanted {
        if !fs::read(folder.join(name)).is_ok_and(|found| found == *contents) {
            names.push(name.clone());
        }
    }
    for path in files(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !wanted.contains_key(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The folder's files, sorted so that the output does not depend on the file system; none if it is not there.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = match fs::read_dir(folder) {
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
        let folder = tempfile::tempdir().unwrap();
        for name in ["different", "right", "unwanted"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let wanted = BTreeMap::from([
            ("different".into(), b"other".to_vec()),
            ("missing".into(), b"missing".to_vec()),
            ("right".into(), b"right".to_vec()),
        ]);
        assert_eq!(drift(folder.path(), &wanted).unwrap(), ["different", "missing", "unwanted"]);
        assert_eq!(drift(&folder.path().join("none"), &wanted).unwrap().len(), 3);
    }

    #[test]
    fn checked_in_code_is_current() {
        if let Err(error) = check() {
            panic!("{error}");
        }
    }
}
