//! The two halves of each step: the driver's instructions, and the check of its answers.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plugwire_conformance_wire::messages;
use serde_json::{Value, json};

use super::answer::Answer;
use super::kind::Kind;
use super::logs;
use super::scene::{CollectLogs, CollectStdio, Latest, Refused, Start, Step, Stream};
use crate::case::Span;
use crate::matching::{Wanted, excerpt, message, unhex};

/// The result of comparing an answer with its step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Check {
    /// As wanted.
    Good,
    /// Good enough; the note says why.
    Loose(String),
    /// Not as wanted.
    Wrong {
        /// What the step wants.
        expected: String,
        /// What came.
        actual: String,
    },
}

const CALL: Duration = Duration::from_secs(5);
/// A dial of an id that is not accepted takes Go hosts 5 s.
const DIAL: Duration = Duration::from_secs(8);
const COLLECT: Duration = Duration::from_secs(5);

impl Step {
    /// Returns the driver's operations: one, or two for a refusal that may come late.
    pub(super) fn operations(&self, scale: u32) -> Result<Vec<Value>, String> {
        let operation = match self {
            Self::Start(_) => json!({"op": "start"}),
            Self::Refused(refused) if refused.latest == Latest::Ping => {
                return Ok(vec![json!({"op": "start"}), json!({"op": "ping"})]);
            }
            Self::Refused(_) => json!({"op": "start"}),
            Self::Ping(_) => json!({"op": "ping"}),
            Self::Call(call) => json!({
                "op": "call",
                "method": path(&call.method),
                "request": encoded(&call.method, &call.request)?,
                "timeout_ms": u64::from(scale) * millis(call.timeout, CALL),
                "metadata": call.metadata,
                "cancel_after_ms": call.cancel_after.map(|span| (*span * scale).as_millis() as u64),
            }),
            Self::Stream(stream) => json!({
                "op": "stream",
                "method": path(&stream.method),
                "request": encoded(&stream.method, &stream.request)?,
                "timeout_ms": u64::from(scale) * millis(stream.timeout, CALL),
            }),
            Self::BrokerAccept(accept) => json!({"op": "broker-accept", "id": accept.id}),
            Self::BrokerDial(dial) => json!({
                "op": "broker-dial",
                "id": dial.id,
                "method": path(&dial.method),
                "request": encoded(&dial.method, &dial.request)?,
                "timeout_ms": u64::from(scale) * millis(dial.timeout, DIAL),
            }),
            Self::CollectStdio(collect) => json!({
                "op": "collect-stdio",
                "stdout": collect.stdout_bytes.unwrap_or(collect.wanted_stdout()?.len() as u64),
                "stderr": collect.stderr.len(),
                "within_ms": u64::from(scale) * millis(collect.within, COLLECT),
            }),
            Self::CollectLogs(collect) => json!({
                "op": "collect-logs",
                "count": logs::awaited(&collect.entries),
                "within_ms": u64::from(scale) * millis(collect.within, COLLECT),
            }),
            Self::WaitExit(wait) => {
                json!({"op": "wait-exit", "within_ms": u64::from(scale) * wait.within.as_millis() as u64})
            }
            Self::Kill(_) => json!({"op": "kill"}),
        };
        Ok(vec![operation])
    }

    /// Returns whether the answers to these operations are right.
    pub(super) fn check(&self, answers: &[Answer], scale: u32) -> Check {
        let last = answers.last().expect("a step has an operation");
        let outcome = match self {
            Self::Refused(refused) => refused.check(answers),
            _ if !self.fails().is_empty() => {
                failed_as(self.fails(), last).then(|| self.check_failure(last))
            }
            _ if last.fault.is_some() => wrong("it succeeds", last.outcome()),
            _ => self.check_success(last),
        };
        outcome.then(|| self.check_time(answers.iter().map(|answer| answer.took).sum(), scale))
    }

    fn check_time(&self, took: Duration, scale: u32) -> Check {
        match self.within().map(|within| within * scale) {
            Some(within) if took > within => wrong(
                format!("it takes at most {} ms", within.as_millis()),
                format!("it took {} ms", took.as_millis()),
            ),
            _ => Check::Good,
        }
    }

    fn fails(&self) -> &[Kind] {
        match self {
            Self::Start(start) => &start.fails,
            Self::Ping(ping) => &ping.fails,
            Self::Call(call) => &call.fails,
            Self::Stream(stream) => &stream.fails,
            Self::BrokerDial(dial) => &dial.fails,
            _ => &[],
        }
    }

    fn within(&self) -> Option<Duration> {
        let span = match self {
            Self::Start(start) => start.within,
            Self::Refused(refused) => refused.within,
            Self::Ping(ping) => ping.within,
            Self::Call(call) => call.within,
            Self::Stream(stream) => stream.within,
            Self::BrokerDial(dial) => dial.within,
            Self::Kill(kill) => kill.within,
            // For these the task contains a time.
            Self::BrokerAccept(_)
            | Self::CollectStdio(_)
            | Self::CollectLogs(_)
            | Self::WaitExit(_) => None,
        };
        span.map(|span| *span)
    }

    fn check_failure(&self, answer: &Answer) -> Check {
        match self {
            Self::Call(call) => {
                let message = answer.fault.as_ref().map(|fault| Value::from(fault.message.clone()));
                member("the error's message", call.message.as_ref(), message).then(|| {
                    member(
                        "the trailers",
                        call.trailers.as_ref(),
                        Some(answer.line["trailers"].clone()),
                    )
                })
            }
            Self::Stream(stream) => counts(stream, answer),
            _ => Check::Good,
        }
    }

    fn check_success(&self, answer: &Answer) -> Check {
        let line = |name: &str| Some(answer.line[name].clone());
        match self {
            Self::Start(Start { version: Some(version), .. })
                if answer.line["version"] != *version =>
            {
                wrong(
                    format!("version {version} is agreed on"),
                    format!("it is {}", answer.line["version"]),
                )
            }
            Self::Call(call) => reply(&call.method, call.reply.as_ref(), answer)
                .then(|| member("the headers", call.headers.as_ref(), line("headers")))
                .then(|| member("the trailers", call.trailers.as_ref(), line("trailers"))),
            Self::Stream(stream) => counts(stream, answer),
            Self::BrokerDial(dial) => reply(&dial.method, dial.reply.as_ref(), answer),
            Self::CollectStdio(collect) => collect.check(answer),
            Self::CollectLogs(CollectLogs { entries, .. }) => {
                logs::check(entries, &answer.line["entries"])
            }
            Self::WaitExit(_) if answer.line["exited"] != true => {
                wrong("the host notices that the process has ended", "it does not")
            }
            _ => Check::Good,
        }
    }
}

/// Describes the step in a few words.
impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start(_) => f.write_str("start"),
            Self::Refused(_) => f.write_str("be refused"),
            Self::Ping(_) => f.write_str("ping"),
            Self::Call(call) => write!(f, "call {}", call.method),
            Self::Stream(stream) => write!(f, "stream {}", stream.method),
            Self::BrokerAccept(accept) => write!(f, "accept id {}", accept.id),
            Self::BrokerDial(dial) => write!(f, "dial id {}", dial.id),
            Self::CollectStdio(_) => f.write_str("collect what was printed"),
            Self::CollectLogs(_) => f.write_str("collect the log"),
            Self::WaitExit(_) => f.write_str("wait for the end"),
            Self::Kill(_) => f.write_str("kill"),
        }
    }
}

impl Refused {
    fn check(&self, answers: &[Answer]) -> Check {
        let start = &answers[0];
        if start.fault.is_some() {
            return failed_as(&self.kinds, start);
        }
        let expected = format!("the plugin is refused with {}", listed(&self.kinds));
        match answers.get(1) {
            None => wrong(expected, "it was started"),
            Some(ping) if ping.fault.is_none() => {
                wrong(expected, "it was started, and a ping succeeded")
            }
            // A host that connects late reports a failed connection with gRPC's status.
            Some(ping)
                if ping.fault.as_ref().is_some_and(|fault| fault.kind.is_no_connection()) =>
            {
                Check::Good
            }
            Some(ping) => failed_as(&self.kinds, ping),
        }
    }
}

impl CollectStdio {
    fn wanted_stdout(&self) -> Result<Vec<u8>, String> {
        match &self.stdout_hex {
            Some(digits) => unhex(digits),
            None => Ok(self.stdout.clone().into_bytes()),
        }
    }

    fn check(&self, answer: &Answer) -> Check {
        let (stdout, stderr) = match (answer.bytes("stdout"), answer.bytes("stderr")) {
            (Ok(stdout), Ok(stderr)) => (stdout, stderr),
            (Err(error), _) | (_, Err(error)) => return wrong("both channels, in base64", error),
        };
        if let Some(least) = self.stdout_bytes {
            let enough = stdout.len() as u64 >= least;
            return match enough {
                true => Check::Good,
                false => wrong(
                    format!("{least} bytes on standard output"),
                    format!("{} came", stdout.len()),
                ),
            };
        }
        let wanted = match self.wanted_stdout() {
            Ok(wanted) => wanted,
            Err(error) => return wrong("hexadecimal digits in the case", error),
        };
        same_bytes("standard output", &wanted, &stdout)
            .then(|| same_bytes("standard error", self.stderr.as_bytes(), &stderr))
    }
}

impl Check {
    /// Returns the next check, unless this one found something.
    pub(super) fn then(self, next: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Good => next(),
            Self::Loose(note) => match next() {
                Self::Good => Self::Loose(note),
                Self::Loose(other) => Self::Loose(format!("{note}; {other}")),
                wrong @ Self::Wrong { .. } => wrong,
            },
            wrong @ Self::Wrong { .. } => wrong,
        }
    }
}

pub(super) fn wrong(expected: impl Into<String>, actual: impl Into<String>) -> Check {
    Check::Wrong { expected: expected.into(), actual: actual.into() }
}

fn listed(kinds: &[Kind]) -> String {
    kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

fn failed_as(kinds: &[Kind], answer: &Answer) -> Check {
    let expected = || format!("it fails with {}", listed(kinds));
    match &answer.fault {
        None => wrong(expected(), answer.outcome()),
        Some(fault) if kinds.iter().any(|kind| kind.takes(&fault.kind)) => Check::Good,
        Some(fault) if fault.kind.is_vague() => Check::Loose(format!(
            "the host cannot tell {} from other mistakes: {}",
            listed(kinds),
            fault.message.lines().next().unwrap_or_default()
        )),
        Some(_) => wrong(expected(), answer.outcome()),
    }
}

fn counts(stream: &Stream, answer: &Answer) -> Check {
    for (name, wanted) in [("messages", stream.messages), ("bytes", stream.bytes)] {
        if let Some(wanted) = wanted
            && answer.line[name] != wanted
        {
            return wrong(format!("{wanted} {name}"), format!("{} {name}", answer.line[name]));
        }
    }
    Check::Good
}

fn member(what: &str, wanted: Option<&Wanted>, seen: Option<Value>) -> Check {
    let Some(wanted) = wanted else { return Check::Good };
    match wanted.differs(&seen.unwrap_or_default()) {
        None => Check::Good,
        Some(difference) => wrong(format!("{what}: {wanted}"), difference),
    }
}

fn reply(method: &str, wanted: Option<&Wanted>, answer: &Answer) -> Check {
    let Some(wanted) = wanted else { return Check::Good };
    let decoded =
        answer.bytes("reply").and_then(|bytes| messages::decode_reply(&path(method), &bytes));
    match decoded {
        Ok(reply) => member("the reply", Some(&wanted.of_message()), Some(reply)),
        Err(error) => wrong(format!("the reply: {wanted}"), error),
    }
}

fn same_bytes(what: &str, wanted: &[u8], seen: &[u8]) -> Check {
    if wanted == seen {
        return Check::Good;
    }
    let shown = |bytes: &[u8]| excerpt(&format!("{:?}", String::from_utf8_lossy(bytes)));
    wrong(format!("{what} is {}", shown(wanted)), format!("it is {}", shown(seen)))
}

fn path(method: &str) -> String {
    match method.split_once('/') {
        Some((service @ ("Probe" | "BrokerProbe"), name)) => {
            format!("/plugwire.probe.v1.{service}/{name}")
        }
        _ => format!("/{}", method.trim_start_matches('/')),
    }
}

fn encoded(method: &str, request: &Value) -> Result<String, String> {
    messages::encode_request(&path(method), &message(request)).map(|bytes| STANDARD.encode(bytes))
}

fn millis(span: Option<Span>, otherwise: Duration) -> u64 {
    span.map_or(otherwise, |span| *span).as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::answer::Said;

    fn step(text: &str) -> Step {
        #[derive(serde::Deserialize)]
        struct Case {
            step: Step,
        }
        toml::from_str::<Case>(&format!("step = {text}")).expect(text).step
    }

    /// Answers as a driver gives them, each after a second.
    fn answers(lines: &[Value]) -> Vec<Answer> {
        let read = |line: &Value| {
            let op = line["op"].as_str().expect("an op");
            match Said::read(line.to_string().as_bytes(), op, Duration::from_secs(1)) {
                Ok(Said::Answer(answer)) => answer,
                other => panic!("{other:?}"),
            }
        };
        lines.iter().map(read).collect()
    }

    fn failed(op: &str, kind: &str) -> Value {
        json!({"op": op, "ok": false, "error": {"kind": kind, "message": "in two\nlines"}})
    }

    fn is_wrong(check: &Check) -> bool {
        matches!(check, Check::Wrong { .. })
    }

    #[test]
    fn a_failure_has_to_be_of_the_kind_and_a_vague_one_is_noted() {
        let start = step(r#"{ start = { fails = ["start.timeout", "start.exited"] } }"#);
        assert_eq!(start.check(&answers(&[failed("start", "start.exited")]), 1), Check::Good);
        assert!(is_wrong(&start.check(&answers(&[failed("start", "start.network")]), 1)));
        assert!(is_wrong(&start.check(&answers(&[json!({"op": "start", "ok": true})]), 1)));
        let vague = start.check(&answers(&[failed("start", "start.other")]), 1);
        assert!(matches!(vague, Check::Loose(note) if note.ends_with("in two")));
    }

    #[test]
    fn a_success_has_to_be_one_and_in_time() {
        let ok = answers(&[json!({"op": "start", "ok": true, "version": 3})]);
        assert_eq!(step("{ start = { version = 3 } }").check(&ok, 1), Check::Good);
        assert!(is_wrong(&step("{ start = { version = 1 } }").check(&ok, 1)));
        assert!(is_wrong(&step("{ start = {} }").check(&answers(&[failed("start", "other")]), 1)));
        assert_eq!(step(r#"{ start = { within = "2s" } }"#).check(&ok, 1), Check::Good);
        assert!(is_wrong(&step(r#"{ start = { within = "900ms" } }"#).check(&ok, 1)));
        assert_eq!(step(r#"{ start = { within = "900ms" } }"#).check(&ok, 2), Check::Good);
    }

    #[test]
    fn a_refusal_may_come_late_where_the_case_says_so() {
        let late = step(r#"{ refused = { kinds = ["start.connect"], latest = "ping" } }"#);
        let early = step(r#"{ refused = { kinds = ["start.connect"] } }"#);
        assert_eq!((late.operations(1).unwrap().len(), early.operations(1).unwrap().len()), (2, 1));
        let started = json!({"op": "start", "ok": true});
        let pinged = json!({"op": "ping", "ok": true});
        let then = |kind| late.check(&answers(&[started.clone(), failed("ping", kind)]), 1);
        assert_eq!((then("start.connect"), then("gone")), (Check::Good, Check::Good));
        assert!(matches!(then("other"), Check::Loose(_)));
        assert!(is_wrong(&then("hung")) && is_wrong(&then("ping.not-serving")));
        let status = |code: &str| {
            let error = json!({"kind": "status", "code": code, "message": ""});
            late.check(
                &answers(&[started.clone(), json!({"op": "ping", "ok": false, "error": error})]),
                1,
            )
        };
        assert_eq!(status("UNAVAILABLE"), Check::Good);
        assert!(is_wrong(&status("UNIMPLEMENTED")));
        assert!(is_wrong(&late.check(&answers(&[started.clone(), pinged]), 1)));
        assert!(is_wrong(&early.check(&answers(&[started]), 1)));
        let refused = [failed("start", "start.network"), failed("ping", "not-started")];
        assert!(is_wrong(&late.check(&answers(&refused), 1)));
    }

    #[test]
    fn a_reply_is_compared_where_it_is_named() {
        let call = r#"{ call = { method = "Probe/Echo", request = { data = { text = "a" } }, reply = { data = { text = "a" } } } }"#;
        let operation = &step(call).operations(1).expect("a call")[0];
        assert_eq!(operation["method"], "/plugwire.probe.v1.Probe/Echo");
        assert_eq!(operation["request"], "CgFh");
        let reply = |bytes: &str| answers(&[json!({"op": "call", "ok": true, "reply": bytes})]);
        assert_eq!(step(call).check(&reply("CgFh"), 1), Check::Good);
        for other in ["CgFi", "", "?", "CgVh"] {
            assert!(is_wrong(&step(call).check(&reply(other), 1)), "{other}");
        }
    }

    #[test]
    fn what_was_printed_is_compared_byte_for_byte() {
        let printed = |stdout: &str, stderr: &str| {
            answers(&[
                json!({"op": "collect-stdio", "ok": true, "stdout": stdout, "stderr": stderr}),
            ])
        };
        let text = step(r#"{ collect-stdio = { stdout = "ab" } }"#);
        assert_eq!(text.check(&printed("YWI=", ""), 1), Check::Good);
        assert!(is_wrong(&text.check(&printed("YWJj", ""), 1)));
        assert!(is_wrong(&text.check(&printed("YWI=", "YWI="), 1)));
        assert_eq!(
            step(r#"{ collect-stdio = { stdout-hex = "6162" } }"#).check(&printed("YWI=", ""), 1),
            Check::Good
        );
        let many = step("{ collect-stdio = { stdout-bytes = 3 } }");
        assert!(is_wrong(&many.check(&printed("YWI=", ""), 1)));
        assert_eq!(many.check(&printed("YWJj", ""), 1), Check::Good);
    }

    #[test]
    fn a_stream_is_counted_whether_or_not_it_ends_well() {
        let stream = step(
            r#"{ stream = { method = "Probe/Download", messages = 2, fails = ["status.UNAVAILABLE"] } }"#,
        );
        let broke = |messages: u64| {
            let error = json!({"kind": "status", "code": "UNAVAILABLE", "message": ""});
            answers(&[
                json!({"op": "stream", "ok": false, "messages": messages, "bytes": 0, "error": error}),
            ])
        };
        assert_eq!(stream.check(&broke(2), 1), Check::Good);
        assert!(is_wrong(&stream.check(&broke(3), 1)));
    }

    #[test]
    fn checks_add_up() {
        let loose = |note: &str| Check::Loose(note.to_owned());
        assert_eq!(Check::Good.then(|| loose("a")), loose("a"));
        assert_eq!(loose("a").then(|| loose("b")), loose("a; b"));
        assert_eq!(loose("a").then(|| Check::Good), loose("a"));
        assert!(is_wrong(&loose("a").then(|| wrong("this", "that"))));
        assert!(is_wrong(&wrong("this", "that").then(|| Check::Good)));
    }
}
