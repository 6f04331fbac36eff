//! `plugin`, `host` and `run`: the subject, the cases, and the output.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plugwire_conformance_report::model::{Outcome, Role, Run};
use plugwire_conformance_report::terminal;
use plugwire_conformance_wire::process::{adopt_orphans, strays};

use super::args::{
    AnySubject, Host, HostSubject, One, Plugin, PluginSubject, RunOptions, TierWord,
};
use super::interrupt::{interruptible, listen};
use super::progress::{self, Shown};
use super::replay;
use super::reports::{self, Files};
use super::{Trouble, note, say, show};
use crate::case::{Case, Catalogue, Source, Tier};
use crate::catalogue;
use crate::engine::{self, Mode, Options, Plan, Progress};
use crate::host::HostMode;
use crate::plugin::{self, PluginMode};
use crate::select::{Known, Selection};
use crate::subject::{self, Cookie, Subject};

/// Judges a plugin.
pub(super) fn plugin(args: &Plugin) -> Result<ExitCode, Trouble> {
    let catalogue = catalogue::plugin(args.run.cases.as_deref()).map_err(Trouble::usage)?;
    let subject = plugin_subject(&args.subject)?;
    runtime()?.block_on(async {
        let subject =
            interruptible(with_detected(subject, &args.subject.any, args.run.timeout_scale))
                .await?;
        judge(
            || PluginMode { timeout_scale: args.run.timeout_scale },
            &catalogue,
            subject,
            &args.run,
            replay::of_plugin(&args.subject, &args.run),
        )
        .await
    })
}

/// Judges a host.
pub(super) fn host(args: &Host) -> Result<ExitCode, Trouble> {
    let catalogue = catalogue::host(args.run.cases.as_deref()).map_err(Trouble::usage)?;
    let subject = host_subject(&args.subject)?;
    runtime()?.block_on(judge(
        || HostMode::new(args.run.timeout_scale),
        &catalogue,
        subject,
        &args.run,
        replay::of_host(&args.subject, &args.run),
    ))
}

/// Runs one case and shows its whole timeline.
pub(super) fn one(args: &One) -> Result<ExitCode, Trouble> {
    let plugins = catalogue::plugin(args.cases.as_deref()).map_err(Trouble::usage);
    let hosts = catalogue::host(args.cases.as_deref()).map_err(Trouble::usage);
    // A user's directory contains the cases of one role.
    let role = match (&plugins, &hosts) {
        (Err(trouble), Err(_)) => return Err(Trouble::Usage(trouble.text().to_owned())),
        (plugins, hosts) => show::role_of(&args.case, plugins.as_ref().ok(), hosts.as_ref().ok())?,
    };
    let name = show::bare(&args.case).to_owned();
    let options = RunOptions { only: vec![name], keep: args.keep, ..RunOptions::for_one(args) };
    match role {
        Role::Plugin => {
            let subject = PluginSubject {
                cookie: args.cookie.clone(),
                app_versions: args.app_versions.clone(),
                any: args.any.clone(),
                command: args.command.clone(),
            };
            let checked = plugin_subject(&subject)?;
            let catalogue = plugins?;
            runtime()?.block_on(async {
                let subject =
                    interruptible(with_detected(checked, &subject.any, options.timeout_scale))
                        .await?;
                alone(
                    PluginMode { timeout_scale: options.timeout_scale },
                    &catalogue,
                    subject,
                    &options,
                )
                .await
            })
        }
        Role::Host => {
            let subject = HostSubject { any: args.any.clone(), command: args.command.clone() };
            let subject = host_subject(&subject)?;
            runtime()?.block_on(alone(
                HostMode::new(options.timeout_scale),
                &hosts?,
                subject,
                &options,
            ))
        }
    }
}

impl RunOptions {
    fn for_one(args: &One) -> Self {
        Self {
            only: Vec::new(),
            skip: Vec::new(),
            tier: Vec::new(),
            known: None,
            bless: false,
            strict: true,
            allow_unimplemented: false,
            jobs: Some(1),
            timeout_scale: args.timeout_scale,
            shuffle: None,
            repeat: 1,
            until_fail: false,
            reports: Vec::new(),
            keep: false,
            cases: args.cases.clone(),
            color: args.color,
            quiet: true,
        }
    }
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Trouble> {
    adopt_orphans();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Trouble::engine("no runtime", error))?;
    let inside = runtime.enter();
    listen().map_err(|error| Trouble::engine("no signal handler", error))?;
    drop(inside);
    Ok(runtime)
}

/// Returns the subject of the flags, or of the file that they name.
fn plugin_subject(args: &PluginSubject) -> Result<Subject, Trouble> {
    let mut subject = match &args.any.subject {
        Some(file) => described(file, Role::Plugin)?,
        None => {
            let cookie = args.cookie.as_deref().and_then(|cookie| cookie.split_once('='));
            let (key, value) = cookie
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| Trouble::usage("a plugin needs --cookie KEY=VALUE"))?;
            Subject {
                cookie: Cookie { key: key.to_owned(), value: value.to_owned() },
                ..bare(Role::Plugin, args.command.clone())
            }
        }
    };
    if !args.app_versions.is_empty() {
        subject.app_versions = subject::sorted(args.app_versions.clone());
    }
    finished(subject, &args.any, args.command.clone())
}

fn host_subject(args: &HostSubject) -> Result<Subject, Trouble> {
    let subject = match &args.any.subject {
        Some(file) => described(file, Role::Host)?,
        None => Subject {
            features: subject::features(Role::Host),
            ..bare(Role::Host, args.command.clone())
        },
    };
    finished(subject, &args.any, args.command.clone())
}

fn bare(role: Role, command: Vec<String>) -> Subject {
    let program = command.first().map(String::as_str).unwrap_or_default();
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    Subject {
        name,
        role,
        command,
        cookie: Subject::probe_cookie(),
        app_versions: vec![1],
        features: BTreeSet::new(),
        errors: Default::default(),
    }
}

fn described(file: &Path, role: Role) -> Result<Subject, Trouble> {
    let name = file.display().to_string();
    let text =
        fs::read_to_string(file).map_err(|error| Trouble::Usage(format!("{name}: {error}")))?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let subject =
        Subject::parse(Source { name: &name, text: &text }, folder).map_err(Trouble::usage)?;
    if subject.role != role {
        return Err(Trouble::Usage(format!("{name} describes a {}, not a {role}", subject.role)));
    }
    Ok(subject)
}

/// Returns what the flags say beyond the description, and whether the program is there at all.
fn finished(
    mut subject: Subject,
    any: &AnySubject,
    command: Vec<String>,
) -> Result<Subject, Trouble> {
    if !command.is_empty() {
        subject.command = subject::anchored(command, Path::new(""));
    }
    if let Some(name) = &any.name {
        subject.name.clone_from(name);
    }
    let known = subject::features(subject.role);
    for feature in any.features.iter().chain(&any.without) {
        if !known.contains(feature) {
            let known: Vec<_> = known.into_iter().collect();
            let role = subject.role;
            return Err(Trouble::Usage(format!(
                "unknown feature {feature:?} of a {role}; known: {}",
                known.join(", ")
            )));
        }
    }
    subject.features.extend(any.features.iter().cloned());
    subject.features.retain(|feature| !any.without.contains(feature));
    let program = subject.command.first().cloned().unwrap_or_default();
    // A program without a slash is looked up in PATH when it is started.
    match program.contains('/') && !Path::new(&program).exists() {
        true => Err(Trouble::Usage(format!("there is no {program}"))),
        false => Ok(subject),
    }
}

/// If a plugin is given only by flags, most features are detected.
async fn with_detected(mut subject: Subject, any: &AnySubject, scale: u32) -> Subject {
    if any.subject.is_none() {
        subject.features.extend(plugin::detect(&subject, scale).await);
        subject.features.retain(|feature| !any.without.contains(feature));
    }
    subject
}

/// Creates a mode for each run, so that nothing of it remains after the run.
async fn judge<M: Mode>(
    mode: impl Fn() -> M,
    catalogue: &Catalogue<M::Scene>,
    subject: Subject,
    options: &RunOptions,
    replay: Vec<String>,
) -> Result<ExitCode, Trouble>
where
    M::Scene: Clone,
{
    let files = Files::parse(&options.reports)?;
    let known = known_list(options, &catalogue.cases)?;
    let cases = selection(options).of(&catalogue.cases).map_err(Trouble::Usage)?;
    if cases.is_empty() {
        return Err(Trouble::Nothing);
    }
    let cases: Vec<Case<M::Scene>> = cases.into_iter().cloned().collect();
    let style = progress::style(options.color);
    let mut runs = Vec::new();
    let mut said = Ok(());
    for round in 0..options.repeat.max(1) {
        let shuffle = options
            .shuffle
            .map(|seed| seed.unwrap_or_else(new_seed).wrapping_add(u64::from(round)));
        if let Some(seed) = shuffle {
            note(&format!("shuffled with seed {seed}"));
        }
        let plan = Plan {
            mode: mode(),
            subject: subject.clone(),
            cases: cases.clone(),
            known: known.clone(),
            options: engine_options(options, shuffle, replay.clone()),
        };
        let mut shown = Shown::new(options.quiet);
        let run = interruptible(whole_run(plan, |progress| shown.tell(&progress))).await?;
        shown.clear();
        said = said.and(say(&terminal::report(&run, style, progress::width())));
        let stop = options.until_fail && run.outcome() != Outcome::Conformant;
        runs.push(run);
        if stop {
            break;
        }
    }
    files.write(&runs, false)?;
    if options.bless
        && let Some(file) = &options.known
    {
        reports::bless(file, &runs)?;
    }
    // Printed last, so that the reports are written even if the terminal is gone.
    said?;
    Ok(ExitCode::from(worst(&runs).code()))
}

/// How long a process without a case, such as a host's guardian that cleans up, may take to end by
/// itself. Without such a process nothing waits.
const STRAYS: Duration = Duration::from_secs(3);

/// Plays a run and returns it with the processes that hid from it.
async fn whole_run<M: Mode>(plan: Plan<M>, tell: impl FnMut(Progress<'_>)) -> Run {
    let run = engine::run(plan, tell).await;
    Run { strays: strays(STRAYS).await, ..run }
}

async fn alone<M: Mode>(
    mode: M,
    catalogue: &Catalogue<M::Scene>,
    subject: Subject,
    options: &RunOptions,
) -> Result<ExitCode, Trouble>
where
    M::Scene: Clone,
{
    let cases = selection(options).of(&catalogue.cases).map_err(Trouble::Usage)?;
    let cases: Vec<Case<M::Scene>> = cases.into_iter().cloned().collect();
    let engine = engine_options(options, None, Vec::new());
    let plan = Plan { mode, subject, cases, known: Known::default(), options: engine };
    let run = interruptible(whole_run(plan, |_| {})).await?;
    let style = progress::style(options.color);
    for case in &run.cases {
        say(&terminal::case(&run, case, style, progress::width()))?;
    }
    Ok(ExitCode::from(run.outcome().code()))
}

fn selection(options: &RunOptions) -> Selection {
    let tiers = options.tier.iter().map(|tier| match tier {
        TierWord::BlackBox => Tier::BlackBox,
        TierWord::Probe => Tier::Probe,
        TierWord::Raw => Tier::Raw,
    });
    Selection { only: options.only.clone(), skip: options.skip.clone(), tiers: tiers.collect() }
}

fn engine_options(options: &RunOptions, shuffle: Option<u64>, replay: Vec<String>) -> Options {
    let default = Options::default();
    Options {
        workers: options.jobs.unwrap_or(default.workers),
        timeout_scale: options.timeout_scale,
        shuffle,
        strict: options.strict,
        allow_unimplemented: options.allow_unimplemented,
        keep: options.keep,
        replay,
    }
}

fn known_list<S>(options: &RunOptions, cases: &[Case<S>]) -> Result<Known, Trouble> {
    let Some(file) = &options.known else { return Ok(Known::default()) };
    // A list that will be written may be wrong or missing.
    if options.bless {
        return reports::may_bless().map(|()| Known::default());
    }
    let name = file.display().to_string();
    let text =
        fs::read_to_string(file).map_err(|error| Trouble::Usage(format!("{name}: {error}")))?;
    Known::parse(Source { name: &name, text: &text }, cases).map_err(Trouble::usage)
}

fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short enough to be typed again.
    now.as_millis() as u64 % 1_000_000
}

/// Returns the worst outcome of several runs: first those that prove nothing, then those that
/// failed.
fn worst(runs: &[Run]) -> Outcome {
    let outcomes: Vec<Outcome> = runs.iter().map(Run::outcome).collect();
    let order = [Outcome::Engine, Outcome::NotConformant, Outcome::NothingSelected];
    order.into_iter().find(|bad| outcomes.contains(bad)).unwrap_or(Outcome::Conformant)
}
