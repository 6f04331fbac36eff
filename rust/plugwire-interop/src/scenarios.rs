//! Performs with a Rust host what the Go probe host performs (`sdk-go-compat/cmd/probe-host`).
//!
//! Each scenario returns what it saw in the shape of the Go host's `result`, reduced to what does
//! not depend on the host's language; [`comparable`] reduces the Go host's result to the same. The
//! result of a Go host with a Go plugin is the reference.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use plugwire::Channel;
use plugwire::host::PluginHandle;
use prost::Message;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio_stream::StreamExt;
use tonic::metadata::{BinaryMetadataValue, KeyAndValueRef, MetadataMap};
use tonic::{Code, Request, Status};

use crate::collected::Output;
use crate::generated::grpc::health::v1::HealthCheckRequest;
use crate::generated::grpc::health::v1::health_check_response::ServingStatus;
use crate::generated::grpc::health::v1::health_client::HealthClient;
use crate::probe::probe_client::ProbeClient;
use crate::probe::probe_server::SERVICE_NAME as PROBE_SERVICE;
use crate::probe::*;

/// How long a scenario waits for something that may never come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Returns the client of the probe.
pub fn probe(plugin: &PluginHandle) -> ProbeClient<Channel> {
    ProbeClient::new(plugin.channel())
}

/// Returns a request whose call hangs until `limit` has passed.
pub fn with_deadline(id: &str, limit: Duration) -> Request<HangRequest> {
    let mut request = Request::new(HangRequest { id: id.to_owned() });
    request.set_timeout(limit);
    request
}

/// Returns whether the plugin ever saw the call with this id.
pub async fn has_begun(probe: &ProbeClient<Channel>, id: &str) -> bool {
    let request = AwaitHangRequest { id: id.to_owned(), cancelled: false, wait_ms: 0 };
    probe.clone().await_hang(request).await.expect("a report").into_inner().started
}

/// Ends a call by a short deadline, and by longer ones if a busy plugin had not started the call by
/// then: a handler whose call ended before it ran leaves no trace. `call` returns the id it was
/// given if the call had started.
pub async fn once_past(
    id: &str,
    mut call: impl AsyncFnMut(String, Duration) -> Option<String>,
) -> String {
    for limit in [300, 1_500, 7_500].map(Duration::from_millis) {
        if let Some(id) = call(format!("{id} {limit:?}"), limit).await {
            return id;
        }
    }
    panic!("{id}: the call never started");
}

/// start: what the handshake brought, and a ping.
pub async fn start(plugin: &PluginHandle) -> Value {
    let record = plugin.record();
    json!({
        "network": record.network.to_string(),
        "version": plugin.version(),
        "pinged": plugin.ping().await.is_ok(),
    })
}

/// Returns the metadata of each echo: text, several values, every byte value, and 64 KiB.
pub fn echo_metadata() -> MetadataMap {
    let every: Vec<u8> = (0..=255).collect();
    let mut metadata = MetadataMap::new();
    metadata.insert("probe-text", "one value".parse().expect("ASCII"));
    metadata.append("probe-several", "first".parse().expect("ASCII"));
    metadata.append("probe-several", "second".parse().expect("ASCII"));
    metadata.insert_bin("probe-data-bin", BinaryMetadataValue::from_bytes(&every));
    metadata.insert("probe-large", "0123456789abcdef".repeat(4096).parse().expect("ASCII"));
    metadata
}

/// echo: one call with metadata in both directions.
pub async fn echo(plugin: &PluginHandle, size: u64) -> Value {
    let payload = pattern(0, size);
    let mut request = Request::new(Payload { data: payload.clone().into() });
    *request.metadata_mut() = echo_metadata();
    let reply = match probe(plugin).echo(request).await {
        Ok(reply) => reply,
        Err(status) => return json!({ "error": failure(&status) }),
    };
    // tonic puts the trailers of a unary call among its headers; the names of the probe tell them
    // apart.
    json!({
        "headers": shown(reply.metadata(), "probe-"),
        "trailers": shown(reply.metadata(), "trailer-probe-"),
        "payload_bytes": reply.get_ref().data.len(),
        "payload_intact": reply.get_ref().data == payload,
    })
}

/// fail: a failing call with a message of at least `size` bytes, details and a trailer.
pub async fn fail(plugin: &PluginHandle, code: Code, size: usize) -> Value {
    let unit = "It failed: 100 % of it, \u{fc}ber alles \u{2713}\n";
    let message = unit.repeat(size / unit.len() + 1);
    let detail = prost_types::Any {
        type_url: "type.example.com/probe".to_owned(),
        value: vec![0, 1, 2, 254, 255],
    };
    let details = RpcStatus { code: code.into(), message: message.clone(), details: vec![detail] };
    let details = details.encode_to_vec();
    let request = FailRequest {
        code: i32::from(code) as u32,
        message: message.clone(),
        details: details.clone().into(),
    };
    let status = probe(plugin).fail(request).await.expect_err("it fails");
    json!({
        "code": i32::from(status.code()),
        "message": text(status.message().as_bytes()),
        "message_intact": status.message() == message,
        "details": text(status.details()),
        "details_intact": status.details() == details,
        "trailers": shown(status.metadata(), "probe-"),
    })
}

/// `google.rpc.Status`, which is sent as the details of a status.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// stream: `count` messages of `size` bytes down, up and in both directions.
pub async fn stream(plugin: &PluginHandle, count: u64, size: u64) -> Value {
    json!({
        "download": streamed(download(plugin, count, size).await, count, size),
        "upload": streamed(upload(plugin, count, size).await, count, size),
        "chat": streamed(chat(plugin, count, size).await, count, size),
    })
}

/// The messages and bytes that arrived, and whether each message was as expected.
type Arrived = Result<(u64, u64, bool), Status>;

fn streamed(arrived: Arrived, count: u64, size: u64) -> Value {
    match arrived {
        Ok((messages, bytes, intact)) => {
            let intact = intact && messages == count && bytes == count * size;
            json!({ "messages": messages, "bytes": bytes, "intact": intact })
        }
        Err(status) => json!({ "error": failure(&status) }),
    }
}

/// Receives messages from the plugin.
pub async fn download(plugin: &PluginHandle, count: u64, size: u64) -> Arrived {
    receive(probe(plugin).download(DownloadRequest { count, size }).await?.into_inner(), size).await
}

/// Sends messages to the plugin.
pub async fn upload(plugin: &PluginHandle, count: u64, size: u64) -> Arrived {
    let summary = probe(plugin).upload(payloads(count, size)).await?.into_inner();
    Ok((summary.messages, summary.bytes, true))
}

/// Sends and receives messages at the same time.
pub async fn chat(plugin: &PluginHandle, count: u64, size: u64) -> Arrived {
    receive(probe(plugin).chat(payloads(count, size)).await?.into_inner(), size).await
}

/// Returns messages as `Download` sends them. Their patterns repeat after 256, so they are cheap
/// slices of one buffer.
fn payloads(count: u64, size: u64) -> impl tokio_stream::Stream<Item = Payload> {
    let ring = prost::bytes::Bytes::from(pattern(0, size + 256));
    tokio_stream::iter((0..count).map(move |n| {
        let from = (n % 256) as usize;
        Payload { data: ring.slice(from..from + size as usize) }
    }))
}

async fn receive(mut stream: tonic::Streaming<Payload>, size: u64) -> Arrived {
    let ring = pattern(0, size + 256);
    let (mut messages, mut bytes, mut intact) = (0, 0, true);
    while let Some(payload) = stream.message().await? {
        let from = (messages % 256) as usize;
        intact &= payload.data == ring[from..from + size as usize];
        messages += 1;
        bytes += payload.data.len() as u64;
    }
    Ok((messages, bytes, intact))
}

/// stdio: what the plugin prints reaches the host's writers.
pub async fn stdio(plugin: &PluginHandle, stdout: &Output, stderr: &Output) -> Value {
    let (out, err) = (b"printed to stdout\n".to_vec(), b"printed to stderr\n".to_vec());
    let request = PrintRequest { stdout: out.clone().into(), stderr: err.clone().into() };
    if let Err(status) = probe(plugin).print(request).await {
        return json!({ "print_error": failure(&status) });
    }
    let all = |expected: usize| move |seen: &Vec<u8>| seen.len() >= expected;
    json!({
        "stdout": text(&stdout.wait(PATIENCE, all(out.len())).await),
        "stderr": text(&stderr.wait(PATIENCE, all(err.len())).await),
    })
}

/// health: Check and Watch of the names "plugin" and "" and of an unknown name, and List.
pub async fn health(plugin: &PluginHandle) -> Value {
    let mut client = HealthClient::new(plugin.channel());
    let (mut checks, mut watches) = (Map::new(), Map::new());
    for name in ["plugin", "", "nobody"] {
        let request = HealthCheckRequest { service: name.to_owned() };
        let checked =
            client.check(request.clone()).await.map(|answer| answer.into_inner().status());
        checks.insert(name.to_owned(), serving(checked));
        let watched = match client.watch(request).await {
            Ok(watch) => watch.into_inner().next().await.unwrap_or(Err(Status::ok("no answer"))),
            Err(status) => Err(status),
        };
        watches.insert(name.to_owned(), serving(watched.map(|answer| answer.status())));
    }
    let listed = match client.list(crate::generated::grpc::health::v1::HealthListRequest {}).await {
        Ok(list) => {
            let statuses = list.into_inner().statuses;
            statuses
                .into_iter()
                .map(|(name, answer)| (name, serving(Ok(answer.status()))))
                .collect()
        }
        Err(status) => failure(&status),
    };
    json!({ "check": checks, "watch": watches, "list": listed })
}

fn serving(answer: Result<ServingStatus, Status>) -> Value {
    match answer {
        Ok(status) => json!({ "status": status.as_str_name() }),
        Err(status) => json!({ "error": failure(&status) }),
    }
}

/// reflection: the services listed by either version of the reflection service, without those that
/// only some probe plugins offer.
pub async fn reflection(plugin: &PluginHandle) -> Value {
    macro_rules! listed {
        ($version:ident) => {{
            use tonic_reflection::pb::$version as pb;
            let request = pb::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(
                    pb::server_reflection_request::MessageRequest::ListServices("*".to_owned()),
                ),
            };
            let mut client =
                pb::server_reflection_client::ServerReflectionClient::new(plugin.channel());
            let answer = match client.server_reflection_info(tokio_stream::once(request)).await {
                Ok(answers) => answers.into_inner().message().await,
                Err(status) => Err(status),
            };
            match answer.map(|answer| answer.and_then(|answer| answer.message_response)) {
                Ok(Some(pb::server_reflection_response::MessageResponse::ListServicesResponse(
                    list,
                ))) => everybodys(list.service.into_iter().map(|service| service.name)),
                Ok(other) => json!({ "answer": format!("{other:?}") }),
                Err(status) => failure(&status),
            }
        }};
    }
    json!({ "v1": listed!(v1), "v1alpha": listed!(v1alpha) })
}

fn everybodys(services: impl Iterator<Item = String>) -> Value {
    let wanted = |name: &str| {
        name.starts_with("grpc.") || name.starts_with("plugin.") || name == PROBE_SERVICE
    };
    services.filter(|name| wanted(name)).collect()
}

/// Formats a failure as the Go host does.
fn failure(status: &Status) -> Value {
    let name = match status.code() {
        Code::Cancelled => "Canceled".to_owned(),
        code => format!("{code:?}"),
    };
    json!({ "code": i32::from(status.code()), "name": name, "message": status.message() })
}

/// Represents bytes by their number and hash.
fn text(bytes: &[u8]) -> Value {
    json!({ "bytes": bytes.len(), "sha256": sha256(bytes) })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the metadata with this prefix: binary values in base64, long values as their hash.
fn shown(metadata: &MetadataMap, prefix: &str) -> Value {
    let mut all = Map::new();
    for entry in metadata.iter() {
        let (key, value) = match entry {
            KeyAndValueRef::Ascii(key, value) => (key.as_str(), value.as_bytes().to_vec()),
            KeyAndValueRef::Binary(key, value) => {
                let bytes = value.to_bytes().expect("base64");
                (key.as_str(), BASE64_STANDARD.encode(bytes).into_bytes())
            }
        };
        if key.starts_with(prefix) {
            let value = if value.len() > 1024 {
                format!("sha256:{}", sha256(&value))
            } else {
                String::from_utf8_lossy(&value).into_owned()
            };
            let values = all.entry(key.to_owned()).or_insert_with(|| json!([]));
            values.as_array_mut().expect("made above").push(value.into());
        }
    }
    Value::Object(all)
}

/// Returns the part of a Go host's report that the Rust host's scenario of the same name returns.
pub fn comparable(report: &Value) -> Value {
    let result = &report["result"];
    let only = |object: &Value, prefix: &str| -> Value {
        let members = object.as_object().into_iter().flatten();
        members
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let text = |text: &Value| json!({ "bytes": text["bytes"], "sha256": text["sha256"] });
    match report["scenario"].as_str().unwrap_or_default() {
        "start" => json!({
            "network": report["start"]["network"],
            "version": report["start"]["version"],
            "pinged": result["pinged"],
        }),
        "echo" => json!({
            "headers": only(&result["headers"], "probe-"),
            "trailers": only(&result["trailers"], "trailer-probe-"),
            "payload_bytes": result["payload_bytes"],
            "payload_intact": result["payload_intact"],
        }),
        "fail" => json!({
            "code": result["code"],
            "message": text(&result["message"]),
            "message_intact": result["message_intact"],
            "details": text(&result["details"]),
            "details_intact": result["details_intact"],
            "trailers": only(&result["trailers"], "probe-"),
        }),
        "stream" => ["download", "upload", "chat"]
            .map(|kind| {
                let seen = &result[kind];
                let seen = match &seen["error"] {
                    Value::Null => json!({
                        "messages": seen["messages"], "bytes": seen["bytes"], "intact": seen["intact"],
                    }),
                    error => json!({ "error": error }),
                };
                (kind.to_owned(), seen)
            })
            .into_iter()
            .collect(),
        "stdio" => json!({ "stdout": text(&result["stdout"]), "stderr": text(&result["stderr"]) }),
        "health" => {
            let listed = if result["list_error"].is_null() { "list" } else { "list_error" };
            json!({ "check": result["check"], "watch": result["watch"], "list": result[listed] })
        }
        "reflection" => ["v1", "v1alpha"]
            .map(|version| {
                let seen = &result[version];
                let services = seen["services"].as_array().into_iter().flatten();
                let services = services.filter_map(|name| Some(name.as_str()?.to_owned()));
                let error = &seen["error"];
                let listed = if error.is_null() { everybodys(services) } else { error.clone() };
                (version.to_owned(), listed)
            })
            .into_iter()
            .collect(),
        other => panic!("the Rust host has no scenario `{other}`"),
    }
}
