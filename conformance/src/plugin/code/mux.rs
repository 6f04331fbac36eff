//! Knocks of the plugin, with a check of its streams.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use plugwire_conformance_wire::broker::{acknowledgement, is_knock};
use plugwire_conformance_wire::yamux::Session;
use serde_json::{Value, json};

use crate::plugin::broker::Broker;
use crate::plugin::host::{Failure, Host, Outcome, within};
use crate::plugin::scene::{self, Alive, Start};

/// The id of the host's side.
const ID: u32 = 1;
/// How long no stream may arrive.
const SILENCE: Duration = Duration::from_millis(400);

/// A plugin that dials knocks, and opens no stream before the acknowledgement.
pub(super) async fn plugin_knocks(host: &mut Host<'_>) -> Outcome {
    let (broker, session) = begin(host).await?;
    let letting_in = async {
        let knock = broker.hears(|info| is_knock(info, ID));
        tokio::select! {
            // In this order: next, the test looks for a stream that arrives together with the
            // knock.
            biased;
            knock = within(host.limit(None), "a knock", knock) => knock.map(|_| ())?,
            _ = session.accept() => {
                return Err(Failure::differs("a knock before a stream", "a stream without one"));
            }
        }
        no_stream(host, &session).await?;
        let let_in = within(host.limit(None), "a stream", broker.let_in(ID)).await?;
        let_in.map_err(|error| Failure::differs("a stream", error))
    };
    let ((), report) = tokio::try_join!(letting_in, dial_back(host))?;
    match report["code"] == 0 && report["served_id"] == ID {
        true => Ok(()),
        false => Err(Failure::differs("the plugin's call is answered", report.to_string())),
    }
}

/// A plugin whose knock is refused fails to dial and opens no stream.
pub(super) async fn refused_knock(host: &mut Host<'_>) -> Outcome {
    let (broker, session) = begin(host).await?;
    let refusing = async {
        loop {
            broker.hears(|info| is_knock(info, ID)).await;
            broker.say(acknowledgement(ID, "the suite refuses every knock"));
            if let Err(failure) = no_stream(host, &session).await {
                return failure;
            }
        }
    };
    let report = tokio::select! {
        failure = refusing => return Err(failure),
        report = dial_back(host) => report?,
    };
    if report["dialled"] == true && report["code"] == 0 {
        return Err(Failure::differs("the dial, or its call, fails", report.to_string()));
    }
    no_stream(host, &session).await?;
    host.alive(&Alive::default()).await
}

/// A session that is cut in the middle, after which no connection is possible.
pub(super) async fn broken_frame(host: &mut Host<'_>) -> Outcome {
    host.begin(&Start { multiplex: Some("true".to_owned()), ..Start::default() }).await?;
    let session = host.session.clone();
    let session = session.ok_or_else(|| Failure::differs("a multiplexed session", "none"))?;
    // Version 9, where yamux has 0.
    session.send_raw(vec![9, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    within(host.limit(None), "the end of the session", session.ended()).await?;
    host.exit(&scene::Exit::default()).await
}

async fn begin(host: &mut Host<'_>) -> Outcome<(Broker, Session)> {
    host.begin(&Start { multiplex: Some("true".to_owned()), ..Start::default() }).await?;
    host.open_broker(&scene::Broker::default()).await?;
    let session = host.session.clone();
    let session = session.ok_or_else(|| Failure::differs("a multiplexed session", "none"))?;
    Ok((host.broker()?.clone(), session))
}

async fn no_stream(host: &Host<'_>, session: &Session) -> Outcome {
    match tokio::time::timeout(host.scaled(SILENCE), session.accept()).await {
        Err(_) => Ok(()),
        Ok(Some(_)) => {
            Err(Failure::differs("no stream before the knock is acknowledged", "one was opened"))
        }
        Ok(None) => Err(Failure::differs("the session goes on", "it ended")),
    }
}

async fn dial_back(host: &Host<'_>) -> Outcome<Value> {
    let request = json!({ "id": ID, "data": BASE64_STANDARD.encode("x"), "count": 0, "size": 0 });
    let limit = host.scaled(Duration::from_secs(10));
    host.ask("BrokerProbe/DialBack", &request, None, limit).await
}
