//! `grpc.health.v1.Health`.

use std::collections::HashMap;

use plugwire_conformance_wire::messages::{
    Empty, HealthCheckRequest, HealthCheckResponse, HealthListResponse,
};
use serde_json::json;

use super::calls::{Call, End};
use crate::script::HealthStatus;

/// Answers one call.
pub(super) async fn answer(call: &mut Call, name: &str) -> Result<(), End> {
    if call.plugin.script.health.hangs {
        call.plugin.witness.saw("health-hangs", json!({}));
        call.incoming.cancelled().await;
        return Err(End::Gone("cancelled".to_owned()));
    }
    match name {
        "Check" => check(call).await,
        "Watch" => watch(call).await,
        "List" => list(call).await,
        _ => Err(End::Unknown),
    }
}

/// Returns the status of a name, none if it is unknown. The empty name is the process as a whole.
fn status(call: &Call, name: &str) -> Option<i32> {
    let script = &call.plugin.script.health;
    let known = name == script.name || script.knows_everything;
    match name {
        _ if known => Some(script.status as i32),
        "" => Some(HealthStatus::Serving as i32),
        _ => None,
    }
}

async fn check(call: &mut Call) -> Result<(), End> {
    let request: HealthCheckRequest = call.request().await?;
    let Some(status) = status(call, &request.service) else {
        return Err(End::status("NOT_FOUND", format!("no service {:?}", request.service)));
    };
    call.plugin.witness.saw("health", json!({ "service": request.service, "status": status }));
    call.send(&HealthCheckResponse { status }).await
}

async fn watch(call: &mut Call) -> Result<(), End> {
    let request: HealthCheckRequest = call.request().await?;
    let unknown = HealthStatus::ServiceUnknown as i32;
    let status = status(call, &request.service).unwrap_or(unknown);
    call.send(&HealthCheckResponse { status }).await?;
    // Nothing ever changes.
    call.incoming.cancelled().await;
    Err(End::Gone("cancelled".to_owned()))
}

async fn list(call: &mut Call) -> Result<(), End> {
    call.request::<Empty>().await?;
    let names = ["".to_owned(), call.plugin.script.health.name.clone()];
    let statuses: HashMap<_, _> = names
        .into_iter()
        .filter_map(|name| {
            let status = status(call, &name)?;
            Some((name, HealthCheckResponse { status }))
        })
        .collect();
    call.send(&HealthListResponse { statuses }).await
}
