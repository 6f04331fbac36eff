//! Why the suite can be trusted: every case passes with a healthy peer and rejects each of its mutants.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use plugwire_conformance_peers as peers;
use plugwire_conformance_report::model::{CaseResult, Role, Verdict};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::case::{Case, Catalogue};
use crate::catalogue;
use crate::caught;
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
    /// One mutant for each case instead of all.
    pub one: bool,
    /// Cases at a time.
    pub workers: Option<usize>,
    /// Makes budgets longer.
    pub timeout_scale: u32,
}

/// Progress while mutants are played: the last one, and how many are done.
#[derive(Debug)]
pub struct Tried<'a> {
    /// The last.
    pub cell: &'a Cell,
    /// How many.
    pub done: usize,
    /// Of how many.
    pub total: usize,
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
    /// At which place it was rejected.
    pub place: Option<String>,
    /// Whether that is the place where this mutant has to be.
    pub as_said: bool,
}

impl Cell {
    /// Returns whether the healthy peer passed, or the mutant was rejected for what it does.
    ///
    /// A failure at another step, an accidental crash and an exceeded budget say nothing about the
    /// mutant.
    pub fn is_good(&self) -> bool {
        match self.mutant {
            None => self.verdict == Verdict::Pass,
            Some(_) => self.verdict.is_failure() && self.as_said,
        }
    }
}

/// Plays all cases of a role against the suite's own peers. `program` is the suite's.
///
/// # Errors
///
/// A case file or a pattern is wrong; the text says how.
pub async fn check(
    role: Role,
    program: &Path,
    effort: &Effort,
    tell: impl FnMut(Tried<'_>),
) -> Result<Vec<Cell>, String> {
    match role {
        Role::Plugin => {
            let catalogue = catalogue::plugin(None).map_err(|error| error.to_string())?;
            check_with(
                |timeout_scale| PluginMode { timeout_scale },
                &catalogue,
                program,
                effort,
                tell,
            )
            .await
        }
        Role::Host => {
            let catalogue = catalogue::host(None).map_err(|error| error.to_string())?;
            check_with(HostMode::new, &catalogue, program, effort, tell).await
        }
    }
}

/// How much more time the healthy peer gets when it is tried once more: it does not use it up, and on a busy machine needs it.
const PATIENCE: u32 = 4;

async fn check_with<M: Mode + Clone>(
    mode: impl Fn(u32) -> M,
    catalogue: &Catalogue<M::Scene>,
    program: &Path,
    effort: &Effort,
    mut tell: impl FnMut(Tried<'_>),
) -> Result<Vec<Cell>, String>
where
    M::Scene: Clone,
{
    let selection = Selection { only: effort.only.clone(), ..Selection::default() };
    let cases = selection.of(&catalogue.cases)?;
    all_exist(&cases, &mutants(catalogue.role)?)?;
    // A mutant waits even more than a healthy peer.
    let workers = effort.workers.unwrap_or(2 * Options::default().workers);
    let all = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
    let places = Arc::new(Semaphore::new(workers.max(1)));
    let mut running = JoinSet::new();
    let runs = runs(cases, effort);
    let total = runs.iter().map(|(.., cases)| cases.len()).sum();
    let scale = effort.timeout_scale.max(1);
    let (usual, patient) = (mode(scale), (mode(PATIENCE * scale), PATIENCE * scale));
    for (peer, tcp, concerned) in runs {
        let peer = peer.map(str::to_owned);
        let plan = Plan {
            mode: usual.clone(),
            subject: scripted(catalogue.role, program, peer.as_deref(), tcp),
            cases: concerned.into_iter().cloned().collect(),
            known: Known::default(),
            options: Options {
                // The healthy peer has every case in one run.
                workers: if peer.is_none() { (workers / 2).max(1) } else { 1 },
                timeout_scale: scale,
                ..Options::default()
            },
        };
        let (places, patient) = (places.clone(), patient.clone());
        running.spawn(async move {
            let play = async |plan: Plan<M>| {
                let wanted = plan.cases.clone();
                let run = engine::run(plan, |_| {}).await;
                let cells = run.cases.into_iter().map(|case| cell(case, peer.clone(), &wanted));
                cells.collect::<Vec<_>>()
            };
            let place = places.acquire().await;
            let mut cells = play(plan.clone()).await;
            drop(place);
            cells.retain(Cell::is_good);
            let mut again = plan;
            again.cases.retain(|case| cells.iter().all(|cell| cell.case != case.header.id));
            if again.cases.is_empty() {
                return cells;
            }
            // On a busy machine a mutant can be rejected elsewhere, and a healthy peer, too: once more, with nothing beside it.
            let _all = places.acquire_many(all).await;
            if peer.is_none() {
                (again.mode, again.options.timeout_scale) = patient;
            }
            cells.extend(play(again).await);
            cells
        });
    }
    let mut cells = Vec::new();
    while let Some(run) = running.join_next().await {
        for cell in run.map_err(|error| format!("the suite panicked: {error}"))? {
            tell(Tried { cell: &cell, done: cells.len() + 1, total });
            cells.push(cell);
        }
    }
    cells.sort_by(|one, other| (&one.case, &one.mutant).cmp(&(&other.case, &other.mutant)));
    Ok(cells)
}

fn cell<S>(case: CaseResult, mutant: Option<String>, cases: &[Case<S>]) -> Cell {
    let place = caught::place(&case);
    let as_said = match (&mutant, &place) {
        (Some(mutant), Some(place)) => cases
            .iter()
            .find(|known| known.header.id == case.id)
            .is_some_and(|known| known.header.mutants.has(mutant, place)),
        _ => false,
    };
    let why = match (case.finding, case.notes.into_iter().next()) {
        (Some(finding), _) => format!("expected {}, got {}", finding.expected, finding.actual),
        (None, note) => note.unwrap_or_default(),
    };
    Cell { role: case.role, case: case.id, mutant, verdict: case.verdict, why, place, as_said }
}

/// Returns the names of a role's mutants.
fn mutants(role: Role) -> Result<BTreeSet<String>, String> {
    match role {
        Role::Plugin => Ok(peers::plugin::mutants()?.into_keys().collect()),
        Role::Host => Ok(peers::host::flaws().into_keys().collect()),
    }
}

/// Checks that all mutants exist: every case rejects an unknown one, which proves nothing.
fn all_exist<S>(cases: &[&Case<S>], mutants: &BTreeSet<String>) -> Result<(), String> {
    for case in cases {
        if let Some(name) = case.header.mutants.names().find(|name| !mutants.contains(*name)) {
            return Err(format!("{}: {}: no mutant is called {name}", case.place, case.header.id));
        }
    }
    Ok(())
}

/// A mutant, or the healthy peer; whether it is on TCP; the cases that it gets.
type Playing<'a, S> = (Option<&'a str>, bool, Vec<&'a Case<S>>);

/// Plans one run for the healthy peer with all its cases, and one for each case and mutant: some
/// mutants use up the time of each of their cases, and those runs need not wait for one another.
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

fn mutants_of<'a, S>(case: &'a Case<S>, effort: &Effort) -> impl Iterator<Item = &'a str> {
    let most = if effort.one { 1 } else { case.header.mutants.len() };
    case.header.mutants.names().take(most)
}

/// Returns the suite's own peer as a subject. As plugin it listens on a unix socket or on TCP; no
/// plugin does both.
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

/// Returns a summary with everything that is not as it should be.
pub fn summary(cells: &[Cell]) -> String {
    let mut text = String::new();
    for cell in cells.iter().filter(|cell| !cell.is_good()) {
        let peer = cell.mutant.as_deref().unwrap_or("the healthy peer");
        let where_ = cell.place.as_ref().map(|place| format!(" at {place:?}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "{}:{} with {peer}: {}{where_} {}",
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

/// Returns where each mutant was rejected, as TOML by role and case.
pub fn caught_file(cells: &[Cell]) -> String {
    caught::written(cells.iter().filter_map(|cell| {
        Some((cell.role, cell.case.as_str(), cell.mutant.as_deref()?, cell.place.as_deref()?))
    }))
}

/// Returns the table case × mutant.
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
    use plugwire_conformance_report::model::{Finding, Level};

    use super::*;

    #[test]
    fn only_what_a_mutant_is_about_rejects_it() {
        let (cases, case) = (catalogue::plugin(None).unwrap().cases, "handshake/core-version-is-1");
        let good = |mutant: Option<&str>, verdict, step: &str| {
            let finding = Finding {
                expected: "something".to_owned(),
                actual: "else".to_owned(),
                step: step.to_owned(),
            };
            let result = CaseResult {
                id: case.to_owned(),
                role: Role::Plugin,
                tier: String::new(),
                level: Level::Must,
                clauses: Vec::new(),
                requirement: String::new(),
                why: String::new(),
                verdict,
                finding: Some(finding),
                notes: Vec::new(),
                took_ms: 0,
                timeline: Vec::new(),
                replay: None,
            };
            cell(result, mutant.map(str::to_owned), &cases).is_good()
        };
        assert!(good(None, Verdict::Pass, "") && !good(None, Verdict::NonStrict, ""));
        let mutant = Some("core-version-2");
        assert!(good(mutant, Verdict::Fail, "2: line"));
        assert!(!good(mutant, Verdict::Fail, "1: start") && !good(mutant, Verdict::Fail, ""));
        for verdict in [Verdict::Crash, Verdict::Timeout, Verdict::Pass, Verdict::Error] {
            assert!(!good(mutant, verdict, "2: line"), "{verdict}");
        }
        assert!(!good(Some("seventh-field-unasked"), Verdict::Fail, "2: line"), "not its mutant");
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
            cases.iter().flat_map(|case| case.header.mutants.names()).map(str::to_owned).collect();
        assert_eq!(existing, named, "a mutant that no case rejects");
        let one = existing.into_iter().take(1).collect();
        assert!(all_exist(cases, &one).is_err());
    }
}
