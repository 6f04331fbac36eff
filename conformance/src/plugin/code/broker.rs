//! Brokered connections that lead to further ones.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::plugin::host::{Failure, Host, Outcome};
use crate::plugin::scene;

/// How often the two sides call each other.
const DEPTH: u32 = 4;

/// Host and plugin call each other back and forth, each call on its own brokered connection, which
/// stays open during the deeper ones.
pub(super) async fn two_way(host: &mut Host<'_>, multiplex: Option<&str>) -> Outcome {
    let multiplex = multiplex.map(str::to_owned);
    host.begin(&scene::Start { multiplex, ..scene::Start::default() }).await?;
    host.open_broker(&scene::Broker::default()).await?;
    let broker = host.broker()?.clone();
    let id = broker.next_id();
    broker.serve(id).await.map_err(|error| Failure::engine("accepting as host", error))?;
    let request = json!({ "id": id, "depth": DEPTH, "data": BASE64_STANDARD.encode("x") });
    let limit = host.scaled(Duration::from_secs(8));
    let reply = host.ask("BrokerProbe/Nest", &request, None, limit).await?;
    let wanted = json!(BASE64_STANDARD.encode([b'x', 1, 2, 3, 4]));
    match reply["data"] == wanted {
        true => Ok(()),
        false => {
            Err(Failure::differs(format!("data {wanted}: each depth once"), reply.to_string()))
        }
    }
}
