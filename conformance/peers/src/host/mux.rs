//! The broker of a multiplexed session: knocks, and the streams that belong to them (spec, chapter 13).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use plugwire_conformance_wire::broker::{self as stream, acknowledgement};
use plugwire_conformance_wire::messages::Knock;
use plugwire_conformance_wire::socket::Io;

use super::broker::Broker;
use super::failure::Failure;
use super::flaw::Flaw;
use super::link;

/// Which stream belongs to which knock.
#[derive(Debug, Default)]
pub(super) struct Pairing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The id whose knock was acknowledged last and whose stream has not arrived. A new knock
    /// replaces it (MUX-17).
    expected: Option<u32>,
    /// Knocks for ids that are not accepted yet.
    knocked: HashSet<u32>,
    /// The ids whose acknowledgement is pending.
    dialling: HashSet<u32>,
    /// The ids whose acknowledgement did not arrive in time.
    given_up: HashSet<u32>,
}

/// How long a host with that flaw waits for an unsolicited acknowledgement.
const UNASKED: Duration = Duration::from_secs(1);
/// The number of early knocks that are kept.
const KEPT: usize = 1024;

impl Pairing {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

/// Handles a knock of the plugin. Returns false if the broker breaks off.
pub(super) fn knocked(broker: &Broker, id: u32) -> bool {
    if broker.accepts(id) {
        acknowledge(broker, id);
        return true;
    }
    let mut state = broker.pairing.state();
    if state.knocked.len() < KEPT {
        state.knocked.insert(id);
    }
    !broker.settings.has(Flaw::UnknownKnockEndsTheBroker)
}

/// Accepts an id; a knock that came before is answered now.
pub(super) fn accept(broker: &Broker, id: u32) {
    let was_knocked = broker.pairing.state().knocked.remove(&id);
    if was_knocked {
        acknowledge(broker, id);
    }
}

fn acknowledge(broker: &Broker, id: u32) {
    if broker.settings.has(Flaw::NeverAcknowledges) {
        return;
    }
    broker.pairing.state().expected = Some(id);
    broker.say(acknowledgement(id, ""));
}

/// Takes the plugin's streams, each for the knock that was acknowledged last (MUX-10).
pub(super) async fn take_all(broker: Arc<Broker>) {
    let Ok(session) = broker.link.session().await else { return };
    while let Some(stream) = session.accept().await {
        let expected = broker.pairing.state().expected.take();
        // Dropping an unexpected stream resets it.
        if let Some(id) = expected {
            let serving = broker.clone();
            broker.serve(async move { serving.answer(Box::new(stream), id).await });
        }
    }
}

/// Returns whether the answer came too late. A late one has queued a pairing in the plugin
/// (MUX-16).
pub(super) fn came_too_late(broker: &Arc<Broker>, id: u32, answer: &Knock) -> bool {
    let mut state = broker.pairing.state();
    if state.dialling.contains(&id) || broker.settings.has(Flaw::AnyAcknowledgement) {
        return false;
    }
    if state.given_up.remove(&id) && answer.error.is_empty() {
        let late = broker.clone();
        broker.serve(async move {
            if let Ok(session) = late.link.session().await {
                drop(session.open());
            }
        });
    }
    true
}

/// Opens a stream to an id of the plugin, in its turn (MUX-15).
pub(super) async fn dial(broker: &Broker, id: u32) -> Result<Io, Failure> {
    let session = broker.link.session().await?;
    let _turn = broker.link.turn.lock().await;
    let flaw = broker.settings.flaw;
    let is_answered_already =
        flaw == Some(Flaw::AnyAcknowledgement) && broker.hear(id, UNASKED).await.is_ok();
    if flaw != Some(Flaw::DialsWithoutKnocking) && !is_answered_already {
        knock(broker, id).await?;
    }
    let opened = link::open(&session).await;
    opened.map_err(|why| Failure::new("broker.refused", why.to_string()))
}

/// Knocks, and waits for the answer (MUX-9).
async fn knock(broker: &Broker, id: u32) -> Result<(), Failure> {
    broker.forget(id);
    broker.pairing.state().dialling.insert(id);
    broker.say(stream::knock(id));
    let heard = broker.hear(id, broker.link.patience()).await;
    let mut state = broker.pairing.state();
    state.dialling.remove(&id);
    let answer = match heard {
        Ok(heard) => heard.knock.unwrap_or_default(),
        Err(_) if broker.settings.has(Flaw::OpensWithoutAnAnswer) => return Ok(()),
        Err(why) => {
            state.given_up.insert(id);
            return Err(why);
        }
    };
    if !answer.ack {
        return Err(Failure::new(
            "broker",
            "the plugin announces an id instead of answering the knock",
        ));
    }
    match answer.error.is_empty() || broker.settings.has(Flaw::OpensAfterARefusal) {
        true => Ok(()),
        false => Err(Failure::new("broker.refused", answer.error)),
    }
}
