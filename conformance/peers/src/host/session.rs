//! One plugin from its start to its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plugwire_conformance_wire::caller::{Call, Options};
use plugwire_conformance_wire::identity::Identity;
use plugwire_conformance_wire::messages::{ConnInfo, method};
use plugwire_conformance_wire::socket::Address;
use serde_json::{Map, Value};
use tokio::io::BufReader;
use tokio::process::ChildStdout;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::broker::{self, Broker};
use super::failure::Failure;
use super::flaw::Flaw;
use super::handshake::{self, Announced};
use super::link::Link;
use super::log::Log;
use super::process::Process;
use super::sockets::Sockets;
use super::stdio::{self, Stdio};
use super::task::{self, Record, Tls};
use super::{FOR_EVER, Settings, calls, environment, mux};

/// How long the answer to Shutdown may take (SHD-3).
const SHUTDOWN: Duration = Duration::from_secs(5);
/// How long the process may take to exit by itself (SHD-4).
const END: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    settings: Arc<Settings>,
    pub(super) version: i64,
    /// The process, if this host started it.
    pub(super) process: Option<Process>,
    pub(super) link: Arc<Link>,
    pub(super) log: Log,
    pub(super) stdio: Stdio,
    pub(super) broker: Arc<Broker>,
    sockets: Arc<Sockets>,
    /// The tasks that read the open streams.
    reading: JoinSet<()>,
    ended: bool,
}

impl Session {
    /// Starts the plugin, or attaches to one, and connects.
    pub(super) async fn begin(settings: &Arc<Settings>) -> Result<Self, Failure> {
        let keep = settings.has(Flaw::LeavesSockets);
        let other = |why: String| Failure::new("start.other", why);
        let sockets = Arc::new(Sockets::new(keep).map_err(|error| other(error.to_string()))?);
        match &settings.plugin.reattach {
            Some(record) => Self::attach(settings, record, &sockets).await,
            None => Self::start(settings, &sockets).await,
        }
    }

    async fn start(settings: &Arc<Settings>, sockets: &Arc<Sockets>) -> Result<Self, Failure> {
        let identity = (settings.plugin.tls == Tls::Mutual).then(Identity::new);
        let variables = environment::variables(settings, identity.as_ref(), sockets);
        let (mut process, stdout, stderr) = Process::start(settings, variables)?;
        let log = Log::default();
        process.read(log.clone().read(stderr, settings.flaw));
        let announced = announced(settings, &mut process, stdout).await;
        let begun = match announced {
            Ok(announced) => Self::over(settings, announced, identity, sockets, log).await,
            Err(failure) => Err(failure),
        };
        match begun {
            Ok(session) => Ok(Self { process: Some(process), ..session }),
            Err(failure) if settings.has(Flaw::LeavesRefusedPlugins) => {
                process.spare();
                Err(failure)
            }
            Err(failure) => {
                process.kill().await;
                sockets.remove();
                Err(failure)
            }
        }
    }

    /// Attaches with a record, without process, environment and line (RAT-2).
    async fn attach(
        settings: &Arc<Settings>,
        record: &Record,
        sockets: &Arc<Sockets>,
    ) -> Result<Self, Failure> {
        if record.protocol != "grpc" {
            let why = format!("the protocol {:?} is not grpc", record.protocol);
            return Err(Failure::new("start.protocol", why));
        }
        let address = record.addr.address();
        let address = address.map_err(|why| Failure::new("start.network", why))?;
        let version = record.protocol_version;
        let announced = Announced { version, address, certificate: None };
        Self::over(settings, announced, None, sockets, Log::default()).await
    }

    /// Connects to the announced address.
    async fn over(
        settings: &Arc<Settings>,
        announced: Announced,
        identity: Option<Identity>,
        sockets: &Arc<Sockets>,
        log: Log,
    ) -> Result<Self, Failure> {
        let version = announced.version;
        let shown = identity.filter(|_| !settings.has(Flaw::ShowsNoCertificate));
        let link = Arc::new(Link::new(settings, announced, shown));
        let (broker, queue) = Broker::new(settings, &link, sockets);
        let mut session = Self {
            settings: settings.clone(),
            version,
            process: None,
            link,
            log,
            stdio: Stdio::default(),
            broker,
            sockets: sockets.clone(),
            reading: JoinSet::new(),
            ended: false,
        };
        let connects_later =
            [Flaw::BelievesTheLine, Flaw::ConnectsWithTheFirstCall, Flaw::TakesExit0ForAStart];
        if settings.flaw.is_some_and(|flaw| connects_later.contains(&flaw)) {
            return Ok(session);
        }
        let caller = session.link.caller().await?;
        let mut streams = [broker::open(&caller).await, stdio::open(&caller).await];
        if settings.has(Flaw::WaitsForStreamHeaders) {
            for call in streams.iter_mut().flatten() {
                let _ = call.answered().await;
            }
        }
        let [brokering, printing] = streams;
        session.open_broker(brokering, queue);
        session.open_stdio(printing);
        if session.link.multiplexes() {
            session.reading.spawn(mux::take_all(session.broker.clone()));
        }
        Ok(session)
    }

    /// Reads the broker's stream, if there is one, until it ends.
    fn open_broker(&mut self, call: Option<Call>, queue: UnboundedReceiver<ConnInfo>) {
        let (broker, link) = (self.broker.clone(), self.link.clone());
        let insists = self.settings.has(Flaw::InsistsOnABroker);
        self.reading.spawn(async move {
            match call {
                Some(call) => broker.run(call, queue).await,
                None => broker.end(),
            }
            if insists {
                link.close().await;
            }
        });
    }

    /// The same for the stdio stream.
    fn open_stdio(&mut self, call: Option<Call>) {
        let (stdio, link) = (self.stdio.clone(), self.link.clone());
        let settings = self.settings.clone();
        self.reading.spawn(async move {
            if let Some(call) = call {
                stdio.read(&settings, call).await;
            }
            if settings.has(Flaw::InsistsOnStdio) {
                link.close().await;
            }
        });
    }

    /// Waits until the process has ended, with a timeout.
    pub(super) async fn exited(&mut self, within: Duration) -> bool {
        match &mut self.process {
            Some(process) => process.gone(within).await,
            None => false,
        }
    }

    /// Dials an id of the plugin, and makes one call there.
    pub(super) async fn call_brokered(
        &self,
        id: u32,
        call: &task::Call,
    ) -> Result<Map<String, Value>, Failure> {
        let dialling = async {
            let caller = self.broker.dial(id).await?;
            calls::unary_there(&self.settings, &caller, call).await
        };
        let late = || Failure::new("broker.timeout", format!("id {id} does not answer"));
        let all = if self.settings.has(Flaw::WaitsForEver) { FOR_EVER } else { call.timeout() };
        timeout(all, dialling).await.unwrap_or_else(|_| Err(late()))
    }

    /// Ends the plugin in order.
    pub(super) async fn kill(&mut self) -> Result<(), Failure> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let ended = match &self.settings.plugin.reattach {
            Some(record) => self.leave(record.test).await,
            None => self.end().await,
        };
        self.sockets.remove();
        ended
    }

    /// Detaches from a plugin that another process started (RAT-5, RAT-6).
    async fn leave(&mut self, is_test: bool) -> Result<(), Failure> {
        let asks = match is_test {
            true => self.settings.has(Flaw::EndsTestPlugins),
            false => !self.settings.has(Flaw::LeavesPlugins),
        };
        let asked = if asks { self.shutdown().await } else { Ok(()) };
        self.close().await;
        asked
    }

    async fn end(&mut self) -> Result<(), Failure> {
        let is_alive = self.process.as_ref().is_some_and(|process| !process.has_ended());
        let asks = is_alive && !self.settings.has(Flaw::KillsWithoutShutdown);
        let asked = if asks { self.shutdown().await } else { Ok(()) };
        self.close().await;
        let Some(process) = &mut self.process else { return asked };
        if asks {
            process.exited(END).await;
        }
        match self.settings.has(Flaw::LeavesPlugins) {
            true => process.spare(),
            // The group may outlive its leader.
            false => process.kill().await,
        }
        asked
    }

    /// Asks the plugin to end; what it answers, if at all, does not matter (SHD-2).
    async fn shutdown(&self) -> Result<(), Failure> {
        let patience = if self.settings.has(Flaw::WaitsForEver) { FOR_EVER } else { SHUTDOWN };
        let asking = async {
            let caller = self.link.caller().await.ok()?;
            caller.unary(method::SHUTDOWN, Bytes::new(), &Options::default()).await.ok()
        };
        let answered = timeout(patience, asking).await.ok().flatten();
        match answered {
            Some(_) if self.settings.has(Flaw::ShutdownMustNotAnswer) => {
                Err(Failure::new("other", "the plugin answered, and should have ended"))
            }
            _ => Ok(()),
        }
    }

    async fn close(&mut self) {
        self.reading.abort_all();
        self.broker.end();
        self.broker.serving.lock().abort_all();
        self.link.close().await;
    }
}

/// Reads and checks the line; from then on standard output is discarded.
async fn announced(
    settings: &Settings,
    process: &mut Process,
    stdout: ChildStdout,
) -> Result<Announced, Failure> {
    let mut stdout = BufReader::new(stdout);
    let line = handshake::first_line(settings, process, &mut stdout).await?;
    let stops = settings.has(Flaw::StopsReadingStdout);
    process.read(async move {
        match stops {
            true => std::future::pending().await,
            false => handshake::drain(&mut stdout).await,
        }
    });
    if line.is_empty() && settings.has(Flaw::TakesExit0ForAStart) {
        let address = Address::Unix(Default::default());
        return Ok(Announced { version: 0, address, certificate: None });
    }
    handshake::check(settings, &line)
}
