//! The suite as a host, in the middle of a case.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use plugwire_conformance_wire::caller::{Call, Caller};
use plugwire_conformance_wire::identity::Identity;
use plugwire_conformance_wire::line::Line;
use plugwire_conformance_wire::process::{Cage, Running};
use plugwire_conformance_wire::trace::Trace;
use plugwire_conformance_wire::yamux::Session;

use super::broker::{Broker, Held};
use super::scene::Step;
use crate::case::Span;
use crate::subject::Subject;

/// The default time limit of a step.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the exit of a dead process may take to be noticed.
const DEATH: Duration = Duration::from_millis(250);

/// The connection of steps that name none.
pub(super) const MAIN: &str = "main";

/// Why a step ended the case.
#[derive(Debug)]
pub(super) enum Failure {
    /// The plugin behaved differently.
    Differs {
        /// What was wanted.
        expected: String,
        /// What came.
        actual: String,
    },
    /// The plugin does not serve the probe's method.
    Unimplemented(String),
    /// The case does not apply to this plugin.
    DoesNotApply(String),
    /// The suite itself failed.
    Engine(String),
}

impl Failure {
    pub(super) fn differs(expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self::Differs { expected: expected.into(), actual: actual.into() }
    }

    pub(super) fn engine(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Engine(format!("{what}: {error}"))
    }
}

/// What came of a step.
pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// The state of the suite while it acts as the plugin's host.
pub(super) struct Host<'a> {
    pub(super) subject: &'a Subject,
    pub(super) cage: &'a Cage,
    pub(super) trace: &'a Trace,
    /// The factor by which every wait for the plugin is longer.
    timeout_scale: u32,
    /// The plugin's process.
    pub(super) process: Option<Running>,
    /// The host's certificate under mutual TLS.
    pub(super) identity: Option<Identity>,
    /// Whether the host multiplexes if the plugin can.
    pub(super) multiplex: bool,
    /// The last handshake line.
    pub(super) line: Option<Line>,
    /// The session that all connections share, when they are multiplexed.
    pub(super) session: Option<Session>,
    pub(super) connections: BTreeMap<String, Caller>,
    /// Open calls and their methods.
    pub(super) calls: BTreeMap<String, (String, Call)>,
    /// Whether the process may end: a step asked it to, or waits for it.
    pub(super) may_end: bool,
    pub(super) broker: Option<Held>,
    /// The ids that the plugin offered, by the case's names for them.
    pub(super) offers: BTreeMap<String, u32>,
}

impl<'a> Host<'a> {
    pub(super) fn new(
        subject: &'a Subject,
        cage: &'a Cage,
        trace: &'a Trace,
        timeout_scale: u32,
    ) -> Self {
        Self {
            timeout_scale: timeout_scale.max(1),
            subject,
            cage,
            trace,
            process: None,
            identity: None,
            multiplex: false,
            line: None,
            session: None,
            connections: BTreeMap::new(),
            calls: BTreeMap::new(),
            may_end: false,
            broker: None,
            offers: BTreeMap::new(),
        }
    }

    /// Does one step.
    pub(super) async fn step(&mut self, step: &Step) -> Outcome {
        if step.may_end_it() {
            // Once it is gone, the processes that it started can no longer be attributed.
            self.cage.processes();
        }
        match step {
            Step::Session(start) => self.begin(start).await,
            Step::Start(start) => self.start(start).await,
            Step::Line(wanted) => self.read_line(wanted).await,
            Step::Exit(wanted) => self.exit(wanted).await,
            Step::Output(wanted) => self.output(wanted).await,
            Step::Alive(wanted) => self.alive(wanted).await,
            Step::Signal(name) => self.signal(name),
            Step::CloseStdin(_) => self.close_stdin(),
            Step::Socket(wanted) => self.socket(wanted),
            Step::Connect(connect) => self.connect(connect).await,
            Step::Disconnect(which) => self.disconnect(which).await,
            Step::Raw(raw) => self.raw(raw).await,
            Step::Call(call) => self.call(call).await,
            Step::Concurrently(calls) => self.concurrently(calls).await,
            Step::Open(open) => self.open(open).await,
            Step::Receive(wanted) => self.receive(wanted).await,
            Step::Silent(wanted) => self.silent(wanted).await,
            Step::Cancel(which) => self.cancel(&which.name),
            Step::Shutdown(shutdown) => self.shutdown(shutdown).await,
            Step::Print(print) => self.print(print).await,
            Step::Printed(wanted) => self.printed(wanted).await,
            Step::Broker(broker) => self.open_broker(broker).await,
            Step::CloseBroker(_) => self.close_broker(),
            Step::BrokerOpen(_) => self.broker_open(),
            Step::Announced(wanted) => self.announced_socket(wanted),
            Step::Release(which) => self.release(&which.name).await,
            Step::Serve(serve) => self.serve(serve.id).await,
            Step::Offer(offer) => self.offer(offer).await,
            Step::Dial(dial) => self.dial(dial).await,
            Step::DialBack(back) => self.dial_back(back).await,
            Step::Knock(knock) => self.knock(knock).await,
        }
    }

    /// Returns a step's limit.
    pub(super) fn limit(&self, within: Option<Span>) -> Duration {
        self.scaled(within.map_or(PATIENCE, |span| *span))
    }

    /// Returns a time limit, scaled for this machine.
    pub(super) fn scaled(&self, time: Duration) -> Duration {
        time * self.timeout_scale
    }

    /// Returns whether the plugin died without being asked to. Its connections show that a moment
    /// before the system does.
    pub(super) async fn crashed(&self) -> bool {
        let Some(process) = self.process.as_ref().filter(|_| !self.may_end) else { return false };
        let ended = process.exited(self.scaled(DEATH)).await;
        ended.is_some_and(|exit| exit.code() != Some(0))
    }

    /// Fills in the placeholders of a case's text.
    pub(super) fn filled(&self, text: &str) -> String {
        let version = |version: Option<&u32>| version.copied().unwrap_or(1).to_string();
        text.replace("{version}", &version(self.subject.app_versions.last()))
            .replace("{lowest}", &version(self.subject.app_versions.first()))
            .replace("{folder}", &self.cage.folder().display().to_string())
            .replace("{temporary}", &self.cage.temporary().display().to_string())
            .replace("{group}", &rustix::process::getgid().as_raw().to_string())
    }

    pub(super) fn process(&self) -> Outcome<&Running> {
        self.process.as_ref().ok_or_else(|| Failure::Engine("no plugin was started".to_owned()))
    }

    pub(super) fn announced(&self) -> Outcome<&Line> {
        self.line.as_ref().ok_or_else(|| Failure::Engine("no line was read".to_owned()))
    }

    pub(super) fn broker(&self) -> Outcome<&Broker> {
        let held = self.broker.as_ref();
        held.map(|held| &held.0)
            .ok_or_else(|| Failure::Engine("no broker's stream is open".to_owned()))
    }

    pub(super) fn connection(&self, name: Option<&str>) -> Outcome<&Caller> {
        let name = name.unwrap_or(MAIN);
        self.connections
            .get(name)
            .ok_or_else(|| Failure::Engine(format!("there is no connection {name:?}")))
    }
}

/// Waits for something, with a timeout.
pub(super) async fn within<T>(
    limit: Duration,
    what: &str,
    wait: impl Future<Output = T>,
) -> Outcome<T> {
    tokio::time::timeout(limit, wait)
        .await
        .map_err(|_| Failure::differs(format!("{what} within {limit:?}"), "it did not come"))
}
