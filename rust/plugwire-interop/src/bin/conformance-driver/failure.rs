//! Translates failures into the contract's terms.

use std::error::Error;
use std::fmt::Write;

use plugwire::broker::{DialError, ListenError};
use plugwire::host::{AttachError, PingError, StartError};
use serde_json::{Value, json};
use tonic::Status;

/// A failed step.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: &'static str,
    code: Option<&'static str>,
    message: String,
}

impl Failure {
    pub(crate) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code: None, message: message.into() }
    }

    pub(crate) fn not_started() -> Self {
        Self::new("not-started", "no plugin is running")
    }

    fn of(kind: &'static str, error: &dyn Error) -> Self {
        Self::new(kind, with_causes(error))
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut error = json!({ "kind": self.kind, "message": self.message });
        if let Some(code) = self.code {
            error["code"] = code.into();
        }
        error
    }
}

/// Formats the host's error and its sources.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let kind = match error.code() {
            "start.app-version" | "start.app-version-not-a-number" => "start.app-version",
            "start.core-version" | "start.core-version-not-a-number" => "start.core-version",
            "start.connect" | "start.http2" => "start.connect",
            "start.multiplex-missing"
            | "start.multiplex-not-a-bool"
            | "start.multiplex-refused" => "start.multiplex",
            "start.netrpc" | "start.protocol" => "start.protocol",
            "start.no-line" | "start.unrecognized" => "start.not-a-handshake",
            same @ ("start.address"
            | "start.certificate"
            | "start.cookie"
            | "start.exited"
            | "start.network"
            | "start.no-certificate"
            | "start.timeout"
            | "start.tls"
            | "start.unexpected-certificate") => same,
            _ => "start.other",
        };
        Self::of(kind, &error)
    }
}

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Self {
        let kind = match &error {
            AttachError::Address(_) => "start.address",
            AttachError::Connect { .. } => "start.connect",
            AttachError::Timeout { .. } => "start.timeout",
            _ => "start.other",
        };
        Self::of(kind, &error)
    }
}

impl From<PingError> for Failure {
    fn from(error: PingError) -> Self {
        match error {
            PingError::Call(status) => status.into(),
            error => Self::of("ping.not-serving", &error),
        }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        let kind = match &error {
            DialError::PeerGone(_) => "gone",
            DialError::Refused { .. } => "broker.refused",
            DialError::Timeout { .. } => "broker.timeout",
            _ => "broker",
        };
        Self::of(kind, &error)
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Self {
        let kind = match &error {
            ListenError::PeerGone(_) => "gone",
            ListenError::Timeout { .. } => "broker.timeout",
            _ => "broker",
        };
        Self::of(kind, &error)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let code = usize::try_from(i32::from(status.code())).ok().and_then(|code| CODES.get(code));
        Self {
            kind: "status",
            code: Some(code.unwrap_or(&"UNKNOWN")),
            message: status.message().to_owned(),
        }
    }
}

/// The names of gRPC's status codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
