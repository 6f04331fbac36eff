//! What a driver answers, line by line.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::kind::Kind;
use crate::matching::excerpt;

/// One line of a driver: the answer to one step.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// All of it.
    pub(super) line: Value,
    /// Why the step failed, where it did.
    pub(super) fault: Option<Fault>,
    /// How long it took, measured by the suite.
    pub(super) took: Duration,
}

/// Why a step failed.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// The driver's word for it.
    pub(super) kind: Kind,
    /// The host's own words.
    pub(super) message: String,
}

/// What a line of a driver says.
#[derive(Debug)]
pub(super) enum Said {
    /// A step was done, or failed.
    Answer(Answer),
    /// The driver cannot do this at all.
    Unimplemented(String),
}

impl Said {
    /// Reads the answer to the operation `op`. Fails with a description of what is wrong with the
    /// line.
    pub(super) fn read(line: &[u8], op: &str, took: Duration) -> Result<Self, String> {
        let text = excerpt(&String::from_utf8_lossy(line));
        let line: Value =
            serde_json::from_slice(line).map_err(|_| format!("{text:?} is no JSON"))?;
        let said = line["op"].as_str().ok_or_else(|| format!("{text:?} names no op"))?;
        if let Some(what) = line["unimplemented"].as_str() {
            return Ok(Self::Unimplemented(what.to_owned()));
        }
        if said != op {
            return Err(format!("{text:?} answers {said:?}, and {op:?} was next"));
        }
        let fault = match line["ok"].as_bool() {
            Some(true) => None,
            Some(false) => Some(Fault::read(&line["error"])?),
            None => return Err(format!("{text:?} does not say whether it is ok")),
        };
        Ok(Self::Answer(Answer { line, fault, took }))
    }
}

impl Fault {
    fn read(error: &Value) -> Result<Self, String> {
        let kind =
            error["kind"].as_str().ok_or_else(|| format!("the error {error} has no kind"))?;
        let kind = Kind::of(kind, error["code"].as_str())?;
        Ok(Self { kind, message: error["message"].as_str().unwrap_or_default().to_owned() })
    }
}

impl Answer {
    /// Returns the same, where the host's own words say more than a vague kind: `errors` has parts of its messages, by the kind that they mean.
    #[must_use]
    pub(super) fn named_by(mut self, errors: &BTreeMap<String, String>) -> Self {
        if let Some(fault) = &mut self.fault
            && fault.kind.is_vague()
            && let Some((kind, _)) = errors.iter().find(|(_, part)| fault.message.contains(*part))
            && let Ok(kind) = Kind::of(kind, None)
        {
            fault.kind = kind;
        }
        self
    }

    /// Returns a member that holds bytes.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        let text = self.line[name].as_str().ok_or_else(|| format!("the answer has no {name}"))?;
        STANDARD.decode(text).map_err(|error| format!("{name} is no base64: {error}"))
    }

    /// Returns the outcome in one line.
    pub(super) fn outcome(&self) -> String {
        match &self.fault {
            None => "it succeeded".to_owned(),
            Some(fault) => format!("it failed with {}: {}", fault.kind, excerpt(&fault.message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Said, String> {
        Said::read(line.as_bytes(), "ping", Duration::ZERO)
    }

    #[test]
    fn nonsense_is_named() {
        for (line, said) in [
            ("hello", "no JSON"),
            ("[]", "names no op"),
            (r#"{"op":"start","ok":true}"#, "\"ping\" was next"),
            (r#"{"op":"ping"}"#, "whether it is ok"),
            (r#"{"op":"ping","ok":false}"#, "has no kind"),
            (r#"{"op":"ping","ok":false,"error":{"kind":"bad luck"}}"#, "no kind of error"),
            (r#"{"op":"ping","ok":false,"error":{"kind":"status"}}"#, "has no code"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(said), "{line}: {error}");
        }
    }

    #[test]
    fn what_is_not_implemented_is_no_answer() {
        let said = read(r#"{"op":"start","unimplemented":"multiplexing"}"#).expect("a line");
        assert!(matches!(said, Said::Unimplemented(what) if what == "multiplexing"));
    }
}
