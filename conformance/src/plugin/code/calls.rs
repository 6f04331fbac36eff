//! Calls whose checks a step cannot express.

use std::time::Duration;

use bytes::Bytes;
use plugwire_conformance_wire::caller::Options;
use plugwire_conformance_wire::messages::{
    DieRequest, DownloadRequest, HealthCheckRequest, Payload, method,
};
use prost::Message;
use serde_json::json;

use crate::plugin::call::{decoded, encoded, full};
use crate::plugin::host::{Failure, Host, Outcome, within};
use crate::plugin::scene::{Alive, Start};

const LARGE: u64 = 64 * 1024 * 1024;

/// An answer of 64 MiB, compared byte by byte.
pub(super) async fn large_answer(host: &mut Host<'_>) -> Outcome {
    host.begin(&Start::default()).await?;
    let request = Bytes::from(DownloadRequest { count: 1, size: LARGE }.encode_to_vec());
    let (method, options) = (full("Probe/Download"), Options::default());
    let call = host.connection(None)?.unary(&method, request, &options);
    let reply = within(host.scaled(Duration::from_secs(50)), "64 MiB", call).await?;
    let reply = reply.map_err(|error| Failure::differs("64 MiB", error.to_string()))?;
    if reply.status.name() == "UNIMPLEMENTED" {
        return Err(Failure::Unimplemented(method));
    }
    let Some(message) = reply.messages.first() else {
        return Err(Failure::differs("64 MiB", reply.status.to_string()));
    };
    let payload = Payload::decode(message.clone());
    let data = payload.map_err(|error| Failure::differs("a payload", error.to_string()))?.data;
    if data.len() as u64 != LARGE {
        return Err(Failure::differs("64 MiB", format!("{} bytes", data.len())));
    }
    // Byte i of message 0 is i mod 256, as the probe's contract says.
    let period: Vec<u8> = (0..=u8::MAX).collect();
    match data.chunks_exact(period.len()).all(|chunk| chunk == period) {
        true => host.alive(&Alive::default()).await,
        false => Err(Failure::differs("64 MiB of counting bytes", "some are others")),
    }
}

/// Calls that are cancelled as soon as they have begun, and then one that is not.
pub(super) async fn many_cancelled(host: &mut Host<'_>) -> Outcome {
    const CALLS: usize = 300;
    host.begin(&Start::default()).await?;
    let request = encoded(method::WATCH, &json!({ "service": "plugin" }))?;
    for number in 1..=CALLS {
        let caller = host.connection(None)?;
        let options = Options::default();
        let begun =
            within(host.limit(None), "room for a call", caller.open(method::WATCH, &options));
        let began = async {
            let mut call =
                begun.await?.map_err(|error| error.to_string()).map_err(broke(number))?;
            // The plugin may have ended the connection; the next call detects that.
            let _ = call.send(&request).await;
            call.cancel();
            Ok::<_, Failure>(())
        };
        began.await?;
    }
    host.alive(&Alive::default()).await
}

fn broke(number: usize) -> impl Fn(String) -> Failure {
    move |error| Failure::differs("the connection lasts", format!("at call {number}: {error}"))
}

/// A health check by a host of a later release: it contains the name twice, and an unknown field.
pub(super) async fn unknown_fields(host: &mut Host<'_>) -> Outcome {
    host.begin(&Start::default()).await?;
    let mut request = HealthCheckRequest { service: "no.such.Service".to_owned() }.encode_to_vec();
    HealthCheckRequest { service: "plugin".to_owned() }
        .encode(&mut request)
        .map_err(|error| Failure::engine("a request", error))?;
    // Field 15, a number; field 16, three bytes; field 17, four bytes without a length.
    request.extend([0x78, 0x2a, 0x82, 0x01, 3, b'n', b'e', b'w', 0x8d, 0x01, 1, 2, 3, 4]);
    let options = Options::default();
    let call = host.connection(None)?.unary(method::CHECK, request.into(), &options);
    let reply = within(host.limit(None), "an answer", call).await?;
    let reply = reply.map_err(|error| Failure::differs("SERVING", error.to_string()))?;
    let message = reply
        .messages
        .first()
        .ok_or_else(|| Failure::differs("SERVING", reply.status.to_string()))?;
    match decoded(method::CHECK, message)?["status"] == 1 {
        true => Ok(()),
        false => Err(Failure::differs("SERVING, of the name that came last", "another status")),
    }
}

/// A thread panics: its message arrives on the pipe, in lines.
pub(super) async fn panic(host: &mut Host<'_>) -> Outcome {
    host.begin(&Start::default()).await?;
    let request = Bytes::from(DieRequest { how: "panic-thread".to_owned() }.encode_to_vec());
    let (method, options) = (full("Probe/Die"), Options::default());
    let caller = host.connection(None)?.clone();
    let dying = tokio::spawn(async move { caller.unary(&method, request, &options).await });
    let said = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('{')).collect();
        (lines.len() > 1 && lines.iter().any(|line| line.contains("panic"))).then_some(())
    };
    host.may_end = true;
    let stderr = &host.process()?.stderr;
    let found = stderr.find(host.limit(None), |seen| said(seen.bytes)).await;
    dying.abort();
    match found {
        Some(()) => Ok(()),
        None => Err(Failure::differs("a panic's lines on standard error", stderr.text())),
    }
}
