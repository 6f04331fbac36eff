//! What the host serves on brokered connections: the methods of the probe that a plugin calls
//! there.

use std::sync::Arc;

use bytes::Bytes;
use plugwire_conformance_wire::answerer::{Handling, Incoming, Service};
use plugwire_conformance_wire::grpc::Status;
use plugwire_conformance_wire::messages::{NestRequest, Payload};
use prost::Message;

use super::broker::Broker;

/// The services behind one id.
pub(super) struct Callbacks {
    pub(super) id: u32,
    pub(super) broker: Broker,
}

impl Service for Callbacks {
    fn call(&self, mut call: Incoming) -> Handling {
        call.reply_headers.insert("probe-broker-id", self.id.into());
        let method = call.method.rsplit('/').next().unwrap_or_default().to_owned();
        match method.as_str() {
            "Echo" | "Chat" => Box::pin(echo(call)),
            "Nest" => Box::pin(nest(call, self.broker.clone())),
            _ => Box::pin(async move { call.finish(&Status::new("UNIMPLEMENTED", method)) }),
        }
    }
}

/// Each message comes back as it came.
async fn echo(mut call: Incoming) {
    while let Ok(Some(message)) = call.next().await {
        if call.send(&message).await.is_err() {
            return;
        }
    }
    call.finish(&Status::OK);
}

async fn nest(mut call: Incoming, broker: Broker) {
    let Ok(Some(request)) = call.next().await else { return };
    match nested(&request, &broker).await {
        Ok(reply) => call.reply(&reply).await,
        Err(error) => call.finish(&Status::new("INTERNAL", error)),
    }
}

/// Implements `Nest` of `proto/probe/broker_probe.proto`: one call deeper, and one byte longer on
/// the way back.
pub(super) async fn nested(request: &Bytes, broker: &Broker) -> Result<Bytes, String> {
    let request = NestRequest::decode(request.clone()).map_err(|error| error.to_string())?;
    if request.depth == 0 {
        return Ok(Payload { data: request.data }.encode_to_vec().into());
    }
    let own = broker.next_id();
    broker.serve(own).await?;
    let deeper = NestRequest { id: own, depth: request.depth - 1, data: request.data };
    let caller = broker.dial(request.id).await?;
    let deeper = Bytes::from(deeper.encode_to_vec());
    let reply = caller.unary(super::broker::NEST, deeper, &Default::default()).await;
    let reply = reply.map_err(|error| error.to_string())?;
    let message = reply.messages.first().ok_or_else(|| reply.status.to_string())?;
    let mut reply = Payload::decode(message.clone()).map_err(|error| error.to_string())?;
    reply.data.push(request.depth as u8);
    Ok(reply.encode_to_vec().into())
}

/// Callbacks as the wire wants them.
pub(super) fn service(id: u32, broker: Broker) -> Arc<dyn Service> {
    Arc::new(Callbacks { id, broker })
}
