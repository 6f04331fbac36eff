//! The task that the suite sends.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// The version of the suite's contract that this driver supports.
const CONTRACT: u32 = 1;

/// A task. Unknown fields are rejected: performing half of what the suite asks would give a wrong
/// verdict.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Task {
    #[serde(rename = "plugwire-conformance")]
    contract: u32,
    #[serde(rename = "case")]
    _case: String,
    pub(crate) plugin: Subject,
    pub(crate) steps: Vec<Value>,
}

/// The plugin, and how the host is to be configured for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subject {
    pub(crate) command: Vec<String>,
    pub(crate) cookie: Cookie,
    pub(crate) app_versions: Vec<u32>,
    pub(crate) tls: Tls,
    pub(crate) multiplex: bool,
    pub(crate) start_timeout_ms: u64,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) reattach: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cookie {
    pub(crate) key: String,
    pub(crate) value: String,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tls {
    None,
    Mutual,
}

/// One step, and its name for the answer.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) op: Op,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Op {
    BrokerAccept { id: u32 },
    BrokerDial(Dial),
    Call(Call),
    CollectLogs { count: usize, within_ms: u64 },
    CollectStdio { stdout: usize, stderr: usize, within_ms: u64 },
    Kill {},
    Ping {},
    Start {},
    Stream(Call),
    WaitExit { within_ms: u64 },
}

/// A unary or streaming call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    pub(crate) method: String,
    #[serde(deserialize_with = "base64")]
    pub(crate) request: Vec<u8>,
    pub(crate) timeout_ms: u64,
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) cancel_after_ms: Option<u64>,
}

/// A dial, and the one call made over it. (serde cannot reject unknown fields of a flattened
/// struct.)
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dial {
    pub(crate) id: u32,
    method: String,
    #[serde(deserialize_with = "base64")]
    request: Vec<u8>,
    pub(crate) timeout_ms: u64,
}

impl Dial {
    pub(crate) fn call(&self) -> Call {
        Call {
            method: self.method.clone(),
            request: self.request.clone(),
            timeout_ms: self.timeout_ms,
            metadata: BTreeMap::new(),
            cancel_after_ms: None,
        }
    }
}

fn base64<'de, D: Deserializer<'de>>(text: D) -> Result<Vec<u8>, D::Error> {
    BASE64_STANDARD.decode(String::deserialize(text)?).map_err(de::Error::custom)
}

impl Task {
    pub(crate) fn parse(text: &str) -> Result<Self, TaskError> {
        let task: Self =
            serde_json::from_str(text).map_err(|error| TaskError::of(error, "task"))?;
        if task.contract != CONTRACT {
            return Err(TaskError::unimplemented(
                "task",
                format!("contract version {}", task.contract),
            ));
        }
        Ok(task)
    }
}

impl Step {
    /// Parses a step when its turn has come, so that the steps before it are performed and
    /// answered.
    pub(crate) fn parse(step: &Value) -> Result<Self, TaskError> {
        let name = step["op"].as_str().unwrap_or_default().to_owned();
        let op = Op::deserialize(step).map_err(|error| TaskError::of(error, &name))?;
        Ok(Self { name, op })
    }
}

/// The reason why a task is aborted.
#[derive(Debug)]
pub(crate) enum TaskError {
    /// The task is malformed.
    Malformed(serde_json::Error),
    /// The task asks for something this driver does not implement.
    Unimplemented { op: String, what: String },
    /// The task could not be read.
    Unreadable(io::Error),
}

impl TaskError {
    fn unimplemented(op: &str, what: String) -> Self {
        Self::Unimplemented { op: op.to_owned(), what }
    }

    /// Classifies an error of serde, which reports unknown names only in its message.
    fn of(error: serde_json::Error, op: &str) -> Self {
        let text = error.to_string();
        if text.starts_with("unknown ") {
            Self::unimplemented(op, text)
        } else {
            Self::Malformed(error)
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "the task is malformed: {error}"),
            Self::Unimplemented { op, what } => write!(f, "{op}: {what}"),
            Self::Unreadable(error) => write!(f, "the task cannot be read: {error}"),
        }
    }
}
