//! The kinds of errors that a driver reports.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// One of the driver contract's kinds; of a status also the code, as in `status.UNAVAILABLE`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub struct Kind(String);

/// All kinds. Any other word of a driver is an error.
const KINDS: [&str; 25] = [
    "broker",
    "broker.refused",
    "broker.timeout",
    "gone",
    "hung",
    "not-started",
    "other",
    "ping.not-serving",
    "start.address",
    "start.app-version",
    "start.certificate",
    "start.connect",
    "start.cookie",
    "start.core-version",
    "start.exited",
    "start.multiplex",
    "start.network",
    "start.no-certificate",
    "start.not-a-handshake",
    "start.other",
    "start.protocol",
    "start.timeout",
    "start.tls",
    "start.unexpected-certificate",
    "status",
];

/// gRPC's codes, OK excepted.
const CODES: [&str; 16] = [
    "ABORTED",
    "ALREADY_EXISTS",
    "CANCELLED",
    "DATA_LOSS",
    "DEADLINE_EXCEEDED",
    "FAILED_PRECONDITION",
    "INTERNAL",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "OUT_OF_RANGE",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
    "UNIMPLEMENTED",
    "UNKNOWN",
];

impl Kind {
    /// Returns a driver's word, with the code where it is a status.
    pub fn of(kind: &str, code: Option<&str>) -> Result<Self, String> {
        match (kind, code) {
            ("status", Some(code)) => format!("status.{code}").try_into(),
            ("status", None) => Err("an error of the kind status has no code".to_owned()),
            _ => kind.to_owned().try_into(),
        }
    }

    /// Returns whether an error of kind `seen` is one of this kind.
    pub fn takes(&self, seen: &Self) -> bool {
        self == seen || (self.0 == "status" && seen.0.starts_with("status."))
    }

    /// Returns whether it is the error of a call without a connection.
    pub fn is_no_connection(&self) -> bool {
        matches!(self.0.as_str(), "status.UNAVAILABLE" | "gone")
    }

    /// Returns whether the kind does not say what is wrong.
    pub fn is_vague(&self) -> bool {
        matches!(self.0.as_str(), "other" | "start.other")
    }
}

impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        let code_is_known = |code| CODES.contains(&code);
        if KINDS.contains(&word.as_str()) || word.strip_prefix("status.").is_some_and(code_is_known)
        {
            return Ok(Self(word));
        }
        Err(format!(
            "{word:?} is no kind of error; there are {}, and status.CODE",
            KINDS.join(", ")
        ))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(word: &str) -> Kind {
        word.to_owned().try_into().expect("a kind")
    }

    #[test]
    fn status_takes_every_code_and_a_code_only_itself() {
        let seen = Kind::of("status", Some("UNAVAILABLE")).expect("a kind");
        assert!(kind("status").takes(&seen) && kind("status.UNAVAILABLE").takes(&seen));
        assert!(!kind("status.INTERNAL").takes(&seen) && !kind("gone").takes(&seen));
    }

    #[test]
    fn the_vocabulary_is_closed() {
        for word in ["start", "status.OK", "status.unavailable", "", "Start.other"] {
            assert!(Kind::try_from(word.to_owned()).is_err(), "{word}");
        }
    }
}
