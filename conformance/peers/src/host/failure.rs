//! Why a step failed, in the driver contract's words.

use std::fmt;

use plugwire_conformance_wire::grpc::Status;
use serde_json::{Map, Value, json};

/// A step that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: &'static str,
    message: String,
    /// The code's name, where the kind is `status`.
    code: Option<&'static str>,
    /// Further members of the answer.
    pub(super) members: Map<String, Value>,
}

impl Failure {
    /// Creates a failure with one of the contract's kinds, and a message for people.
    pub(super) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), code: None, members: Map::new() }
    }

    /// Returns the failure of a call with this status.
    pub(super) fn status(status: Status) -> Self {
        Self { code: Some(status.name()), ..Self::new("status", status.message) }
    }

    /// Returns the failure of a call that reached no plugin.
    pub(super) fn unavailable(message: impl fmt::Display) -> Self {
        Self::status(Status::new("UNAVAILABLE", message.to_string()))
    }

    pub(super) fn not_started() -> Self {
        Self::new("not-started", "there is no plugin")
    }

    /// Returns the same, with these members in its answer.
    pub(super) fn with(self, members: Map<String, Value>) -> Self {
        Self { members, ..self }
    }

    /// As it stands in an answer.
    pub(super) fn error(&self) -> Value {
        let mut error = json!({ "kind": self.kind, "message": self.message });
        if let Some(code) = self.code {
            error["code"] = code.into();
        }
        error
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
