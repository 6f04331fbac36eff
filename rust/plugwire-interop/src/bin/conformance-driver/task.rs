//! What the suite asks for.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// The version of the suite's contract that this driver knows.
const CONTRACT: u32 = 1;

/// A task. Fields that are not known are refused: half of what the suite means would be a wrong verdict.
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

/// A call, of either kind.
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

/// A dial, and the one call that is made there. (serde cannot refuse unknown fields of a struct inside a struct.)
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
    /// Read when its turn has come: what stands before it is done and answered.
    pub(crate) fn parse(step: &Value) -> Result<Self, TaskError> {
        let name = step["op"].as_str().unwrap_or_default().to_owned();
        let op = Op::deserialize(step).map_err(|error| TaskError::of(error, &name))?;
        Ok(Self { name, op })
    }
}

/// Why a task is not carried on with.
#[derive(Debug)]
pub(crate) enum TaskError {
    /// It makes no sense.
    Malformed(serde_json::Error),
    /// It asks for what this driver does not have.
    Unimplemented { op: String, what: String },
    /// It could not be read.
    Unreadable(io::Error),
}

impl TaskError {
    fn unimplemented(op: &str, what: String) -> Self {
        Self::Unimplemented { op: op.to_owned(), what }
    }

    /// serde tells what it does not know in words only.
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
            Self::Malformed(error) => write!(f, "the task makes no sense: {error}"),
            Self::Unimplemented { op, what } => write!(f, "{op}: {what}"),
            Self::Unreadable(error) => write!(f, "the task cannot be read: {error}"),
        }
    }
}
