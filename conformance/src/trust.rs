//! Why the suite can be trusted: every case passes with a healthy peer and rejects each of its mutants.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::iter;
use std::path::Path;

use plugwire_conformance_report::model::{Role, Verdict};

use crate::case::{Case, Catalogue};
use crate::engine::{self, Mode, Options, Plan};
use crate::host::HostMode;
use crate::plugin::PluginMode;
use crate::select::{Known, Selection};
use crate::subject::{self, Subject};
use crate::catalogue;

/// How much is tried.
#[derive(Debug, Clone, Default)]
pub struct Effort {
    /// Only cases that match.
    pub only: Vec<String>,
    /// One mutant for each case in place of all.
    pub one: bool,
    /// Cases at a time.
    pub workers: Option<usize>,
    /// Makes budgets longer.
    pub timeout_scale: u32,
}

/// One case against one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Whose case.
    pub role: Role,
    /// Its name.
    pub case: String,
    /// The mutant; none is the healthy peer.
    pub mutant: Option<String>,
    /// What the case said.
    pub verdict: Verdict,
    /// Why.
    pub why: String,
}

impl Cell {
    /// The healthy peer passes; a mutant is rejected, and not by an error of the suite.
    pub fn is_good(&self) -> bool {
        match self.mutant {
            None => self.verdict == Verdict::Pass,
            Some(_) => self.verdict.is_failure(),
        }
    }
}

/// Plays all cases of a role against the suite's own peers. `program` is the suite's.
///
/// # Errors
///
/// What is wrong with a case file or a pattern.
pub async fn check(role: Role, program: &Path, effort: &Effort) -> Result<Vec<Cell>, String> {
    match role {
        Role::Plugin => {
            let catalogue = catalogue::plugin(None).map_err(|error| error.to_string())?;
            check_with(PluginMode, &catalogue, program, effort).await
        }
        Role::Host => {
            let catalogue = catalogue::host(None).map_err(|error| error.to_string())?;
            check_with(HostMode, &catalogue, program, effort).await
        }
    }
}

async fn check_with<M: Mode + Clone>(
    mode: M,
    catalogue: &Catalogue<M::Scene>,
    program: &Path,
    effort: &Effort,
) -> Result<Vec<Cell>, String>
where
    M::Scene: Clone,
{
    let selection = Selection { only: effort.only.clone(), ..Selection::default() };
    let cases = selection.of(&catalogue.cases)?;
    // All cases with the same peer are one run, so that the engine's workers have something to do.
    let mut runs: BTreeMap<(Option<&String>, bool), Vec<&Case<M::Scene>>> = BTreeMap::new();
    for case in cases {
        let tcp = case.header.needs.iter().any(|feature| feature == "tcp");
        for mutant in iter::once(None).chain(mutants_of(case, effort).iter().map(Some)) {
            runs.entry((mutant, tcp)).or_default().push(case);
        }
    }
    let mut cells = Vec::new();
    for ((peer, tcp), concerned) in runs {
        let plan = Plan {
            mode: mode.clone(),
            subject: scripted(catalogue.role, program, peer.map(String::as_str), tcp),
            cases: concerned.into_iter().cloned().collect(),
            known: Known::default(),
            options: Options {
                workers: effort.workers.unwrap_or(Options::default().workers),
                timeout_scale: effort.timeout_scale.max(1),
                ..Options::default()
            },
        };
        let run = engine::run(plan, |_| {}).await;
        cells.extend(run.cases.into_iter().map(|case| {
            let why = match (case.finding, case.notes.first()) {
                (Some(finding), _) => format!("expected {}, got {}", finding.expected, finding.actual),
                (None, Some(note)) => note.clone(),
                (None, None) => String::new(),
            };
            Cell { role: case.role, case: case.id, mutant: peer.cloned(), verdict: case.verdict, why }
        }));
    }
    Ok(cells)
}

fn mutants_of<'a, S>(case: &'a Case<S>, effort: &Effort) -> &'a [String] {
    let all = &case.header.mutants;
    if effort.one { &all[..all.len().min(1)] } else { all }
}

/// The suite's own peer as a subject. As plugin it listens on a unix socket, or on TCP: both is more than any plugin does.
pub fn scripted(role: Role, program: &Path, mutant: Option<&str>, tcp: bool) -> Subject {
    let program = program.display().to_string();
    let (command, flag) = match role {
        Role::Plugin => ("scripted-plugin", "--mutant"),
        Role::Host => ("scripted-host", "--flaw"),
    };
    let mut words = vec![program, command.to_owned()];
    words.extend(mutant.into_iter().flat_map(|name| [flag.to_owned(), name.to_owned()]));
    let mut features = subject::features(role);
    let mut app_versions = vec![1];
    if role == Role::Plugin {
        app_versions = vec![1, 3];
        words.extend(["--versions", "1,3"].map(str::to_owned));
        words.extend(tcp.then(|| "--tcp".to_owned()));
        features.retain(|feature| tcp || feature != "tcp");
    }
    Subject {
        name: mutant.map_or_else(|| "healthy".to_owned(), str::to_owned),
        role,
        command: words,
        cookie: Subject::probe_cookie(),
        app_versions,
        features,
        errors: Default::default(),
    }
}

/// What came of it, and everything that is not as it should be.
pub fn summary(cells: &[Cell]) -> String {
    let mut text = String::new();
    for cell in cells.iter().filter(|cell| !cell.is_good()) {
        let peer = cell.mutant.as_deref().unwrap_or("the healthy peer");
        let _ = writeln!(text, "{}:{} with {peer}: {} {}", cell.role, cell.case, cell.verdict, cell.why);
    }
    let healthy: Vec<_> = cells.iter().filter(|cell| cell.mutant.is_none()).collect();
    let mutants: Vec<_> = cells.iter().filter(|cell| cell.mutant.is_some()).collect();
    let good = |cells: &[&Cell]| cells.iter().filter(|cell| cell.is_good()).count();
    let _ = writeln!(
        text,
        "{} of {} cases pass with a healthy peer; {} of {} mutants are rejected, {} are alive",
        good(&healthy),
        healthy.len(),
        good(&mutants),
        mutants.len(),
        mutants.len() - good(&mutants),
    );
    text
}

/// The table case × mutant.
pub fn markdown(cells: &[Cell]) -> String {
    let mut text = String::from("| case | mutant | verdict | what was said |\n|---|---|---|---|\n");
    for cell in cells.iter().filter(|cell| cell.mutant.is_some()) {
        let why = cell.why.replace(['\n', '\r'], " ").replace('|', "\\|");
        let why: String = why.chars().take(160).collect();
        let mutant = cell.mutant.as_deref().unwrap_or_default();
        let _ = writeln!(text, "| {}:{} | {mutant} | {} | {why} |", cell.role, cell.case, cell.verdict);
    }
    text
}
