//! The scripted host: a small but complete host on the suite's wire crate, as a driver. It is the
//! reference for the cases for hosts, healthy or with one flaw.
//!
//! [`drive`] reads the task and performs its steps; `session` is one plugin from its start to its
//! end. `environment`, `process` and `handshake` start it, `link` connects, `calls` calls; `stdio`
//! and `log` collect what it prints; `broker` and `mux` are the two ways to a brokered connection,
//! on the wire crate's `broker`. Each flaw is handled where the healthy action would take place.

mod broker;
mod calls;
mod certificate;
mod environment;
mod failure;
mod flaw;
mod greeting;
mod handshake;
mod link;
mod log;
mod mux;
mod process;
mod session;
mod sockets;
mod stdio;
mod task;
#[cfg(test)]
mod vectors;

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plugwire_conformance_wire::trace::Trace;
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};

use failure::Failure;
use flaw::Flaw;
use session::Session;
use task::{Step, Task};

pub use flaw::flaws;

/// The version of the driver contract.
const CONTRACT: u32 = 1;
/// The exit status of a driver that does not support something.
const UNIMPLEMENTED: u8 = 89;
/// The exit status for a task, or a flaw, that makes no sense.
const USAGE: u8 = 2;
/// The exit status after SIGTERM.
const STOPPED: u8 = 143;
/// The exit status of a host that crashed because of its plugin, as after a panic.
const DEAD: i32 = 101;
/// Longer than any case lasts.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// The settings that all parts of a host share.
#[derive(Debug)]
struct Settings {
    plugin: task::Plugin,
    flaw: Option<Flaw>,
    /// Never read: the host's answers and the plugin's witness show what the host did.
    trace: Trace,
}

impl Settings {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn start_timeout(&self) -> Duration {
        Duration::from_millis(self.plugin.start_timeout_ms)
    }
}

/// Acts as a driver: reads one task from standard input, performs its steps and answers each on
/// standard output. Returns the exit status of the process. `flaw` is one of [`flaws`].
pub fn drive(flaw: Option<&str>) -> ExitCode {
    let flaw = match flaw.map(Flaw::named).transpose() {
        Ok(flaw) => flaw,
        Err(error) => return failed(&error),
    };
    let mut text = String::new();
    if let Err(error) = io::stdin().read_to_string(&mut text) {
        return failed(&error.to_string());
    }
    let task: Task = match serde_json::from_str(&text) {
        Ok(task) => task,
        Err(error) => return failed(&format!("the task: {error}")),
    };
    if task.contract != CONTRACT {
        return failed(&format!("version {} of the contract is not known", task.contract));
    }
    let settings = Settings { plugin: task.plugin, flaw, trace: Trace::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(until_stopped(settings, &task.steps)),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("the scripted host: {why}");
    ExitCode::from(USAGE)
}

async fn until_stopped(settings: Settings, steps: &[Value]) -> ExitCode {
    let mut stop = match signal(SignalKind::terminate()) {
        Ok(stop) => stop,
        Err(error) => return failed(&error.to_string()),
    };
    let mut host = Host { settings: Arc::new(settings), session: None };
    tokio::select! {
        status = host.all(steps) => status,
        // Dropping the host ends everything that it owns.
        _ = stop.recv() => ExitCode::from(STOPPED),
    }
}

struct Host {
    settings: Arc<Settings>,
    session: Option<Session>,
}

impl Host {
    async fn all(&mut self, steps: &[Value]) -> ExitCode {
        for text in steps {
            let op = text["op"].as_str().unwrap_or_default();
            let step = match serde_json::from_value(text.clone()) {
                Ok(step) => step,
                Err(error) => {
                    say(&json!({ "op": op, "unimplemented": error.to_string() }));
                    return ExitCode::from(UNIMPLEMENTED);
                }
            };
            let began = Instant::now();
            let outcome = self.step(step).await;
            let (ok, mut answer) = match outcome {
                Ok(members) => (true, members),
                Err(failure) => {
                    let error = failure.error();
                    let mut members = failure.members;
                    members.insert("error".to_owned(), error);
                    (false, members)
                }
            };
            answer.insert("op".to_owned(), op.into());
            answer.insert("ok".to_owned(), ok.into());
            answer.insert("ms".to_owned(), (began.elapsed().as_millis() as u64).into());
            say(&Value::Object(answer));
        }
        ExitCode::SUCCESS
    }

    /// Performs one step and returns the further members of its answer.
    async fn step(&mut self, step: Step) -> Result<Map<String, Value>, Failure> {
        if matches!(step, Step::Start) {
            let session = self.session.insert(Session::begin(&self.settings).await?);
            let version = ("version".to_owned(), session.version.into());
            return Ok(Map::from_iter([version, ("protocol".to_owned(), "grpc".into())]));
        }
        let Some(session) = &mut self.session else {
            return match step {
                Step::Kill => Ok(Map::new()),
                _ => Err(Failure::not_started()),
            };
        };
        let settings = &self.settings;
        match step {
            Step::Start => Err(Failure::new("other", "it is started already")),
            Step::Ping => calls::ping(settings, &session.link).await,
            Step::Call(call) => calls::unary(settings, &session.link, &call).await,
            Step::Stream(call) => calls::stream(settings, &session.link, &call).await,
            Step::BrokerAccept { id } => session.broker.accept(id).await.map(|()| Map::new()),
            Step::BrokerDial { id, call } => session.call_brokered(id, &call).await,
            Step::CollectStdio { stdout, stderr, within_ms } => {
                Ok(session.stdio.collect(stdout, stderr, Duration::from_millis(within_ms)).await)
            }
            Step::CollectLogs { count, within_ms } => {
                Ok(session.log.collect(count, Duration::from_millis(within_ms)).await)
            }
            Step::WaitExit { within_ms } => {
                let exited = session.exited(Duration::from_millis(within_ms)).await;
                Ok(Map::from_iter([("exited".to_owned(), exited.into())]))
            }
            Step::Kill => session.kill().await.map(|()| Map::new()),
        }
    }
}

/// One line of standard output.
fn say(answer: &Value) {
    let mut stdout = io::stdout().lock();
    // If this fails, the suite is gone.
    let _ = writeln!(stdout, "{answer}").and_then(|()| stdout.flush());
}
