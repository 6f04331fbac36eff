//! The multiplexed session: one connection, in which each stream is a main or a brokered connection.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use plugwire_conformance_wire::broker::{acknowledgement, knock};
use plugwire_conformance_wire::socket::Io;
use plugwire_conformance_wire::yamux::{Frame, GO_AWAY, Session, Side, Stream};
use serde_json::json;

use super::calls::At;
use super::line::unhex;
use super::{Plugin, broker, listen};
use crate::script::{KnockAnswer, MuxEnd};

/// How long a stream waits for the host to accept it.
const TAKEN: Duration = Duration::from_secs(5);
/// The first id of unsolicited acknowledgements.
const UNASKED_ACKS: u32 = 1000;
/// The first id of unsolicited knocks.
const UNASKED_KNOCKS: u32 = 2000;

/// Which stream belongs to which knock.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    state: Mutex<State>,
    /// Held from a knock until the host has accepted the stream, since the next stream belongs to
    /// the last knock.
    dialling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Session>,
    /// The ids that are accepted, and whether without TLS.
    accepting: HashMap<u32, bool>,
    last: Option<u32>,
    released: HashSet<u32>,
    /// Knocks for ids that are not accepted yet.
    knocked: HashSet<u32>,
    /// The ids whose knock was acknowledged and whose stream has not arrived.
    pending: VecDeque<u32>,
    streams: u32,
    knocks: u32,
}

impl Pairing {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn session(&self) -> Option<Session> {
        self.state().session.clone()
    }

    /// Stops accepting an id. Returns false if it was not accepted.
    pub(super) fn release(&self, id: u32) -> bool {
        let mut state = self.state();
        state.released.insert(id);
        state.accepting.remove(&id).is_some()
    }
}

/// Returns whether the plugin multiplexes.
pub(super) fn wanted(plugin: &Plugin) -> bool {
    let script = &plugin.script.mux;
    !script.never && (plugin.asked.multiplex || script.unasked)
}

/// Serves the one connection that carries everything.
pub(super) async fn serve(plugin: &Arc<Plugin>, io: Io) {
    let session =
        Session::start_with(io, Side::Plugin, !plugin.script.mux.never_acknowledges, &plugin.trace);
    plugin.mux.state().session = Some(session.clone());
    plugin.witness.saw("session", json!({}));
    while let Some(stream) = session.accept().await {
        take(plugin, stream);
    }
    plugin.witness.saw("session-ended", json!({ "how": session.ended().await }));
    if !plugin.script.shutdown.outlives_host {
        plugin.ending.end(0);
    }
}

/// Assigns a stream of the host to its service.
fn take(plugin: &Arc<Plugin>, stream: Stream) {
    let script = &plugin.script.mux;
    let (number, id, raw) = {
        let mut state = plugin.mux.state();
        state.streams += 1;
        let knocked = state.pending.pop_front();
        let id = match knocked {
            _ if script.main_only => None,
            None if script.needs_no_knock && state.streams > 1 => state.last,
            knocked => knocked,
        };
        let raw = id.and_then(|id| state.accepting.get(&id).copied()).unwrap_or(false);
        (state.streams, id, raw)
    };
    plugin.witness.saw("stream", json!({ "stream": stream.id(), "id": id }));
    let plaintext = script.plaintext;
    let plugin = plugin.clone();
    tokio::spawn(async move {
        match id {
            Some(id) => listen::brokered(plugin, Box::new(stream), id, raw || plaintext).await,
            None => {
                listen::serve_calls(&plugin, Box::new(stream), At::main(number), plaintext).await
            }
        }
    });
}

/// Accepts an id; a knock that came before is answered now.
pub(super) fn accept(plugin: &Arc<Plugin>, id: u32, raw: bool) {
    let knocked = {
        let mut state = plugin.mux.state();
        state.accepting.insert(id, raw);
        state.last = Some(id);
        state.knocked.remove(&id)
    };
    plugin.witness.saw("accepting", json!({ "id": id }));
    if knocked {
        tokio::spawn(answer(plugin.clone(), id));
    }
}

/// Takes a knock of the host.
pub(super) fn knocked(plugin: &Arc<Plugin>, id: u32) {
    let script = &plugin.script.mux;
    let (first, known, released) = {
        let mut state = plugin.mux.state();
        state.knocks += 1;
        let known = state.accepting.contains_key(&id)
            || script.acks_everything
            || (script.acks_released && state.released.contains(&id));
        if !known {
            // As in go-plugin, it is kept until the id is accepted, and not answered before.
            state.knocked.insert(id);
        }
        (state.knocks == 1, known, state.released.contains(&id))
    };
    if released && script.cuts_at_released {
        if let Some(session) = plugin.mux.session() {
            session.cut();
        }
        return;
    }
    if first && script.at_knock != MuxEnd::GoesOn {
        return end_session(plugin);
    }
    match known {
        true => drop(tokio::spawn(answer(plugin.clone(), id))),
        false => plugin.witness.saw("knock-unanswered", json!({ "id": id })),
    }
}

fn end_session(plugin: &Plugin) {
    let Some(session) = plugin.mux.session() else { return };
    match &plugin.script.mux.at_knock {
        MuxEnd::GoesOn => return,
        MuxEnd::Cut => session.cut(),
        MuxEnd::GoAway => session.send(Frame::new(GO_AWAY, 0, 0, 0)),
        MuxEnd::Hex(text) => session.send_raw(unhex(text).unwrap_or_default()),
    }
    plugin.witness.saw("session-abused", json!({ "how": plugin.script.mux.at_knock }));
}

/// Answers a knock for an id that is accepted.
async fn answer(plugin: Arc<Plugin>, id: u32) {
    let script = &plugin.script.mux;
    if script.ack_late_ms > 0 {
        tokio::time::sleep(Duration::from_millis(script.ack_late_ms)).await;
    }
    let pending = || plugin.mux.state().pending.push_back(id);
    match &script.knock {
        KnockAnswer::Acknowledges => {
            pending();
            if script.once_per_id {
                plugin.mux.state().accepting.remove(&id);
            }
            say_ack(&plugin, id, "").await;
        }
        KnockAnswer::Never => plugin.witness.saw("knock-unanswered", json!({ "id": id })),
        KnockAnswer::Refuses(why) => say_ack(&plugin, id, why).await,
        KnockAnswer::WrongId => say_ack(&plugin, id + 1000, "").await,
        KnockAnswer::Twice => {
            pending();
            say_ack(&plugin, id, "").await;
            say_ack(&plugin, id, "").await;
        }
        KnockAnswer::Announces => {
            if let Err(error) = broker::accept_on_socket(&plugin, id, false).await {
                plugin.witness.saw("accept-failed", json!({ "id": id, "error": error }));
            }
        }
    }
}

async fn say_ack(plugin: &Plugin, id: u32, error: &str) {
    let said = plugin.broker.say(acknowledgement(id, error)).await;
    plugin.witness.saw("acknowledged", json!({ "id": id, "error": error, "said": said }));
}

/// Opens a stream to an id of the host.
pub(super) async fn dial(plugin: &Plugin, id: u32, patience: Duration) -> Result<Io, String> {
    let _one_at_a_time = plugin.mux.dialling.lock().await;
    let script = &plugin.script.mux;
    let session = plugin.mux.session().ok_or("no session")?;
    if !script.dials_without_knock {
        plugin.broker.forget(id);
        let said = plugin.broker.say(knock(id)).await;
        plugin.witness.saw("knocking", json!({ "id": id, "said": said }));
    }
    if !script.dials_without_knock && !script.ignores_answer {
        let Some(heard) = plugin.broker.hear(id, patience).await else {
            plugin.witness.saw("dial-timed-out", json!({ "id": id }));
            return Err(format!("timeout waiting for multiplexing knock handshake on id {id}"));
        };
        let refused = heard.knock.map(|knock| knock.error).filter(|error| !error.is_empty());
        if let Some(why) = refused.filter(|_| !script.ignores_refusal) {
            plugin.witness.saw("dial-refused", json!({ "id": id, "error": why }));
            return Err(format!("failed to knock for id {id}: {why}"));
        }
    }
    let stream = session.open();
    plugin.witness.saw("stream-opened", json!({ "stream": stream.id(), "id": id }));
    match tokio::time::timeout(TAKEN, stream.acknowledged()).await {
        Ok(true) => Ok(Box::new(stream)),
        Ok(false) => Err("the host broke the stream off".to_owned()),
        Err(_) => Err("the host did not take the stream".to_owned()),
    }
}

/// Performs what the script demands in a session when the broker's stream opens.
pub(super) async fn of_its_own_accord(plugin: &Plugin) {
    let script = &plugin.script.mux;
    for number in 0..script.acks_unasked {
        say_ack(plugin, UNASKED_ACKS + number, "").await;
    }
    for number in 0..script.knocks_unasked {
        if !plugin.broker.say(knock(UNASKED_KNOCKS + number)).await {
            return;
        }
    }
    if script.knocks_unasked > 0 {
        plugin.witness.saw("knocked-unasked", json!({ "count": script.knocks_unasked }));
    }
    let Some(session) = plugin.mux.session().filter(|_| script.opens_unasked > 0) else { return };
    let streams: Vec<Stream> = (0..script.opens_unasked).map(|_| session.open()).collect();
    plugin.witness.saw("opened-unasked", json!({ "count": streams.len() }));
    session.ended().await;
    drop(streams);
}
