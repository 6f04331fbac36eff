//! The state of a Rust host with one plugin.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::join;
use plugwire::broker::Serving;
use plugwire::host::{Attach, Launch, PluginHandle, Timeouts};
use plugwire::protocol::hclog::Entry;
use plugwire::protocol::reattach;
use plugwire::{Handshake, Services};
use plugwire_interop::collected::{Log, Output};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::Seen;
use crate::calls;
use crate::failure::Failure;
use crate::task::{Op, Subject, Tls};

/// The limit for waits inside the library that this host does not configure.
const LIBRARY: Duration = Duration::from_secs(5);
/// The limit for ending a plugin that does not cooperate: the library asks for five seconds, waits
/// for two, sends SIGTERM, waits for one, and kills; one more second allows for a loaded machine.
const SHUTDOWN: Duration = Duration::from_secs(9);

pub(crate) struct Session {
    subject: Subject,
    plugin: Option<PluginHandle>,
    stdout: Output,
    stderr: Output,
    log: Log,
    /// Brokered services, kept until the end.
    serving: Vec<Serving>,
}

impl Session {
    pub(crate) fn new(subject: Subject) -> Self {
        Self {
            subject,
            plugin: None,
            stdout: Output::default(),
            stderr: Output::default(),
            log: Log::default(),
            serving: Vec::new(),
        }
    }

    /// Returns the time limit that a step names itself.
    pub(crate) fn limit(&self, op: &Op) -> Duration {
        match op {
            Op::Start {} => Duration::from_millis(self.subject.start_timeout_ms),
            Op::BrokerAccept { .. } | Op::Ping {} => LIBRARY,
            Op::BrokerDial(dial) => LIBRARY + Duration::from_millis(dial.timeout_ms),
            Op::Call(call) | Op::Stream(call) => Duration::from_millis(call.timeout_ms),
            Op::CollectLogs { within_ms, .. }
            | Op::CollectStdio { within_ms, .. }
            | Op::WaitExit { within_ms } => Duration::from_millis(*within_ms),
            Op::Kill {} => SHUTDOWN,
        }
    }

    pub(crate) async fn run(&mut self, op: &Op, seen: &mut Seen) -> Result<(), Failure> {
        match op {
            Op::Start {} => self.start(seen).await?,
            Op::Ping {} => self.plugin()?.ping().await?,
            Op::Call(call) => calls::unary(self.plugin()?.channel(), call, seen).await?,
            Op::Stream(call) => calls::stream(self.plugin()?.channel(), call, seen).await?,
            Op::BrokerAccept { id } => {
                let services = Services::new().add_named(calls::PROBE, calls::echo());
                let serving = self.plugin()?.broker().serve(*id, services).await?;
                self.serving.push(serving);
            }
            Op::BrokerDial(dial) => {
                let channel = self.plugin()?.broker().dial(dial.id).await?;
                calls::unary(channel, &dial.call(), seen).await?;
            }
            Op::CollectStdio { stdout, stderr, within_ms } => {
                self.plugin()?;
                let within = Duration::from_millis(*within_ms);
                let stdout = self.stdout.wait(within, |all| all.len() >= *stdout);
                let stderr = self.stderr.wait(within, |all| all.len() >= *stderr);
                let (stdout, stderr) = join(stdout, stderr).await;
                seen.insert("stdout".to_owned(), BASE64_STANDARD.encode(stdout).into());
                seen.insert("stderr".to_owned(), BASE64_STANDARD.encode(stderr).into());
            }
            Op::CollectLogs { count, within_ms } => {
                self.plugin()?;
                let within = Duration::from_millis(*within_ms);
                let entries = self.log.wait(within, |all| all.len() >= *count).await;
                let entries: Value = entries.iter().map(|(_, entry)| shown(entry)).collect();
                seen.insert("entries".to_owned(), entries);
            }
            Op::WaitExit { within_ms } => {
                let within = Duration::from_millis(*within_ms);
                let exited = timeout(within, self.plugin()?.exited()).await;
                seen.insert("exited".to_owned(), exited.is_ok().into());
            }
            Op::Kill {} => self.kill().await?,
        }
        Ok(())
    }

    fn plugin(&self) -> Result<&PluginHandle, Failure> {
        self.plugin.as_ref().ok_or_else(Failure::not_started)
    }

    async fn start(&mut self, seen: &mut Seen) -> Result<(), Failure> {
        let plugin = match &self.subject.reattach {
            Some(record) => self.attach(record).await?,
            None => self.launch()?.start().await?,
        };
        seen.insert("version".to_owned(), plugin.version().into());
        seen.insert("protocol".to_owned(), "grpc".into());
        self.plugin = Some(plugin);
        Ok(())
    }

    fn launch(&self) -> Result<Launch, Failure> {
        let Subject { command, cookie, .. } = &self.subject;
        let [program, arguments @ ..] = command.as_slice() else {
            return Err(Failure::new("start.other", "the task does not name a program"));
        };
        let handshake = Handshake::from_strings(&cookie.key, &cookie.value);
        let mut launch = Launch::new(handshake, program)
            .args(arguments)
            .start_timeout(Duration::from_millis(self.subject.start_timeout_ms))
            .stdout(self.stdout.clone())
            .stderr(self.stderr.clone())
            .log_sink(self.log.clone());
        for version in &self.subject.app_versions {
            launch = launch.version(*version);
        }
        for (name, value) in &self.subject.env {
            launch = launch.env(name, value);
        }
        if self.subject.tls == Tls::None {
            launch = launch.dangerous().plaintext();
        }
        if self.subject.multiplex {
            launch = launch.multiplex();
        }
        Ok(launch)
    }

    async fn attach(&self, record: &Value) -> Result<PluginHandle, Failure> {
        let records = reattach::parse_map(&json!({ "subject": record }).to_string());
        let record = records.map_err(|error| Failure::new("start.other", error.to_string()))?;
        let record = record.into_values().next().expect("there is one entry");
        let limit = Duration::from_millis(self.subject.start_timeout_ms);
        let attach = Attach::new(record)
            .timeouts(Timeouts::default().start(limit))
            .stdout(self.stdout.clone())
            .stderr(self.stderr.clone());
        Ok(attach.connect().await?)
    }

    async fn kill(&self) -> Result<(), Failure> {
        let Some(plugin) = &self.plugin else { return Ok(()) };
        let stopped = plugin.shutdown().await;
        stopped.map(drop).map_err(|error| Failure::new("other", error.to_string()))
    }
}

/// Formats one entry of the host's log. Fields that go-plugin logs have the same names here.
fn shown(entry: &Entry) -> Value {
    let record = &entry.record;
    let mut fields = Map::from_iter(record.fields.iter().cloned());
    let module = record.module.iter().map(|module| ("@module", module));
    let time = record.timestamp.iter().map(|time| ("timestamp", time));
    fields.extend(module.chain(time).map(|(key, value)| (key.to_owned(), value.clone().into())));
    json!({ "level": record.level.as_str(), "message": record.message, "fields": fields })
}
