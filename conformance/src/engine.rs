//! Runs cases: several at a time, each in its own cage and within its budget, and without leaving
//! anything behind.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use plugwire_conformance_report::model::{CaseResult, Event, FORMAT, Run, Verdict};
use plugwire_conformance_wire::process::{Cage, REPLAY, quoted};
use plugwire_conformance_wire::trace::Trace;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::case::Case;
use crate::judgement::Judgement;
use crate::select::{self, Expect, Known};
use crate::subject::Subject;

/// Stands for a case's name in [`Options::replay`].
pub const CASE: &str = "{case}";

/// How long the processes of a case may take to exit by themselves after the case.
const AFTERMATH: Duration = Duration::from_millis(250);

/// How cases of one role are played.
pub trait Mode: std::fmt::Debug + Send + Sync + 'static {
    /// The part of a case besides its header.
    type Scene: std::fmt::Debug + Send + Sync + 'static;

    /// Plays the case. The future is dropped when the budget is used up.
    fn play(
        &self,
        case: &Case<Self::Scene>,
        subject: &Subject,
        cage: &Cage,
        trace: &Trace,
    ) -> impl Future<Output = Judgement> + Send;
}

/// The default number of cases at a time for each core: a case spends most of its time waiting.
const CASES_PER_CORE: usize = 4;

/// The options of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The number of cases at a time.
    pub workers: usize,
    /// The factor by which every budget is longer. 1 on a fast machine.
    pub timeout_scale: u32,
    /// The seed by which the cases are shuffled.
    pub shuffle: Option<u64>,
    /// Whether SHOULD and robustness cases count.
    pub strict: bool,
    /// Whether the subject may leave cases unimplemented.
    pub allow_unimplemented: bool,
    /// Whether the directory of each case is kept.
    pub keep: bool,
    /// The command that runs one case again, with [`CASE`] instead of its name.
    pub replay: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: CASES_PER_CORE * std::thread::available_parallelism().map_or(2, usize::from),
            timeout_scale: 1,
            shuffle: None,
            strict: false,
            allow_unimplemented: false,
            keep: false,
            replay: Vec::new(),
        }
    }
}

/// An event during a run.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A case has used up half of its budget.
    Slow(&'a str),
    /// A case has ended: its result, how many have, and how many there are.
    Done(&'a CaseResult, usize, usize),
}

/// The complete description of a run.
#[derive(Debug, Clone)]
pub struct Plan<M: Mode> {
    /// The role's mode.
    pub mode: M,
    /// The subject that is judged.
    pub subject: Subject,
    /// The cases, in the catalogue's order.
    pub cases: Vec<Case<M::Scene>>,
    /// The known list of the subject.
    pub known: Known,
    /// How.
    pub options: Options,
}

struct Shared<M: Mode> {
    plan: Plan<M>,
    /// One for each word of `exclusive`.
    exclusive: HashMap<String, Mutex<()>>,
    places: Semaphore,
    slow: mpsc::UnboundedSender<String>,
}

/// Runs a plan. Dropping the future ends everything that it started.
pub async fn run<M: Mode>(plan: Plan<M>, mut tell: impl FnMut(Progress<'_>)) -> Run {
    let began = Instant::now();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let total = plan.cases.len();
    let exclusive = plan.cases.iter().filter_map(|case| case.header.exclusive.clone());
    let (slow, mut slow_cases) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        exclusive: exclusive.map(|word| (word, Mutex::new(()))).collect(),
        places: Semaphore::new(plan.options.workers.max(1)),
        slow,
        plan,
    });
    let mut running = JoinSet::new();
    for at in order(total, shared.plan.options.shuffle) {
        let shared = shared.clone();
        running.spawn(async move { (at, one(&shared, at).await) });
    }
    let mut results: Vec<Option<CaseResult>> = vec![None; total];
    let mut done = 0;
    loop {
        tokio::select! {
            biased;
            Some(name) = slow_cases.recv() => tell(Progress::Slow(&name)),
            ended = running.join_next() => match ended {
                Some(Ok((at, result))) => {
                    done += 1;
                    tell(Progress::Done(&result, done, total));
                    results[at] = Some(result);
                }
                // The suite panicked: the missing result becomes an error below.
                Some(Err(_)) => done += 1,
                None => break,
            },
        }
    }
    let lost = |at: usize| {
        let case = &shared.plan.cases[at];
        let judgement = Judgement::error("the suite panicked; this is a bug of the suite");
        result(&shared.plan, case, judgement, Duration::ZERO, Vec::new())
    };
    let cases = results.into_iter().enumerate();
    Run {
        format: FORMAT,
        suite: env!("CARGO_PKG_VERSION").to_owned(),
        subject: shared.plan.subject.name.clone(),
        role: shared.plan.subject.role,
        command: shared.plan.subject.command.clone(),
        machine: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        started,
        took_ms: millis(began.elapsed()),
        seed: shared.plan.options.shuffle,
        strict: shared.plan.options.strict,
        allow_unimplemented: shared.plan.options.allow_unimplemented,
        // A caller that owns this process can tell.
        strays: 0,
        cases: cases.map(|(at, result)| result.unwrap_or_else(|| lost(at))).collect(),
    }
}

async fn one<M: Mode>(shared: &Shared<M>, at: usize) -> CaseResult {
    let plan = &shared.plan;
    let case = &plan.cases[at];
    // In this order: a waiting case must not occupy a place.
    let _turn = match case.header.exclusive.as_ref().and_then(|word| shared.exclusive.get(word)) {
        Some(turn) => Some(turn.lock().await),
        None => None,
    };
    let _place = shared.places.acquire().await;
    let began = Instant::now();
    let trace = Trace::new();
    let judgement = match passed_over(plan, case) {
        Some(judgement) => judgement,
        None => caged(shared, case, &trace).await,
    };
    let events = trace.events().into_iter();
    let events =
        events.map(|event| Event { at_us: event.at_us, source: event.source, text: event.text });
    result(plan, case, judgement, began.elapsed(), events.collect())
}

/// Why a case is not played at all.
fn passed_over<M: Mode>(plan: &Plan<M>, case: &Case<M::Scene>) -> Option<Judgement> {
    if let Some(entry) = plan.known.of(&case.header.id)
        && entry.expect == Expect::Skip
    {
        return Some(Judgement::skip(format!("known: {}", entry.reason)));
    }
    let missing = case.header.needs.iter().find(|feature| !plan.subject.has(feature))?;
    Some(Judgement::skip(format!("the subject is not said to have the feature {missing:?}")))
}

async fn caged<M: Mode>(shared: &Shared<M>, case: &Case<M::Scene>, trace: &Trace) -> Judgement {
    let plan = &shared.plan;
    let cage = match Cage::new() {
        Ok(cage) => cage,
        Err(error) => {
            return Judgement::error(format!("cannot create a directory for the case: {error}"));
        }
    };
    let budget = *case.header.budget * plan.options.timeout_scale.max(1);
    let judgement = within_budget(shared, case, &cage, trace, budget).await;
    let judgement = judgement.unwrap_or_else(|| {
        let wanted = format!("an end within {budget:?}");
        let failed = Judgement::fail(last_step(trace), wanted, "none");
        Judgement { verdict: Verdict::Timeout, ..failed }
    });
    cleaned(judgement, cage, &plan.options, trace).await
}

/// Returns the step that the case was in; empty before the first one and after the last.
fn last_step(trace: &Trace) -> String {
    let events = trace.events().into_iter().rev();
    let mut steps = events.filter(|event| event.source == "suite");
    steps.find_map(|event| event.text.strip_prefix("step ").map(str::to_owned)).unwrap_or_default()
}

/// Plays a case; `None` if it exceeds its budget. Once half of it is used up, progress says so.
async fn within_budget<M: Mode>(
    shared: &Shared<M>,
    case: &Case<M::Scene>,
    cage: &Cage,
    trace: &Trace,
    budget: Duration,
) -> Option<Judgement> {
    let play = shared.plan.mode.play(case, &shared.plan.subject, cage, trace);
    tokio::pin!(play);
    if let Ok(judgement) = tokio::time::timeout(budget / 2, &mut play).await {
        return Some(judgement);
    }
    let _ = shared.slow.send(case.header.id.clone());
    tokio::time::timeout(budget - budget / 2, &mut play).await.ok()
}

/// Kills what is left, and notes it.
async fn cleaned(
    mut judgement: Judgement,
    cage: Cage,
    options: &Options,
    trace: &Trace,
) -> Judgement {
    let left = cage.left(AFTERMATH * options.timeout_scale.max(1)).await;
    if !left.is_empty() {
        judgement.notes.push(format!("{} processes were left and killed", left.len()));
        trace.event("suite", format!("left: processes {left:?}"));
    }
    if !cage.kill().await {
        return Judgement::error("a process of the case does not die");
    }
    if options.keep {
        judgement.notes.extend(kept(cage));
        return judgement;
    }
    let folder = cage.folder().display().to_string();
    if let Err(error) = cage.remove() {
        judgement.notes.push(format!("the case's directory {folder} cannot be removed: {error}"));
    }
    judgement
}

/// Keeps a case's directory and notes what it contains.
fn kept(cage: Cage) -> Vec<String> {
    let folder = cage.folder().to_owned();
    let mut notes = vec![format!("the case's directory is {}", folder.display())];
    let script = folder.join(REPLAY);
    match cage.keep() {
        Err(error) => {
            notes.push(format!("the files for a replay cannot be written to it: {error}"))
        }
        // Some cases start nothing.
        Ok(_) if !script.exists() => {}
        Ok(_) => notes.push(format!("{} starts the subject as the case did", script.display())),
    }
    notes
}

fn result<M: Mode>(
    plan: &Plan<M>,
    case: &Case<M::Scene>,
    mut judgement: Judgement,
    took: Duration,
    timeline: Vec<Event>,
) -> CaseResult {
    let header = &case.header;
    let mut verdict = judgement.verdict;
    if let Some(entry) = plan.known.of(&header.id) {
        verdict = select::judged(verdict, entry.expect);
        if verdict != judgement.verdict {
            judgement.notes.push(format!("known: {}", entry.reason));
        }
    }
    let replay = &plan.options.replay;
    CaseResult {
        id: header.id.clone(),
        role: plan.subject.role,
        tier: header.tier.word().to_owned(),
        level: header.level,
        clauses: header.clause.clone(),
        requirement: header.requirement.clone(),
        why: header.why.clone(),
        verdict,
        finding: judgement.finding,
        notes: judgement.notes,
        took_ms: millis(took),
        timeline,
        replay: (!replay.is_empty()).then(|| replay_command(replay, &header.id)),
    }
}

fn replay_command(words: &[String], id: &str) -> String {
    let words: Vec<_> = words.iter().map(|word| quoted(word.replace(CASE, id))).collect();
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the order in which cases begin: the catalogue's, or one that a seed decides (splitmix64 and Fisher-Yates).
fn order(total: usize, seed: Option<u64>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..total).collect();
    let Some(mut state) = seed else { return order };
    for last in (1..total).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        order.swap(last, (mixed % (last as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{self, Source};

    /// Plays a case according to its name.
    #[derive(Debug)]
    struct Played;

    impl Mode for Played {
        type Scene = toml::Table;

        async fn play(
            &self,
            case: &Case<toml::Table>,
            _subject: &Subject,
            cage: &Cage,
            trace: &Trace,
        ) -> Judgement {
            trace.event("suite", "played");
            match case.header.id.as_str() {
                "a/passes" => Judgement::pass(),
                "a/fails" => Judgement::fail("step 1", "this", "that"),
                "a/panics" => panic!("a bug"),
                "a/hangs" => {
                    let mut command = cage.command("sleep");
                    command.arg("600");
                    let _running =
                        plugwire_conformance_wire::process::Running::start(command, "s", trace);
                    std::future::pending().await
                }
                other => panic!("{other}"),
            }
        }
    }

    fn plan(names: &[&str], known: &str) -> Plan<Played> {
        let text: String = names
            .iter()
            .map(|id| {
                let needs = if *id == "needs" { "needs = [\"probe\"]\n" } else { "" };
                format!(
                    "[[case]]\nid = \"{id}\"\nlevel = \"must\"\nclause = [\"X\"]\nrequirement = \"\"\n\
                     why = \"\"\nbudget = \"400ms\"\nmutants = {{ m = \"1\" }}\n{needs}"
                )
            })
            .collect();
        let cases = case::parse("a", Source { name: "a.toml", text: &text }).unwrap();
        let known = Known::parse(Source { name: "k.toml", text: known }, &cases).unwrap();
        let subject = Subject {
            name: "s".to_owned(),
            role: plugwire_conformance_report::model::Role::Plugin,
            command: vec!["s".to_owned()],
            cookie: Subject::probe_cookie(),
            app_versions: vec![1],
            features: Default::default(),
            errors: Default::default(),
        };
        let replay = ["suite", "run", CASE, "it's"].map(str::to_owned).to_vec();
        let options = Options { replay, ..Options::default() };
        Plan { mode: Played, subject, cases, known, options }
    }

    fn verdicts(run: &Run) -> Vec<Verdict> {
        run.cases.iter().map(|case| case.verdict).collect()
    }

    #[tokio::test]
    async fn every_case_gets_its_verdict_in_the_catalogues_order() {
        let mut told = 0;
        let plan = plan(&["panics", "hangs", "passes", "needs", "fails"], "");
        let run =
            run(plan, |progress| told += usize::from(matches!(progress, Progress::Done(..)))).await;
        let wanted =
            [Verdict::Error, Verdict::Timeout, Verdict::Pass, Verdict::Skip, Verdict::Fail];
        assert_eq!(verdicts(&run), wanted);
        assert_eq!(told, 4);
        assert_eq!(run.cases[2].timeline[0].text, "played");
        assert_eq!(run.cases[4].replay.as_deref(), Some(r"suite run a/fails 'it'\''s'"));
        assert!(!Cage::new().unwrap().folder().join("a").exists());
    }

    #[tokio::test]
    async fn what_is_known_is_taken_into_account() {
        let entry = |pattern: &str, expect: &str| {
            format!("[[known]]\npattern = \"{pattern}\"\nexpect = \"{expect}\"\nreason = \"r\"\n")
        };
        let known =
            entry("a/fails", "fail") + &entry("a/passes", "fail") + &entry("a/hangs", "skip");
        let run = run(plan(&["fails", "passes", "hangs"], &known), |_| {}).await;
        let wanted = [Verdict::ExpectedFail, Verdict::UnexpectedPass, Verdict::Skip];
        assert_eq!(verdicts(&run), wanted);
        assert_eq!(run.cases[0].notes, ["known: r"]);
    }

    #[test]
    fn a_seed_decides_the_order_and_loses_no_case() {
        assert_eq!(order(4, None), [0, 1, 2, 3]);
        let (one, other) = (order(50, Some(1)), order(50, Some(2)));
        assert_ne!(one, other);
        assert_eq!(one, order(50, Some(1)));
        let mut sorted = one;
        sorted.sort_unstable();
        assert_eq!(sorted, order(50, None));
    }
}
