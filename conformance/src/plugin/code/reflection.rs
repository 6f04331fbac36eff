//! Reflection, in both of its versions.

use plugwire_conformance_wire::caller::Options;
use plugwire_conformance_wire::messages::ReflectionRequest;
use prost::Message;
use serde_json::Value;

use crate::plugin::call::decoded;
use crate::plugin::host::{Failure, Host, Outcome, within};
use crate::plugin::scene::Start;

/// What every plugin serves.
const SERVICES: [&str; 4] =
    ["grpc.health.v1.Health", "plugin.GRPCBroker", "plugin.GRPCController", "plugin.GRPCStdio"];

/// Asks twice on one stream, and compares the answers with the services that every plugin has.
pub(super) async fn lists(host: &mut Host<'_>, version: &str) -> Outcome {
    host.begin(&Start::default()).await?;
    let service = format!("grpc.reflection.{version}.ServerReflection");
    let method = format!("/{service}/ServerReflectionInfo");
    let options = Options::default();
    let call =
        within(host.limit(None), "room for a call", host.connection(None)?.open(&method, &options));
    let mut call = call.await?.map_err(|error| Failure::differs("a call", error.to_string()))?;
    let question =
        ReflectionRequest { list_services: Some("*".to_owned()), ..ReflectionRequest::default() };
    for _ in 0..2 {
        // If it cannot be sent, the answer says why.
        let _ = call.send(&question.encode_to_vec()).await;
        let answer = within(host.limit(None), "a list of services", call.next()).await?;
        let answer =
            answer.map_err(|error| Failure::differs("a list of services", error.to_string()))?;
        let Some(answer) = answer else {
            let status = call.status().map_or("no status".to_owned(), |status| status.to_string());
            return Err(Failure::differs("a list of services", status));
        };
        check(&names(&decoded(&method, &answer)?), &service)?;
    }
    Ok(())
}

fn names(answer: &Value) -> Vec<String> {
    let services = answer["list_services_response"]["service"].as_array().into_iter().flatten();
    services.filter_map(|service| service["name"].as_str().map(str::to_owned)).collect()
}

fn check(names: &[String], itself: &str) -> Outcome {
    for wanted in SERVICES.into_iter().chain([itself]) {
        if !names.iter().any(|name| name == wanted) {
            return Err(Failure::differs(format!("{wanted} in the list"), names.join(", ")));
        }
    }
    match names.is_sorted() {
        true => Ok(()),
        false => Err(Failure::differs("the services sorted by name", names.join(", "))),
    }
}
