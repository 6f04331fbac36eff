//! Why the suite can be trusted: every case passes with a healthy peer and rejects each of its mutants.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use plugwire_conformance_peers as peers;
use plugwire_conformance_report::model::{CaseResult, Role, Verdict};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::case::{Case, Catalogue};
use crate::catalogue;
use crate::engine::{self, Mode, Options, Plan};
use crate::host::HostMode;
use crate::plugin::PluginMode;
use crate::select::{Known, Selection};
use crate::subject::{self, Subject};

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
    /// What is wrong with the mutant is that it ends.
    pub dies: bool,
}

impl Cell {
    /// The healthy peer passes; a mutant is rejected for what it does.
    ///
    /// A plugin that crashes by chance, or a case that runs out of its budget, says nothing of what is wrong with it.
    /// A host's driver ends with its host, and is no measure of either.
    pub fn is_good(&self) -> bool {
        match (&self.mutant, self.role, self.verdict) {
            (None, _, verdict) => verdict == Verdict::Pass,
            (Some(_), Role::Plugin, Verdict::Crash) => self.dies,
            (Some(_), Role::Plugin, Verdict::Timeout) => false,
            (Some(_), _, verdict) => verdict.is_failure(),
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
            check_with(
                PluginMode { timeout_scale: effort.timeout_scale },
                &catalogue,
                program,
                effort,
            )
            .await
        }
        Role::Host => {
            let catalogue = catalogue::host(None).map_err(|error| error.to_string())?;
            check_with(HostMode::new(effort.timeout_scale), &catalogue, program, effort).await
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
    let mutants = mutants(catalogue.role)?;
    all_exist(&cases, &mutants)?;
    // Most of a case is waiting, so there are more runs at a time than cores.
    let workers = effort.workers.unwrap_or(8 * Options::default().workers);
    let places = Arc::new(Semaphore::new(workers.max(1)));
    let mut running = JoinSet::new();
    for (peer, tcp, concerned) in runs(cases, effort) {
        let peer = peer.cloned();
        let dies = peer.as_ref().is_some_and(|name| mutants.get(name) == Some(&true));
        let plan = Plan {
            mode: mode.clone(),
            subject: scripted(catalogue.role, program, peer.as_deref(), tcp),
            cases: concerned.into_iter().cloned().collect(),
            known: Known::default(),
            options: Options {
                // The healthy peer has every case in one run.
                workers: if peer.is_none() { (workers / 2).max(1) } else { 1 },
                timeout_scale: effort.timeout_scale.max(1),
                ..Options::default()
            },
        };
        let places = places.clone();
        running.spawn(async move {
            let _place = places.acquire().await;
            let run = engine::run(plan, |_| {}).await;
            run.cases.into_iter().map(|case| cell(case, peer.clone(), dies)).collect::<Vec<_>>()
        });
    }
    let mut cells = Vec::new();
    while let Some(run) = running.join_next().await {
        cells.extend(run.map_err(|error| format!("the suite panicked: {error}"))?);
    }
    cells.sort_by(|one, other| (&one.case, &one.mutant).cmp(&(&other.case, &other.mutant)));
    Ok(cells)
}

fn cell(case: CaseResult, mutant: Option<String>, dies: bool) -> Cell {
    let why = match (case.finding, case.notes.into_iter().next()) {
        (Some(finding), _) => format!("expected {}, got {}", finding.expected, finding.actual),
        (None, note) => note.unwrap_or_default(),
    };
    Cell { role: case.role, case: case.id, mutant, verdict: case.verdict, why, dies }
}

/// The names of a role's mutants, and whether what is wrong with each is that it ends.
fn mutants(role: Role) -> Result<BTreeMap<String, bool>, String> {
    match role {
        Role::Plugin => {
            let all = peers::plugin::mutants()?.into_iter();
            Ok(all.map(|(name, mutant)| (name, mutant.dies)).collect())
        }
        Role::Host => Ok(peers::host::flaws()?.into_keys().map(|name| (name, false)).collect()),
    }
}

/// A mutant that does not exist is rejected by every case, which proves nothing.
fn all_exist<S>(cases: &[&Case<S>], mutants: &BTreeMap<String, bool>) -> Result<(), String> {
    for case in cases {
        if let Some(name) = case.header.mutants.iter().find(|name| !mutants.contains_key(*name)) {
            return Err(format!("{}: {}: no mutant is called {name}", case.place, case.header.id));
        }
    }
    Ok(())
}

/// A mutant, or the healthy peer; whether it is on TCP; the cases that it gets.
type Playing<'a, S> = (Option<&'a String>, bool, Vec<&'a Case<S>>);

/// One run for the healthy peer with all its cases, and one for each case and mutant: some mutants make each of their cases
/// wait to its end, and those need not wait for one another.
fn runs<'a, S>(cases: Vec<&'a Case<S>>, effort: &Effort) -> Vec<Playing<'a, S>> {
    let needs_tcp = |case: &Case<S>| case.header.needs.iter().any(|feature| feature == "tcp");
    let (tcp, unix): (Vec<_>, Vec<_>) = cases.iter().copied().partition(|case| needs_tcp(case));
    let mut runs = vec![(None, false, unix), (None, true, tcp)];
    runs.retain(|(.., cases)| !cases.is_empty());
    for case in cases {
        for mutant in mutants_of(case, effort) {
            runs.push((Some(mutant), needs_tcp(case), vec![case]));
        }
    }
    runs
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
        let _ = writeln!(
            text,
            "{}:{} with {peer}: {} {}",
            cell.role, cell.case, cell.verdict, cell.why
        );
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
        let _ =
            writeln!(text, "| {}:{} | {mutant} | {} | {why} |", cell.role, cell.case, cell.verdict);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn neither_a_crash_by_chance_nor_a_budget_is_a_rejection() {
        let good = |role, verdict, dies| {
            let (case, mutant) = (String::new(), Some("m".to_owned()));
            Cell { role, case, mutant, verdict, why: String::new(), dies }.is_good()
        };
        assert!(
            good(Role::Plugin, Verdict::Fail, false) && good(Role::Plugin, Verdict::Fail, true)
        );
        assert!(good(Role::Plugin, Verdict::Crash, true));
        assert!(!good(Role::Plugin, Verdict::Crash, false));
        assert!(!good(Role::Plugin, Verdict::Timeout, true));
        assert!(
            !good(Role::Plugin, Verdict::Pass, true) && !good(Role::Host, Verdict::Error, true)
        );
    }

    #[test]
    fn every_mutant_exists_and_is_somebodys() {
        let plugin = catalogue::plugin(None).unwrap().cases;
        let host = catalogue::host(None).unwrap().cases;
        compare(&plugin.iter().collect::<Vec<_>>(), Role::Plugin);
        compare(&host.iter().collect::<Vec<_>>(), Role::Host);
    }

    fn compare<S>(cases: &[&Case<S>], role: Role) {
        let existing = mutants(role).unwrap();
        all_exist(cases, &existing).unwrap();
        let named: BTreeSet<_> =
            cases.iter().flat_map(|case| &case.header.mutants).cloned().collect();
        assert_eq!(
            existing.keys().cloned().collect::<BTreeSet<_>>(),
            named,
            "a mutant that no case rejects"
        );
        let one = existing.into_iter().take(1).collect();
        assert!(all_exist(cases, &one).is_err());
    }
}
