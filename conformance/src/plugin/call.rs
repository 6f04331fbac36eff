//! Calls: unary ones, many at once, and calls that stay open.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use plugwire_conformance_wire::caller::{self, Broken, Caller, Options, Reply};
use plugwire_conformance_wire::messages::{self, method};
use serde_json::{Map, Value, json};

use super::host::{Failure, Host, Outcome, within};
use super::scene::{Call, Concurrently, Open, Receive, Shutdown, Silent};
use crate::matching::{Wanted, excerpt};

impl Host<'_> {
    pub(super) async fn call(&mut self, wanted: &Call) -> Outcome {
        let method = full(&wanted.method);
        let mut request = self.filled_json(&wanted.request);
        if let Some(size) = wanted.fill {
            request["data"] = json!(BASE64_STANDARD.encode(vec![b'x'; size]));
        }
        let options = Options {
            metadata: wanted.metadata.clone().into_iter().collect(),
            timeout: wanted.timeout.map(|span| self.scaled(*span)),
        };
        let caller = self.connection(wanted.on.as_deref())?;
        let call = caller.unary(&method, encoded(&method, &request)?, &options);
        let reply = within(self.limit(wanted.within), "an answer", call).await?;
        let expected = wanted.code.join(" or ");
        let reply = reply.map_err(|error| Failure::differs(expected.clone(), error.to_string()))?;

        let status = reply.status.name();
        if !wanted.code.iter().any(|code| code == status) {
            return Err(unwanted(&method, expected, &reply));
        }
        if let Some(message) = &wanted.message {
            compare("the status's text", message, &json!(reply.status.message))?;
        }
        compare_answer(&method, wanted, &request, &reply)
    }

    /// Returns a request with the placeholders of its texts filled in.
    fn filled_json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.filled(text)),
            Value::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, value)| (name.clone(), self.filled_json(value)))
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    pub(super) async fn concurrently(&mut self, wanted: &Concurrently) -> Outcome {
        let method = full(&wanted.method);
        let request = encoded(&method, &wanted.request)?;
        let caller = self.connection(None)?.clone();
        let all = async {
            let mut calls = Vec::new();
            for _ in 0..wanted.calls {
                calls.push(begun(&caller, &method, &request, &Options::default()).await?);
            }
            let mut replies = Vec::new();
            for call in &mut calls {
                replies.push(call.next().await?);
            }
            Ok::<_, Broken>(replies)
        };
        let what = format!("the first message of {} calls", wanted.calls);
        let replies = within(self.limit(wanted.within), &what, all).await?;
        let replies = replies.map_err(|error| Failure::differs(what, error.to_string()))?;
        for reply in replies {
            let reply = reply.ok_or_else(|| Failure::differs("a message", "the call ended"))?;
            compare("the message", &wanted.reply, &decoded(&method, &reply)?)?;
        }
        Ok(())
    }

    pub(super) async fn open(&mut self, open: &Open) -> Outcome {
        let method = full(&open.method);
        let request = encoded(&method, &open.request)?;
        let options = Options { timeout: open.timeout.map(|span| *span), ..Options::default() };
        let caller = self.connection(open.on.as_deref())?;
        let begun =
            within(self.limit(None), "room for a call", begun(caller, &method, &request, &options));
        let call =
            begun.await?.map_err(|error| Failure::differs("a call begins", error.to_string()))?;
        self.calls.insert(open.name.clone(), (method, call));
        Ok(())
    }

    pub(super) async fn receive(&mut self, wanted: &Receive) -> Outcome {
        let limit = self.limit(wanted.within);
        let (method, call) = self.open_call(&wanted.name)?;
        let next = within(limit, "a message", call.next()).await?;
        let came = match next {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(call.status().map_or("the end".to_owned(), |end| end.to_string())),
            Err(error) => Err(error.to_string()),
        };
        let message = came.map_err(|actual| Failure::differs("a message", actual))?;
        let message = decoded(&method, &message)?;
        wanted.reply.as_ref().map_or(Ok(()), |reply| compare("the message", reply, &message))
    }

    pub(super) async fn silent(&mut self, wanted: &Silent) -> Outcome {
        let throughout = self.scaled(*wanted.throughout);
        let (_, call) = self.open_call(&wanted.name)?;
        let came = match tokio::time::timeout(throughout, call.next()).await {
            Err(_) => return Ok(()),
            Ok(Ok(Some(_))) => "a message".to_owned(),
            Ok(Ok(None)) => {
                format!("the end: {:?}", call.status().map(|status| status.to_string()))
            }
            Ok(Err(error)) => error.to_string(),
        };
        Err(Failure::differs("the call stays open, and silent", came))
    }

    pub(super) fn cancel(&mut self, name: &str) -> Outcome {
        let (_, call) = self.open_call(name)?;
        call.cancel();
        self.calls.remove(name);
        Ok(())
    }

    /// Returns an open call and its method.
    pub(super) fn open_call(&mut self, name: &str) -> Outcome<(String, &mut caller::Call)> {
        let open = self.calls.get_mut(name);
        let (method, call) =
            open.ok_or_else(|| Failure::Engine(format!("there is no open call {name:?}")))?;
        Ok((method.clone(), call))
    }

    pub(super) async fn shutdown(&mut self, shutdown: &Shutdown) -> Outcome {
        let caller = self.connection(shutdown.on.as_deref())?.clone();
        let call = async move {
            // A Go plugin ends in the middle of it (SHD-2).
            let _ = caller.unary(method::SHUTDOWN, Bytes::new(), &Options::default()).await;
        };
        // The answer is not awaited: a plugin that gives none has to end anyway.
        tokio::spawn(call);
        self.may_end = true;
        Ok(())
    }
}

async fn begun(
    caller: &Caller,
    method: &str,
    request: &[u8],
    options: &Options,
) -> Result<caller::Call, Broken> {
    let mut call = caller.open(method, options).await?;
    call.send(request).await?;
    call.finish()?;
    Ok(call)
}

fn compare_answer(method: &str, wanted: &Call, request: &Value, reply: &Reply) -> Outcome {
    let first = match reply.messages.as_slice() {
        [] => Value::Null,
        [message] => decoded(method, message)?,
        more => return Err(Failure::differs("one message", format!("{} messages", more.len()))),
    };
    if wanted.same && first["data"] != request["data"] {
        let came = excerpt(&first["data"].to_string());
        return Err(Failure::differs("the data that was sent", came));
    }
    if let Some(reply) = &wanted.reply {
        compare("the answer", reply, &first)?;
    }
    if let Some(headers) = &wanted.headers {
        compare("the headers", headers, &readable(&reply.headers))?;
    }
    if let Some(trailers) = &wanted.trailers {
        compare("the trailers", trailers, &readable(&reply.trailers))?;
    }
    Ok(())
}

/// Returns the failure for an unexpected status. A probe that is not served is not the same as one
/// that answers wrongly.
fn unwanted(method: &str, expected: String, reply: &Reply) -> Failure {
    let is_probe = method.starts_with(method::PROBE) || method.starts_with(method::BROKER_PROBE);
    match is_probe && reply.status.name() == "UNIMPLEMENTED" {
        true => Failure::Unimplemented(format!("{method}: {}", reply.status)),
        false => Failure::differs(expected, reply.status.to_string()),
    }
}

pub(super) fn compare(what: &str, wanted: &Wanted, seen: &Value) -> Outcome {
    match wanted.differs(seen) {
        None => Ok(()),
        Some(difference) => Err(Failure::differs(
            format!("{what}: {wanted}"),
            format!("{difference}: {}", excerpt(&seen.to_string())),
        )),
    }
}

/// Headers as JSON, several values of one name joined by commas.
fn readable(headers: &HeaderMap) -> Value {
    let mut members = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let text: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        members.insert(name.to_string(), json!(text.join(",")));
    }
    Value::Object(members)
}

/// Returns the whole name of a method: the probe's need no package in cases.
pub(super) fn full(method: &str) -> String {
    match method.split_once('/') {
        Some(("Probe" | "BrokerProbe", _)) => format!("/plugwire.probe.v1.{method}"),
        _ => format!("/{method}"),
    }
}

pub(super) fn encoded(method: &str, request: &Value) -> Outcome<Bytes> {
    messages::encode_request(method, request)
        .map_err(|error| Failure::engine("the case's request", error))
}

pub(super) fn decoded(method: &str, message: &[u8]) -> Outcome<Value> {
    messages::decode_reply(method, message)
        .map_err(|error| Failure::differs("a message of the method's type", error))
}
