//! Calls any method, with messages as encoded bytes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::uri::PathAndQuery;
use plugwire::Channel;
use prost::bytes::{Buf, BufMut};
use serde_json::Value;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{
    AsciiMetadataKey, BinaryMetadataKey, BinaryMetadataValue, KeyAndValueRef, MetadataMap,
};
use tonic::server::UnaryService;
use tonic::{Request, Response, Status, Streaming};
use tower::Service;

use crate::Seen;
use crate::failure::Failure;
use crate::task::Call;

/// The service whose `Echo` is served on brokered connections.
pub(crate) const PROBE: &str = "plugwire.probe.v1.Probe";

/// A codec that passes bytes through unchanged.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}

/// Makes a unary call. The answer is read as a stream, because tonic's unary call merges the
/// trailers into the headers.
pub(crate) async fn unary(channel: Channel, call: &Call, seen: &mut Seen) -> Result<(), Failure> {
    let (request, method) = prepare(call)?;
    let answer = async {
        let response = open(channel, request, method).await?;
        seen.insert("headers".to_owned(), shown(response.metadata()));
        let mut messages = response.into_inner();
        let reply = messages.message().await?;
        let reply = reply.ok_or_else(|| Status::internal("the plugin sent no message"))?;
        let trailers = messages.trailers().await?.unwrap_or_default();
        seen.insert("reply".to_owned(), BASE64_STANDARD.encode(reply).into());
        seen.insert("trailers".to_owned(), shown(&trailers));
        Ok(())
    };
    let answer = match call.cancel_after_ms {
        // A call is cancelled by dropping its future.
        Some(after) => timeout(Duration::from_millis(after), answer)
            .await
            .unwrap_or_else(|_| Err(Status::cancelled("the call was dropped"))),
        None => answer.await,
    };
    answer.map_err(|status: Status| {
        seen.insert("trailers".to_owned(), shown(status.metadata()));
        status.into()
    })
}

/// Sends one request and receives all messages of the plugin's answer.
pub(crate) async fn stream(channel: Channel, call: &Call, seen: &mut Seen) -> Result<(), Failure> {
    let (request, method) = prepare(call)?;
    let (mut count, mut bytes) = (0_u64, 0_u64);
    let all = async {
        let mut messages = open(channel, request, method).await?.into_inner();
        while let Some(message) = messages.message().await? {
            count += 1;
            bytes += message.len() as u64;
        }
        Ok::<_, Status>(())
    };
    let end = all.await;
    seen.insert("messages".to_owned(), count.into());
    seen.insert("bytes".to_owned(), bytes.into());
    Ok(end?)
}

fn prepare(call: &Call) -> Result<(Request<Vec<u8>>, PathAndQuery), Failure> {
    let mut request = Request::new(call.request.clone());
    request.set_timeout(Duration::from_millis(call.timeout_ms));
    for (key, value) in &call.metadata {
        add(request.metadata_mut(), key, value).ok_or_else(|| {
            Failure::new("other", format!("`{key}: {value}` is not valid metadata"))
        })?;
    }
    let method = PathAndQuery::try_from(&call.method)
        .map_err(|error| Failure::new("other", format!("`{}`: {error}", call.method)))?;
    Ok((request, method))
}

async fn open(
    channel: Channel,
    request: Request<Vec<u8>>,
    method: PathAndQuery,
) -> Result<Response<Streaming<Vec<u8>>>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(usize::MAX);
    grpc.ready().await?;
    grpc.server_streaming(request, method, Raw).await
}

/// Adds a value to the metadata. Binary values are given in base64.
fn add(metadata: &mut MetadataMap, key: &str, value: &str) -> Option<()> {
    if key.ends_with("-bin") {
        let value = BinaryMetadataValue::from_bytes(&BASE64_STANDARD.decode(value).ok()?);
        metadata.append_bin(BinaryMetadataKey::from_bytes(key.as_bytes()).ok()?, value);
    } else {
        metadata.append(AsciiMetadataKey::from_bytes(key.as_bytes()).ok()?, value.parse().ok()?);
    }
    Some(())
}

/// Formats metadata as the contract defines it: several values of one key joined, binary values in
/// base64, and without the entries that gRPC itself adds for the status.
fn shown(metadata: &MetadataMap) -> Value {
    let mut all = BTreeMap::<String, Vec<String>>::new();
    for entry in metadata.iter() {
        let (key, value) = match entry {
            KeyAndValueRef::Ascii(key, value) => {
                (key.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            }
            KeyAndValueRef::Binary(key, value) => {
                (key.as_str(), BASE64_STANDARD.encode(value.to_bytes().unwrap_or_default()))
            }
        };
        if matches!(key, "grpc-status" | "grpc-message" | "grpc-status-details-bin") {
            continue;
        }
        all.entry(key.to_owned()).or_default().push(value);
    }
    all.into_iter().map(|(key, values)| (key, values.join(","))).collect()
}

/// Creates a service with the single method `Echo`, which returns the bytes of the request.
pub(crate) fn echo()
-> impl Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    tower::service_fn(|request: http::Request<Body>| async move {
        if request.uri().path() != format!("/{PROBE}/Echo") {
            return Ok(Status::unimplemented("only Echo is served").into_http());
        }
        let mut grpc = tonic::server::Grpc::new(Raw).max_decoding_message_size(usize::MAX);
        Ok(grpc.unary(Echo, request).await)
    })
}

struct Echo;

impl UnaryService<Vec<u8>> for Echo {
    type Response = Vec<u8>;
    type Future = Ready<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}
