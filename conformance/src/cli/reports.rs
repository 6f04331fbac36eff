//! Reports as files.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plugwire_conformance_report::html::Detail;
use plugwire_conformance_report::model::{Outcome, Run};
use plugwire_conformance_report::{html, jsonl, junit, markdown};

use super::args::Report;
use super::interrupt::whole;
use super::run::runtime;
use super::{Trouble, note};

/// A kind of report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Html,
    Jsonl,
    Junit,
    Markdown,
}

/// The reports to write, and where.
#[derive(Debug)]
pub(super) struct Files(Vec<(Kind, PathBuf)>);

impl Files {
    /// From `KIND=FILE`s.
    pub(super) fn parse(texts: &[String]) -> Result<Self, Trouble> {
        let parsed = texts.iter().map(|text| {
            let (kind, file) = text.split_once('=').unwrap_or((text, ""));
            let kind = match kind {
                "html" => Kind::Html,
                "jsonl" => Kind::Jsonl,
                "junit" => Kind::Junit,
                "markdown" => Kind::Markdown,
                _ => {
                    return Err(Trouble::Usage(format!(
                        "no such report: {kind:?}; known: html, jsonl, junit, markdown"
                    )));
                }
            };
            match file.is_empty() {
                true => Err(Trouble::Usage(format!("--report {text}: which file? KIND=FILE"))),
                false => Ok((kind, PathBuf::from(file))),
            }
        });
        let files: Vec<(Kind, PathBuf)> = parsed.collect::<Result<_, _>>()?;
        // Checked before the run, so that minutes are not wasted on a report that cannot be
        // written.
        if let Some((_, file)) = files.iter().find(|(_, file)| !folder_of(file).is_dir()) {
            let folder = folder_of(file).display();
            return Err(Trouble::Usage(format!(
                "{}: the directory {folder} does not exist",
                file.display()
            )));
        }
        Ok(Self(files))
    }

    /// Writes the reports. A report that cannot be written is an error of the run.
    pub(super) fn write(&self, runs: &[Run], all: bool) -> Result<(), Trouble> {
        for (kind, file) in &self.0 {
            write(*kind, file, runs, all)?;
        }
        Ok(())
    }
}

fn write(kind: Kind, file: &Path, runs: &[Run], all: bool) -> Result<(), Trouble> {
    // A pipe or a terminal is written directly and may block; a link stands for its target.
    let place = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let written = match fs::metadata(place).is_ok_and(|there| !there.is_file()) {
        true => {
            File::options().write(true).open(place).and_then(|out| write_to(&out, kind, runs, all))
        }
        false => whole(|| replace(place, kind, runs, all))?,
    };
    written.map_err(|error| Trouble::engine(&format!("cannot write {}", file.display()), error))
}

fn replace(file: &Path, kind: Kind, runs: &[Run], all: bool) -> io::Result<()> {
    // Written to a temporary file first: a full disk must not replace an older, complete report
    // with half of a new one.
    let draft = tempfile::NamedTempFile::new_in(folder_of(file))?;
    write_to(draft.as_file(), kind, runs, all)?;
    // With the usual permissions, not those of a temporary file.
    use std::os::unix::fs::PermissionsExt as _;
    draft.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    draft.persist(file).map(drop).map_err(|error| error.error)
}

fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn write_to(file: &File, kind: Kind, runs: &[Run], all: bool) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    let detail = if all { Detail::All } else { Detail::NotPassed };
    match kind {
        Kind::Html => out.write_all(html::page(runs, detail).as_bytes())?,
        Kind::Jsonl => runs.iter().try_for_each(|run| jsonl::write(&mut out, run))?,
        Kind::Junit => out.write_all(junit::document(runs).as_bytes())?,
        Kind::Markdown => out.write_all(markdown::matrix(runs).as_bytes())?,
    }
    out.flush()
}

/// `report`: combines several runs.
pub(super) fn combine(args: &Report) -> Result<ExitCode, Trouble> {
    let files = Files::parse(&args.reports)?;
    // Signals must be handled, or half a report would remain.
    let _hearing = runtime()?;
    let mut runs = Vec::new();
    for file in &args.runs {
        let named =
            |error: &dyn std::fmt::Display| Trouble::Usage(format!("{}: {error}", file.display()));
        let input = File::open(file).map_err(|error| named(&error))?;
        runs.extend(jsonl::read(BufReader::new(input)).map_err(|error| named(&error))?);
    }
    files.write(&runs, args.all)?;
    Ok(ExitCode::from(Outcome::Conformant.code()))
}

/// In CI the list must not be adapted to the failures.
pub(super) fn may_bless() -> Result<(), Trouble> {
    match std::env::var_os("CI") {
        Some(value) if !value.is_empty() => Err(Trouble::usage("--bless is not for CI")),
        _ => Ok(()),
    }
}

/// Writes a known list of the failures. The author has to add the reasons.
pub(super) fn bless(file: &Path, runs: &[Run]) -> Result<(), Trouble> {
    let mut failed: Vec<&str> = runs
        .iter()
        .flat_map(|run| &run.cases)
        .filter(|case| case.verdict.is_failure())
        .map(|case| case.id.as_str())
        .collect();
    failed.sort_unstable();
    failed.dedup();
    let entries = failed.iter().map(|id| {
        format!(
            "[[known]]\npattern = \"{id}\"\nexpect = \"fail\"\nreason = \"TODO: why this fails\"\n"
        )
    });
    let text = entries.collect::<Vec<_>>().join("\n");
    fs::write(file, text)
        .map_err(|error| Trouble::engine(&format!("cannot write {}", file.display()), error))?;
    note(&format!("{} entries are in {}; say why in each", failed.len(), file.display()));
    Ok(())
}
