//! The suite under test: each case is played against the healthy peer, which must pass, and against its mutants, which must
//! not.

use std::path::Path;
use std::process::ExitCode;

use plugwire_conformance_peers as peers;
use plugwire_conformance_report::model::{Outcome, Role};

use super::args::{Mutants, RoleWord};
use super::{Trouble, say};
use crate::trust::{self, Effort};

/// `mutants`
pub(super) fn check(args: &Mutants) -> Result<ExitCode, Trouble> {
    if let Some(role) = args.list {
        return list(role);
    }
    let effort = Effort {
        only: args.only.clone(),
        one: args.one,
        workers: args.jobs,
        timeout_scale: args.timeout_scale,
    };
    let program = std::env::current_exe().map_err(|error| Trouble::engine("no program", error))?;
    let mut cells = Vec::new();
    let runtime = super::run::runtime()?;
    for role in [Role::Plugin, Role::Host] {
        let wanted = match args.role {
            Some(RoleWord::Plugin) => role == Role::Plugin,
            Some(RoleWord::Host) => role == Role::Host,
            None => true,
        };
        if wanted {
            let checked = super::interrupt::interruptible(trust::check(role, &program, &effort));
            cells.extend(runtime.block_on(checked)?.map_err(Trouble::Usage)?);
        }
    }
    if cells.is_empty() {
        return Err(Trouble::Nothing);
    }
    if let Some(file) = &args.markdown {
        write(file, &trust::markdown(&cells))?;
    }
    say(&trust::summary(&cells))?;
    let alive = cells.iter().any(|cell| !cell.is_good());
    Ok(ExitCode::from(if alive { Outcome::NotConformant } else { Outcome::Conformant }.code()))
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
        RoleWord::Host => peers::host::flaws().map_err(Trouble::Usage)?.into_iter().collect(),
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
