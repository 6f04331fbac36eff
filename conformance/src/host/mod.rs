//! Host mode: the suite is the plugin. The subject is a host library behind a driver; the driver
//! starts the suite's scripted plugin, and both report what they saw.

mod answer;
mod driver;
mod kind;
mod logs;
mod stage;
mod steps;
mod task;

pub mod scene;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plugwire_conformance_report::model::Verdict;
use plugwire_conformance_wire::process::Cage;
use plugwire_conformance_wire::trace::Trace;
use serde_json::Value;

use crate::case::Case;
use crate::engine::Mode;
use crate::judgement::Judgement;
use crate::subject::Subject;
use answer::Answer;
use driver::{Break, Driver};
use scene::{Fate, Scene, Sighting};
use stage::{Program, Stage};
use steps::Check;
use task::Attached;

/// How long the plugin's last notes and its exit may take after the driver's exit.
const MOMENT: Duration = Duration::from_secs(2);
/// How long a process that should stay alive is observed.
const SETTLED: Duration = Duration::from_millis(500);

/// Plays the cases about hosts.
#[derive(Debug, Clone)]
pub struct HostMode {
    timeout_scale: u32,
    program: Arc<Program>,
}

impl HostMode {
    /// `timeout_scale` multiplies the timeouts of steps, as the engine does with the budgets. 1 on
    /// a fast machine.
    pub fn new(timeout_scale: u32) -> Self {
        Self { timeout_scale: timeout_scale.max(1), program: Arc::default() }
    }
}

impl Mode for HostMode {
    type Scene = Scene;

    async fn play(
        &self,
        case: &Case<Scene>,
        subject: &Subject,
        cage: &Cage,
        trace: &Trace,
    ) -> Judgement {
        let setting = (&case.scene.script, case.scene.plugin.multiplex);
        let stage = match Stage::set(&self.program, cage.folder(), setting.0, setting.1, trace) {
            Ok(stage) => stage,
            Err(error) => {
                return Judgement::error(format!("the scripted plugin cannot be set up: {error}"));
            }
        };
        let scale = self.timeout_scale;
        let mut play = Play { case, subject, cage, trace, stage: &stage, scale, notes: Vec::new() };
        let judgement = play.all().await.err().unwrap_or_else(Judgement::pass);
        let is_pass = judgement.verdict == Verdict::Pass;
        let judgement = play.notes.into_iter().fold(judgement, Judgement::note);
        match is_pass && !judgement.notes.is_empty() {
            true => Judgement { verdict: Verdict::NonStrict, ..judgement },
            false => judgement,
        }
    }
}

struct Play<'a> {
    case: &'a Case<Scene>,
    subject: &'a Subject,
    cage: &'a Cage,
    trace: &'a Trace,
    stage: &'a Stage,
    scale: u32,
    /// What was tolerated.
    notes: Vec<String>,
}

impl Play<'_> {
    async fn all(&mut self) -> Result<(), Judgement> {
        let scene = &self.case.scene;
        let attached = match &scene.plugin.reattach {
            None => None,
            Some(reattach) => {
                let attached = Attached::start(reattach, self).await;
                Some(attached.map_err(Judgement::error)?)
            }
        };
        let record = attached.as_ref().map(|attached| &attached.record);
        let task = task::task(self.case, self.subject, self.stage, self.cage, record, self.scale)
            .map_err(Judgement::error)?;
        let mut driver = Driver::start(
            &self.subject.command,
            &scene.plugin.host_env,
            &task,
            self.cage,
            self.trace,
        )
        .await
        .map_err(Judgement::error)?;
        let last = scene.steps.len();
        for number in 1..=last {
            match &scene.killed_at {
                Some(moment) if number == last => self.kill(moment, number, &driver).await?,
                _ => self.step(number, &mut driver).await?,
            }
        }
        if scene.killed_at.is_none() {
            driver.finish(self.scale).await.map_err(|did| {
                Judgement::crash("", "the driver ends with status 0 after its last answer", did)
            })?;
        }
        self.sightings().await?;
        self.aftermath().await
    }

    /// Kills only the driver in the middle of a step, as the kernel does when memory is short.
    async fn kill(
        &self,
        moment: &Sighting,
        number: usize,
        driver: &Driver,
    ) -> Result<(), Judgement> {
        self.trace
            .event("suite", format!("step {}, and the host is killed", self.step_name(number)));
        let give_up = Instant::now() + MOMENT * self.scale;
        while let Err(why) = moment.check(&self.stage.witnessed().map_err(unreadable)?) {
            if Instant::now() > give_up {
                let expected = format!("the plugin sees {moment}");
                return Err(Judgement::fail(self.step_name(number), expected, why));
            }
            // The plugin writes to a file, which does not notify.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match driver.kill().await {
            true => Ok(()),
            false => Err(Judgement::error("the driver cannot be killed")),
        }
    }

    async fn step(&mut self, number: usize, driver: &mut Driver) -> Result<(), Judgement> {
        let step = &self.case.scene.steps[number - 1];
        self.trace.event("suite", format!("step {number}: {step}"));
        let mut answers = Vec::new();
        for operation in step.operations(self.scale).map_err(Judgement::error)? {
            let op = operation["op"].as_str().unwrap_or_default();
            let answer = match driver.answer(op).await {
                Ok(answer) => answer,
                Err(Break::Unimplemented(what)) => return Err(self.declined(what, driver).await),
                Err(broken) => return Err(self.broken(number, broken)),
            };
            answers.push(answer.named_by(&self.subject.errors));
        }
        match step.check(&answers, self.scale) {
            Check::Good => Ok(()),
            Check::Loose(note) => {
                self.notes.push(note);
                Ok(())
            }
            Check::Wrong { expected, actual } => match self.accepted(number, &answers) {
                Some(reason) => {
                    self.notes.push(reason);
                    Ok(())
                }
                None => Err(Judgement::fail(self.step_name(number), expected, actual)),
            },
        }
    }

    /// Why another outcome of this step is tolerated, if it is.
    fn accepted(&self, number: usize, answers: &[Answer]) -> Option<String> {
        let fault = answers.last()?.fault.as_ref();
        let accepted = self.case.scene.accept.iter().find(|accepted| {
            accepted.step == number
                && match fault {
                    None => accepted.succeeds,
                    Some(fault) => accepted.fails.iter().any(|kind| kind.takes(&fault.kind)),
                }
        });
        accepted.map(|accepted| accepted.reason.clone())
    }

    /// Checks that a driver that declines also says so with its exit status.
    async fn declined(&self, what: String, driver: &Driver) -> Judgement {
        match driver.declined(self.scale).await {
            Ok(()) => Judgement::unimplemented(what),
            Err(did) => Judgement::fail("", "exit status 89 after \"unimplemented\"", did),
        }
    }

    fn broken(&self, number: usize, broken: Break) -> Judgement {
        let step = self.step_name(number);
        let expected = "an answer of the driver";
        match broken {
            Break::Unimplemented(what) | Break::Nonsense(what) => {
                Judgement::fail(step, expected, what)
            }
            Break::Ended(None) => {
                Judgement::fail(step, expected, "it closed its output, and lives on")
            }
            Break::Ended(Some(exit)) => {
                Judgement::crash(step, expected, format!("it ended: {exit}"))
            }
        }
    }

    fn step_name(&self, number: usize) -> String {
        format!("{number}: {}", self.case.scene.steps[number - 1])
    }

    /// Compares what the plugin noted with what it should have.
    async fn sightings(&self) -> Result<(), Judgement> {
        let scene = &self.case.scene;
        let missing = |sightings: &[Sighting], witnessed: &[Value]| {
            let mut all = sightings.iter();
            all.find_map(|sighting| {
                sighting.check(witnessed).err().map(|why| (sighting.to_string(), why))
            })
        };
        let give_up = Instant::now() + MOMENT * self.scale;
        let witnessed = loop {
            let witnessed = self.stage.witnessed().map_err(unreadable)?;
            let nothing_missing = missing(&scene.witness, &witnessed).is_none()
                && missing(&scene.sees, &witnessed).is_none();
            if nothing_missing || Instant::now() > give_up {
                break witnessed;
            }
            // The plugin writes to a file, which does not notify.
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        if let Some((sighting, why)) = missing(&scene.witness, &witnessed) {
            return Err(Judgement::error(format!(
                "the plugin did not do what the case is about ({sighting}): {why}"
            )));
        }
        if let Some((sighting, why)) = missing(&scene.sees, &witnessed) {
            return Err(Judgement::fail("", format!("the plugin sees {sighting}"), why));
        }
        for sighting in &scene.never {
            if sighting.check(&witnessed).is_ok() {
                return Err(Judgement::fail(
                    "",
                    format!("the plugin never sees {sighting}"),
                    "it did",
                ));
            }
        }
        Ok(())
    }

    /// Checks what is left.
    async fn aftermath(&self) -> Result<(), Judgement> {
        let after = &self.case.scene.after;
        let sockets =
            || Ok(self.cage.sockets().iter().map(|path| path.display().to_string()).collect());
        let named = |pids: io::Result<Vec<u32>>| {
            pids.map(|pids| pids.iter().map(|pid| format!("process {pid}")).collect())
        };
        self.fate("the plugin", Some(after.plugin), || named(self.stage.living())).await?;
        self.fate("what the plugin started", after.children, || {
            named(self.stage.living_children())
        })
        .await?;
        self.fate("the plugin's sockets", after.sockets, sockets).await
    }

    async fn fate(
        &self,
        what: &str,
        fate: Option<Fate>,
        left: impl Fn() -> io::Result<Vec<String>>,
    ) -> Result<(), Judgement> {
        let Some(fate) = fate else { return Ok(()) };
        let look = match fate {
            Fate::Gone => MOMENT,
            // A process that was killed is not gone at once.
            Fate::Alive => SETTLED,
        };
        let give_up = Instant::now() + look * self.scale;
        let mut there = left().map_err(unreadable)?;
        while !there.is_empty() && Instant::now() < give_up {
            // The process table does not notify of changes.
            tokio::time::sleep(Duration::from_millis(5)).await;
            there = left().map_err(unreadable)?;
        }
        match (fate, there.is_empty()) {
            (Fate::Gone, true) | (Fate::Alive, false) => Ok(()),
            (Fate::Gone, false) => Err(Judgement::fail(
                "",
                format!("{what}: gone"),
                format!("still there: {}", there.join(", ")),
            )),
            (Fate::Alive, true) => Err(Judgement::fail("", format!("{what}: alive"), "gone")),
        }
    }
}

/// Fails without the plugin's notes, since a case without them proves nothing.
fn unreadable(error: io::Error) -> Judgement {
    Judgement::error(format!("what the plugin noted cannot be read: {error}"))
}
