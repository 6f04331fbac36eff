//! Calls with raw bytes, and the health check.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use plugwire_conformance_wire::caller::{Broken, Call, Caller, Options, Reply};
use plugwire_conformance_wire::grpc::Status;
use plugwire_conformance_wire::messages::{HealthCheckRequest, HealthCheckResponse, method};
use prost::Message;
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use super::failure::Failure;
use super::flaw::Flaw;
use super::link::Link;
use super::{FOR_EVER, Settings, task};

/// How long a health check may take (HLT-5).
const PING: Duration = Duration::from_secs(5);
const SERVING: i32 = 1;
/// gRPC libraries take no more by default.
const DEFAULT_LIMIT: usize = 4 * 1024 * 1024;
/// The number of small messages after which an impatient host gives up.
const ATTACK: u64 = 10_000;

/// Runs the host's own health check.
pub(super) async fn ping(settings: &Settings, link: &Link) -> Result<Map<String, Value>, Failure> {
    let caller = match link.caller().await {
        Err(_) if settings.has(Flaw::BelievesTheLine) => return Ok(Map::new()),
        caller => caller?,
    };
    let service = match settings.has(Flaw::AsksForAnotherService) {
        true => "plugwire.probe.v1.Probe",
        false => "plugin",
    };
    let request = HealthCheckRequest { service: service.to_owned() }.encode_to_vec().into();
    let options = Options::default();
    let asked = caller.unary(method::CHECK, request, &options);
    let patience = if settings.has(Flaw::WaitsForEver) { FOR_EVER } else { PING };
    let reply = match timeout(patience, asked).await {
        Ok(reply) => reply,
        Err(_) => return Err(late()),
    };
    if settings.has(Flaw::PingTakesAnyAnswer) {
        return Ok(Map::new());
    }
    let reply = reply.map_err(Failure::unavailable)?;
    if reply.status != Status::OK {
        return Err(Failure::status(reply.status));
    }
    let answer = reply.messages.first().map(|bytes| HealthCheckResponse::decode(&**bytes));
    match answer {
        Some(Ok(health)) if health.status == SERVING => Ok(Map::new()),
        _ => Err(Failure::new("ping.not-serving", format!("the plugin says {answer:?}"))),
    }
}

/// Makes a unary call on the main connection.
pub(super) async fn unary(
    settings: &Settings,
    link: &Link,
    step: &task::Call,
) -> Result<Map<String, Value>, Failure> {
    let call = open(settings, link, step).await?;
    answered(finish(settings, step, exchange(call, request(step)?)).await?, settings)
}

/// Makes a unary call on another connection.
pub(super) async fn unary_there(
    settings: &Settings,
    caller: &Caller,
    step: &task::Call,
) -> Result<Map<String, Value>, Failure> {
    let opened = caller.open(&step.method, &options(settings, step)).await;
    let call = opened.map_err(Failure::unavailable)?;
    answered(finish(settings, step, exchange(call, request(step)?)).await?, settings)
}

/// Makes a call with a streamed answer and returns how much of it arrived.
pub(super) async fn stream(
    settings: &Settings,
    link: &Link,
    step: &task::Call,
) -> Result<Map<String, Value>, Failure> {
    let call = open(settings, link, step).await?;
    let counting = count(call, request(step)?, settings.flaw);
    let counted = finish(settings, step, counting).await?;
    let members = Map::from_iter([
        ("messages".to_owned(), counted.messages.into()),
        ("bytes".to_owned(), counted.bytes.into()),
    ]);
    match counted.status {
        status if status == Status::OK => Ok(members),
        status => Err(failed(settings, status).with(members)),
    }
}

/// Opens a call within its deadline.
async fn open(settings: &Settings, link: &Link, step: &task::Call) -> Result<Call, Failure> {
    let opening = open_somewhere(settings, link, step);
    timeout(deadline(settings, step), opening).await.unwrap_or_else(|_| Err(late()))
}

/// Opens a call, on a new connection if the old one accepts no more calls.
async fn open_somewhere(
    settings: &Settings,
    link: &Link,
    step: &task::Call,
) -> Result<Call, Failure> {
    let options = options(settings, step);
    let mut last = Failure::unavailable("no connection");
    for _ in 0..2 {
        let caller = match link.caller().await {
            Ok(caller) => caller,
            Err(_) if settings.has(Flaw::WaitsForDeadPlugins) => std::future::pending().await,
            Err(why) => return Err(Failure::unavailable(why)),
        };
        match caller.open(&step.method, &options).await {
            Ok(call) => return Ok(call),
            Err(broken) => last = Failure::unavailable(broken),
        }
        link.leave().await;
    }
    Err(last)
}

fn options(settings: &Settings, step: &task::Call) -> Options {
    let metadata = match settings.has(Flaw::LosesMetadata) {
        true => Vec::new(),
        false => step.metadata.clone().into_iter().collect(),
    };
    let told = !settings.has(Flaw::KeepsDeadlinesToItself);
    Options { metadata, timeout: told.then(|| step.timeout()) }
}

fn request(step: &task::Call) -> Result<Bytes, Failure> {
    let decoded = BASE64_STANDARD.decode(&step.request);
    decoded.map(Bytes::from).map_err(|error| Failure::new("other", format!("request: {error}")))
}

/// Waits for a call's end, its deadline or its cancellation, whichever comes first.
async fn finish<T: Send + 'static>(
    settings: &Settings,
    step: &task::Call,
    call: impl Future<Output = Result<T, Broken>> + Send + 'static,
) -> Result<T, Failure> {
    let cancelled = step.cancel_after_ms.map_or(FOR_EVER, Duration::from_millis);
    let mut call = tokio::spawn(call);
    let (why, untold) = tokio::select! {
        ended = &mut call => match ended {
            Ok(Err(_)) if settings.has(Flaw::WaitsForDeadPlugins) => std::future::pending().await,
            Ok(ended) => return ended.map_err(Failure::unavailable),
            Err(error) => return Err(Failure::new("other", error.to_string())),
        },
        () = sleep(deadline(settings, step)) => (late(), Flaw::KeepsDeadlinesToItself),
        () = sleep(cancelled) => {
            let status = Status::new("CANCELLED", "cancelled by the caller");
            (Failure::status(status), Flaw::KeepsCancellationToItself)
        }
    };
    // What is aborted drops its call, which cancels that at the plugin (GRPC-10).
    if !settings.has(untold) {
        call.abort();
    }
    Err(why)
}

fn deadline(settings: &Settings, step: &task::Call) -> Duration {
    match settings.flaw {
        Some(Flaw::WaitsForEver | Flaw::WaitsForDeadPlugins) => FOR_EVER,
        _ => step.timeout(),
    }
}

fn late() -> Failure {
    Failure::status(Status::new("DEADLINE_EXCEEDED", "the deadline is over"))
}

async fn exchange(mut call: Call, request: Bytes) -> Result<Reply, Broken> {
    call.send(&request).await?;
    call.finish()?;
    call.rest().await
}

/// The result of a streamed call.
struct Counted {
    messages: u64,
    bytes: u64,
    status: Status,
}

async fn count(mut call: Call, request: Bytes, flaw: Option<Flaw>) -> Result<Counted, Broken> {
    call.send(&request).await?;
    call.finish()?;
    let mut counted = Counted { messages: 0, bytes: 0, status: Status::OK };
    loop {
        match call.next().await {
            Ok(Some(message)) if flaw == Some(Flaw::Takes4Mib) && message.len() > DEFAULT_LIMIT => {
                counted.status = Status::new("RESOURCE_EXHAUSTED", "the message is too large");
                return Ok(counted);
            }
            Ok(Some(message)) => {
                counted.messages += 1;
                counted.bytes += message.len() as u64;
            }
            Ok(None) => break,
            Err(_) if flaw == Some(Flaw::TakesACutStreamForItsEnd) => return Ok(counted),
            Err(_) if flaw == Some(Flaw::WaitsForDeadPlugins) => std::future::pending().await,
            Err(broken) => {
                counted.status = Status::new("UNAVAILABLE", broken.to_string());
                return Ok(counted);
            }
        }
        if flaw == Some(Flaw::TakesSmallFramesForAnAttack) && counted.messages == ATTACK {
            counted.status = Status::new("INTERNAL", "too many small messages");
            return Ok(counted);
        }
    }
    let nothing = || Status::new("UNKNOWN", "the answer has no status");
    counted.status = call.status().unwrap_or_else(nothing);
    Ok(counted)
}

fn answered(reply: Reply, settings: &Settings) -> Result<Map<String, Value>, Failure> {
    let trailers = ("trailers".to_owned(), texts(&reply.trailers));
    if reply.status != Status::OK {
        let members = Map::from_iter([trailers]);
        return Err(failed(settings, reply.status).with(members));
    }
    let [message] = &reply.messages[..] else {
        let why = format!("{} messages answer a unary call", reply.messages.len());
        return Err(Failure::status(Status::new("INTERNAL", why)));
    };
    if settings.has(Flaw::Takes4Mib) && message.len() > DEFAULT_LIMIT {
        let status = Status::new("RESOURCE_EXHAUSTED", "the message is too large");
        return Err(Failure::status(status));
    }
    let reply_text = json!(BASE64_STANDARD.encode(message));
    let headers = ("headers".to_owned(), texts(&reply.headers));
    Ok(Map::from_iter([("reply".to_owned(), reply_text), headers, trailers]))
}

fn failed(settings: &Settings, status: Status) -> Failure {
    match settings.has(Flaw::FlattensErrors) {
        true => Failure::status(Status::new("UNKNOWN", "the call failed")),
        false => Failure::status(status),
    }
}

/// Metadata without gRPC's own.
fn texts(headers: &HeaderMap) -> Value {
    let own = ["content-type", "grpc-status", "grpc-message"];
    let others = headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    others.map(|(name, value)| (name.to_string(), Value::from(text(value)))).collect()
}
