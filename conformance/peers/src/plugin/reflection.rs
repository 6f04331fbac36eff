//! `grpc.reflection.v1.ServerReflection` and `v1alpha`: the list of services, without descriptors.

use plugwire_conformance_wire::messages::{
    ReflectionError, ReflectionRequest, ReflectionResponse, ServiceList, ServiceName,
};
use serde_json::json;

use super::calls::{Call, End, services};

/// NOT_FOUND.
const NOT_FOUND: i32 = 5;

/// Answers one question after the other.
pub(super) async fn answer(call: &mut Call) -> Result<(), End> {
    while let Some(request) = call.next::<ReflectionRequest>().await? {
        let mut response =
            ReflectionResponse { valid_host: request.host.clone(), ..Default::default() };
        match request.list_services {
            Some(_) => response.list_services_response = Some(list(call)),
            None => {
                response.error_response = Some(ReflectionError {
                    error_code: NOT_FOUND,
                    error_message: "no descriptors here".to_owned(),
                });
            }
        }
        response.original_request = Some(request);
        call.send(&response).await?;
        if call.plugin.script.reflection.one_question {
            call.plugin.witness.saw("reflection-ended", json!({}));
            return Ok(());
        }
    }
    Ok(())
}

fn list(call: &Call) -> ServiceList {
    let script = &call.plugin.script.reflection;
    let mut names: Vec<String> =
        services(&call.plugin, &call.at).into_iter().map(str::to_owned).collect();
    names.retain(|name| !script.leaves_out.contains(name));
    if !script.unsorted {
        names.sort();
    }
    call.plugin.witness.saw("listed", json!({ "services": names }));
    ServiceList { service: names.into_iter().map(|name| ServiceName { name }).collect() }
}
