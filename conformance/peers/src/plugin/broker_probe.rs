//! `plugwire.probe.v1.BrokerProbe`: brokered connections of the probe, each side in both roles.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plugwire_conformance_wire::caller::{Broken, Caller, Options};
use plugwire_conformance_wire::grpc::Status;
use plugwire_conformance_wire::messages::{
    DialBackReport, DialBackRequest, Empty, NestRequest, OfferReply, OfferRequest, Payload,
    ReleaseRequest, method,
};
use prost::Message;
use serde_json::json;

use super::calls::{Call, End};
use super::probe::{LARGEST, name_the_broker_id, pattern};
use super::{Plugin, broker, mux};

/// Answers one call of `BrokerProbe`.
pub(super) async fn answer(call: &mut Call, name: &str) -> Result<(), End> {
    match name {
        "Offer" => offer(call).await,
        "DialBack" => dial_back(call).await,
        "Nest" => nest(call).await,
        "Release" => release(call).await,
        _ => Err(End::Unknown),
    }
}

async fn offer(call: &mut Call) -> Result<(), End> {
    let request: OfferRequest = call.request().await?;
    let plugin = call.plugin.clone();
    let id = plugin.broker.next_id();
    name_the_broker_id(call);
    match request.delay_ms {
        0 => accept(&plugin, id, request.raw).await?,
        delay => {
            let plugin = plugin.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(delay)).await;
                let _ = accept(&plugin, id, request.raw).await;
            });
        }
    }
    call.send(&OfferReply { id }).await
}

async fn accept(plugin: &Arc<Plugin>, id: u32, raw: bool) -> Result<(), End> {
    let accepted = broker::accept(plugin, id, raw).await;
    accepted.map_err(|error| End::status("INTERNAL", error))
}

async fn release(call: &mut Call) -> Result<(), End> {
    let request: ReleaseRequest = call.request().await?;
    let plugin = call.plugin.clone();
    let released = match mux::wanted(&plugin) {
        true => plugin.mux.release(request.id),
        false => plugin.broker.release(request.id),
    };
    plugin.witness.saw("released", json!({ "id": request.id, "served": released }));
    match released {
        true => call.send(&Empty {}).await,
        false => Err(End::status("NOT_FOUND", format!("id {} is not served", request.id))),
    }
}

async fn dial_back(call: &mut Call) -> Result<(), End> {
    let request: DialBackRequest = call.request().await?;
    let plugin = call.plugin.clone();
    name_the_broker_id(call);
    let began = Instant::now();
    let dialled = broker::dial(&plugin, request.id).await;
    let mut report =
        DialBackReport { dial_ms: began.elapsed().as_millis() as u64, ..Default::default() };
    match dialled {
        Ok(caller) => {
            report.dialled = true;
            call_back(&caller, &request, &mut report).await;
        }
        Err(_) if plugin.script.broker.believes_in_unknown => {
            plugin.witness.saw("dial-made-up", json!({ "id": request.id }));
            report.dialled = true;
            report.data = request.data;
        }
        Err(error) => report.dial_error = error,
    }
    call.send(&report).await
}

/// Makes the calls that the host asked for; what goes wrong is in the report.
async fn call_back(caller: &Caller, request: &DialBackRequest, report: &mut DialBackReport) {
    let began = Instant::now();
    let payload = Payload { data: request.data.clone() }.encode_to_vec();
    let path = format!("{}Echo", method::PROBE);
    let reply = caller.unary(&path, payload.into(), &Options::default()).await;
    report.call_ms = began.elapsed().as_millis() as u64;
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => {
            (report.code, report.message) = (14, error.to_string());
            return;
        }
    };
    if reply.status != Status::OK {
        (report.code, report.message) = (reply.status.code, reply.status.message);
        return;
    }
    let payload = reply.messages.first().and_then(|bytes| Payload::decode(bytes.clone()).ok());
    report.data = payload.unwrap_or_default().data;
    let id = reply.headers.get("probe-broker-id").and_then(|id| id.to_str().ok());
    report.served_id = id.and_then(|id| id.parse().ok()).unwrap_or(0);
    // The progress is the answer, even if the stream broke.
    let _ = chat_back(caller, request, &mut report.messages).await;
}

async fn chat_back(
    caller: &Caller,
    request: &DialBackRequest,
    intact: &mut u64,
) -> Result<(), Broken> {
    if request.count == 0 {
        return Ok(());
    }
    let mut chat = caller.open(&format!("{}Chat", method::PROBE), &Options::default()).await?;
    for number in 0..request.count {
        let sent = Payload { data: pattern(number, request.size.min(LARGEST)) }.encode_to_vec();
        chat.send(&sent).await?;
        let back = chat.next().await?;
        *intact += u64::from(back.is_some_and(|back| back == sent));
    }
    chat.finish()
}

async fn nest(call: &mut Call) -> Result<(), End> {
    let request: NestRequest = call.request().await?;
    name_the_broker_id(call);
    if request.depth == 0 {
        return call.send(&Payload { data: request.data }).await;
    }
    let plugin = call.plugin.clone();
    let unavailable = |error: String| End::status("UNAVAILABLE", error);
    let caller = broker::dial(&plugin, request.id).await.map_err(unavailable)?;
    let id = plugin.broker.next_id();
    accept(&plugin, id, false).await?;
    let next = NestRequest { id, depth: request.depth - 1, data: request.data };
    let path = format!("{}Nest", method::BROKER_PROBE);
    let reply = caller.unary(&path, next.encode_to_vec().into(), &Options::default()).await;
    let reply = reply.map_err(|error| unavailable(error.to_string()))?;
    if reply.status != Status::OK {
        return Err(End::Status(reply.status));
    }
    let payload = reply.messages.first().and_then(|bytes| Payload::decode(bytes.clone()).ok());
    let mut data = payload.unwrap_or_default().data;
    data.push(request.depth as u8);
    call.send(&Payload { data }).await
}
