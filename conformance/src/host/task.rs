//! The task that a driver gets.

use std::time::Duration;

use plugwire_conformance_wire::environment;
use plugwire_conformance_wire::line::Line;
use plugwire_conformance_wire::process::{Cage, Running};
use serde_json::{Value, json};

use super::Play;
use super::scene::{Reattach, Scene, Tls};
use super::stage::Stage;
use crate::case::Case;
use crate::subject::Subject;

/// The version of the driver contract.
const CONTRACT: u32 = 1;
/// The time limit for the line of a plugin to attach to.
const LINE: Duration = Duration::from_secs(10);

/// Returns the whole task of a case.
pub(super) fn task(
    case: &Case<Scene>,
    subject: &Subject,
    stage: &Stage,
    cage: &Cage,
    record: Option<&Value>,
    scale: u32,
) -> Result<Value, String> {
    let setting = &case.scene.plugin;
    let mut operations = Vec::new();
    for step in &case.scene.steps {
        operations.extend(step.operations(scale)?);
    }
    // Hosts need not pass on their own environment; the mark shows which case the process belongs
    // to.
    let (mark, value) = cage.mark();
    let mut env = setting.env.clone();
    env.insert(mark.to_owned(), value.to_owned());
    Ok(json!({
        "plugwire-conformance": CONTRACT,
        "case": case.header.id,
        "plugin": {
            "command": [stage.plugin],
            "cookie": {"key": subject.cookie.key, "value": subject.cookie.value},
            "app_versions": setting.app_versions,
            "tls": match setting.tls {
                Tls::None => "none",
                Tls::Mutual => "mutual",
            },
            "multiplex": setting.multiplex,
            "start_timeout_ms": (*setting.start_timeout * scale).as_millis() as u64,
            "env": env,
            "reattach": record,
        },
        "steps": operations,
    }))
}

/// A plugin that runs already, and its record (RAT-1).
#[derive(Debug)]
pub(super) struct Attached {
    /// What the driver gets.
    pub(super) record: Value,
    /// It ends with this.
    _running: Running,
}

impl Attached {
    /// Starts it as another process would have.
    pub(super) async fn start(reattach: &Reattach, play: &Play<'_>) -> Result<Self, String> {
        let Play { subject, stage, cage, trace, scale, .. } = play;
        let mut command = cage.command(&stage.plugin);
        command
            .env(&subject.cookie.key, &subject.cookie.value)
            .env(environment::PROTOCOL_VERSIONS, "1");
        let running =
            Running::start(command, "plugin", trace).map_err(|error| error.to_string())?;
        let line = running.stdout.first_line(LINE * *scale).await;
        let line = line.ok_or("the plugin to attach to printed no line")?;
        let line =
            Line::parse(&line).map_err(|error| format!("the plugin to attach to: {error}"))?;
        let record = json!({
            "Protocol": reattach.protocol,
            "ProtocolVersion": 1,
            "Pid": running.pid,
            "Test": reattach.test,
            "Addr": {"Network": line.network(), "String": line.address()},
        });
        Ok(Self { record, _running: running })
    }
}
