//! Tests the suite itself: each case is played against the healthy peer, which must pass, and
//! against its mutants, which must not.

use std::path::Path;
use std::process::ExitCode;

use plugwire_conformance_peers as peers;
use plugwire_conformance_report::model::{Outcome, Role};

use super::args::{Mutants, RoleWord};
use super::interrupt::interruptible;
use super::progress::Shown;
use super::{Trouble, say};
use crate::catalogue;
use crate::select::matches;
use crate::trust::{self, Effort};

/// `mutants`
pub(super) fn check(args: &Mutants) -> Result<ExitCode, Trouble> {
    if let Some(role) = args.list {
        return list(role);
    }
    let program = std::env::current_exe().map_err(|error| Trouble::engine("no program", error))?;
    let mut cells = Vec::new();
    let runtime = super::run::runtime()?;
    for (role, only) in chosen(args)? {
        let effort =
            Effort { only, one: args.one, workers: args.jobs, timeout_scale: args.timeout_scale };
        let mut shown = Shown::new(args.quiet);
        let checked = trust::check(role, &program, &effort, |tried| shown.tell_tried(&tried));
        let checked = runtime.block_on(interruptible(checked));
        shown.clear();
        cells.extend(checked?.map_err(Trouble::Usage)?);
    }
    if cells.is_empty() {
        return Err(Trouble::Nothing);
    }
    if let Some(file) = &args.markdown {
        write(file, &trust::markdown(&cells))?;
    }
    if let Some(file) = &args.caught {
        write(file, &trust::caught_file(&cells))?;
    }
    say(&trust::summary(&cells))?;
    let alive = cells.iter().any(|cell| !cell.is_good());
    Ok(ExitCode::from(if alive { Outcome::NotConformant } else { Outcome::Conformant }.code()))
}

/// Returns the roles, and the patterns that each of them has cases for.
fn chosen(args: &Mutants) -> Result<Vec<(Role, Vec<String>)>, Trouble> {
    let mut names = Vec::new();
    if args.role != Some(RoleWord::Host) {
        let all = catalogue::plugin(None).map_err(Trouble::usage)?.cases;
        names.push((Role::Plugin, all.into_iter().map(|case| case.header.id).collect::<Vec<_>>()));
    }
    if args.role != Some(RoleWord::Plugin) {
        let all = catalogue::host(None).map_err(Trouble::usage)?.cases;
        names.push((Role::Host, all.into_iter().map(|case| case.header.id).collect()));
    }
    let is_of = |names: &[String], pattern: &str| names.iter().any(|name| matches(pattern, name));
    let nobodys = |pattern: &&String| !names.iter().any(|(_, names)| is_of(names, pattern));
    if let Some(pattern) = args.only.iter().find(nobodys) {
        return Err(Trouble::Usage(format!("no case matches {pattern:?}")));
    }
    let chosen = names.into_iter().map(|(role, names)| {
        let only = args.only.iter().filter(|pattern| is_of(&names, pattern)).cloned();
        (role, only.collect::<Vec<_>>())
    });
    Ok(chosen.filter(|(_, only)| args.only.is_empty() || !only.is_empty()).collect())
}

fn write(file: &Path, text: &str) -> Result<(), Trouble> {
    std::fs::write(file, text)
        .map_err(|error| Trouble::engine(&format!("cannot write {}", file.display()), error))
}

fn list(role: RoleWord) -> Result<ExitCode, Trouble> {
    let all: Vec<(String, String)> = match role {
        RoleWord::Plugin => {
            let mutants = peers::plugin::mutants().map_err(Trouble::Usage)?;
            mutants.into_iter().map(|(name, mutant)| (name, mutant.about)).collect()
        }
        RoleWord::Host => peers::host::flaws().into_iter().collect(),
    };
    let lines = all.iter().map(|(name, about)| format!("{name}\n    {about}\n"));
    say(&lines.collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

/// `scripted-plugin`
pub(super) fn scripted_plugin(
    mutant: Option<&str>,
    tcp: bool,
    versions: Vec<u32>,
) -> Result<ExitCode, Trouble> {
    let mut script = match mutant {
        None => peers::script::Script::default(),
        Some(name) => {
            let mut all = peers::plugin::mutants().map_err(Trouble::Usage)?;
            let mutant = all.remove(name);
            mutant.ok_or_else(|| Trouble::Usage(format!("no mutant is called {name}")))?.script
        }
    };
    script.listen.tcp |= tcp;
    if !versions.is_empty() {
        script.versions = versions;
    }
    Ok(peers::plugin::play(script, None))
}

/// `scripted-host`
pub(super) fn scripted_host(flaw: Option<&str>) -> Result<ExitCode, Trouble> {
    Ok(peers::host::drive(flaw))
}
