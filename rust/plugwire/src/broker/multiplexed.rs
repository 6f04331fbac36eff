//! All brokered connections on one socket, as streams of one session. Only the order of the streams tells
//! which stream belongs to which id.
//!
//! The dialling side knocks on the broker's stream, the accepting side acknowledges, and the next stream
//! that the dialling side opens is that connection. Spec: MUX-9 to MUX-20.
//!
//! As the dialling side, a dial holds its turn from the knock until the peer has taken the stream, which
//! the stream's first byte shows: a Go host lets two acknowledged connections race for the next two
//! streams. As the accepting side, this relies on the peer to do the same, so a new knock proves that the
//! previous one was given up.

use std::collections::HashMap;
#[cfg(feature = "host")]
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use plugwire_protocol::evidence::excerpt;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::error::{DialError, ListenError, PeerGone};
use super::link::Link;
use super::outbound::Outbound;
use super::turn::{Turn, UntilTaken};
use crate::generated::plugin::Knock;
use crate::http2::{Channel, ConnectStep};
use crate::net::{BoxIo, Mux};
use crate::time;

/// How many connections may wait for a listener.
const BACKLOG: usize = 64;
/// How many streams may be open for acknowledgements that came late or were not asked for. A peer that
/// behaves causes one at a time.
const MAX_LATE: usize = 64;
/// A Go host refuses an id at once while it does not accept it *yet*. Knocking again later succeeds.
const KNOCK_AGAIN: Duration = Duration::from_millis(20);

/// Brokered connections on the multiplexed session.
pub(super) struct Multiplexed {
    link: Arc<Link>,
    /// All streams belong to it. Set once: a multiplexed plugin has one host.
    session: OnceLock<Mux>,
    /// Held by one dial at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
    late: Arc<Semaphore>,
    /// Locked after the link's state where both are needed.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// As the dialling side: the dials that wait for an acknowledgement.
    acks: HashMap<u32, oneshot::Sender<Result<(), String>>>,
    /// As the accepting side: the listeners.
    listeners: HashMap<u32, mpsc::Sender<BoxIo>>,
    /// The id that was acknowledged last and whose stream has not come yet.
    pairing: Option<u32>,
    /// A knock for an id without a listener, and until when it is kept, because a listener may follow.
    unanswered: Option<(u32, Instant)>,
}

impl Multiplexed {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            session: OnceLock::new(),
            turn: Arc::default(),
            late: Arc::new(Semaphore::new(MAX_LATE)),
            state: Mutex::default(),
        }
    }

    /// Sets the session that all streams belong to.
    pub(super) fn set_session(&self, session: Mux) {
        let _ = self.session.set(session);
    }

    /// Accepts streams for an id from now on.
    pub(super) fn listen(
        self: &Arc<Self>,
        id: u32,
    ) -> Result<(Streams, CancellationToken), ListenError> {
        let session = self.link.session()?;
        let (sender, received) = mpsc::channel(BACKLOG);
        let outbound = self.link.outbound();
        let mut state = self.state.lock();
        if state.listeners.contains_key(&id) {
            return Err(ListenError::InUse { id });
        }
        state.listeners.insert(id, sender);
        if let Some((_, until)) = state.unanswered.take_if(|(waiting, _)| *waiting == id)
            && Instant::now() < until
        {
            state.pairing = acknowledge(outbound, id);
        }
        Ok((Streams { id, received, wiring: self.clone() }, session))
    }

    /// Takes a stream that the peer opened. Returns it if no knock came before it.
    ///
    /// Must be called before anything is read that the peer sent later: the next knock replaces the
    /// pairing.
    pub(super) fn take_stream(&self, io: BoxIo) -> Option<BoxIo> {
        let mut state = self.state.lock();
        let Some(id) = state.pairing.take() else { return Some(io) };
        match state.listeners.get(&id).map(|listener| listener.try_send(io)) {
            Some(Ok(())) => {}
            // The listener was dropped after its knock was acknowledged, or it is too slow. Dropping the
            // stream tells the dialling side and delays no other connection.
            _ => tracing::debug!(id, "dropped a brokered stream: its listener is gone or too slow"),
        }
        None
    }

    /// Takes a knock of the peer, or its answer to one.
    pub(super) fn hear(self: &Arc<Self>, id: u32, knock: Knock) {
        if knock.ack {
            self.take_ack(id, if knock.error.is_empty() { Ok(()) } else { Err(knock.error) });
            return;
        }
        let outbound = self.link.outbound();
        let mut state = self.state.lock();
        state.pairing = None;
        if state.listeners.contains_key(&id) {
            state.pairing = acknowledge(outbound, id);
            state.unanswered = None;
        } else {
            state.unanswered = Some((id, time::after(self.link.timeout)));
        }
    }

    fn take_ack(self: &Arc<Self>, id: u32, answer: Result<(), String>) {
        let waiting = self.state.lock().acks.remove(&id);
        let paired = answer.is_ok();
        let taken = waiting.is_some_and(|waiting| waiting.send(answer).is_ok());
        if paired && !taken {
            self.consume(id);
        }
    }

    /// Opens and closes a stream for a dial that was given up and then acknowledged. The peer has reserved
    /// its next stream for that dial: without this, the next stream of another id would go to the wrong
    /// listener.
    fn consume(self: &Arc<Self>, id: u32) {
        let Ok(permit) = self.late.clone().try_acquire_owned() else {
            return tracing::debug!(id, "the peer acknowledged a knock that was never sent");
        };
        let wiring = self.clone();
        tokio::spawn(async move {
            if let Ok(mut io) = wiring.open_stream(id).await {
                let _ = io.shutdown().await;
            }
            drop(permit);
        });
    }

    /// Forgets what was agreed with a peer that is gone.
    pub(super) fn forget(&self) {
        let mut state = self.state.lock();
        state.acks.clear();
        state.pairing = None;
        state.unanswered = None;
    }

    /// Dials by knocking. It runs on a task of its own, so that a caller who drops the future leaves no
    /// pairing behind.
    pub(super) async fn dial(self: &Arc<Self>, id: u32) -> Result<Channel, DialError> {
        let wiring = self.clone();
        let (sender, dialled) = oneshot::channel();
        tokio::spawn(async move {
            let result = wiring.knock_until_answered(id, &sender).await;
            // If the caller is gone, the connection is dropped here.
            let _ = sender.send(result);
        });
        dialled.await.unwrap_or(Err(DialError::PeerGone(PeerGone)))
    }

    async fn knock_until_answered(
        self: &Arc<Self>,
        id: u32,
        caller: &oneshot::Sender<Result<Channel, DialError>>,
    ) -> Result<Channel, DialError> {
        let limit = self.link.timeout;
        let mut turn_until = time::after(limit.saturating_mul(2));
        let mut until = None;
        let mut refused = None;
        loop {
            let turn = timeout_at(turn_until, self.turn.clone().lock_owned()).await;
            let until = *until.get_or_insert_with(|| time::after(limit));
            turn_until = until;
            let knocked = match turn {
                Ok(turn) => self.knock_once(id, turn, until).await,
                Err(_) => Err(DialError::Timeout { id, limit }),
            };
            refused = match (knocked, refused) {
                (Err(DialError::Refused { id, why }), _) => Some(DialError::Refused { id, why }),
                // The peer's last refusal says more than that there was no time to knock again.
                (Err(DialError::Timeout { .. }), Some(refused)) => return Err(refused),
                (result, _) => return result,
            };
            if caller.is_closed() {
                return Err(DialError::PeerGone(PeerGone));
            }
            tokio::time::sleep(KNOCK_AGAIN).await;
        }
    }

    async fn knock_once(
        self: &Arc<Self>,
        id: u32,
        turn: Turn,
        until: Instant,
    ) -> Result<Channel, DialError> {
        let limit = self.link.timeout;
        let timed_out = |_| DialError::Timeout { id, limit };
        let mut answered = timeout_at(until, self.knock(id)).await.map_err(timed_out)??;
        // The turn is held for the rest of this dial's time, because a Go peer may still answer.
        let answer = match timeout_at(until, &mut answered).await {
            Ok(answer) => answer,
            Err(elapsed) => {
                // The answer may have come just now. If it comes later, `take_ack` finds no dial.
                answered.close();
                if let Ok(Ok(())) = answered.try_recv() {
                    self.consume(id);
                }
                return Err(timed_out(elapsed));
            }
        };
        match answer {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Err(DialError::Refused { id, why: excerpt(why) }),
            Err(_) => return Err(DialError::PeerGone(PeerGone)),
        }
        let io = match timeout_at(until, self.open_stream(id)).await {
            Ok(io) => io?,
            Err(elapsed) => {
                self.consume(id);
                return Err(timed_out(elapsed));
            }
        };
        let connecting = self.link.establish(id, Box::new(UntilTaken::new(io, turn)));
        timeout_at(until, connecting).await.map_err(timed_out)?
    }

    /// Sends a knock. The receiver gets the peer's answer.
    async fn knock(&self, id: u32) -> Result<oneshot::Receiver<Result<(), String>>, DialError> {
        self.link.wait_for(|state| (state.outbound.is_some() || state.gone).then_some(())).await;
        let (sender, answered) = oneshot::channel();
        {
            let mut state = self.state.lock();
            // Dials that were given up leave theirs behind: `take_ack` must not find those.
            state.acks.retain(|_, waiting| !waiting.is_closed());
            state.acks.insert(id, sender);
        }
        match self.link.outbound() {
            Some(outbound) if outbound.knock(id) => Ok(answered),
            _ => Err(DialError::PeerGone(PeerGone)),
        }
    }

    /// Opens a stream to the peer's main services. No knock goes before it, so no dial may knock until the
    /// peer has taken the stream or the caller has dropped it: the peer would take it for the dial's. Not
    /// cancel safe: run it on a task of its own.
    #[cfg(feature = "host")]
    pub(super) async fn open_main(&self) -> io::Result<BoxIo> {
        use tokio::time::timeout;

        let session = self.session.get().ok_or(io::ErrorKind::NotConnected)?;
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let limit = self.link.timeout;
        let opened = async {
            let turn = timeout(limit.saturating_mul(2), self.turn.clone().lock_owned()).await;
            let turn = turn.map_err(late)?;
            Ok::<_, io::Error>((timeout(limit, session.open()).await.map_err(late)??, turn))
        };
        // A dial that was interrupted by the session's end may still hold the turn.
        let (io, turn) = tokio::select! {
            biased;
            () = session.closed() => return Err(io::ErrorKind::NotConnected.into()),
            opened = opened => opened?,
        };
        Ok(Box::new(UntilTaken::new(io, turn)))
    }

    async fn open_stream(&self, id: u32) -> Result<BoxIo, DialError> {
        let session = self.session.get().ok_or(DialError::PeerGone(PeerGone))?;
        let failed = |cause| DialError::Connect { id, step: ConnectStep::Dial, cause };
        session.open().await.map_err(failed)
    }
}

/// Tells the peer that this side accepts the id, on the newest of the broker's streams, and returns the
/// id if it is now paired with the peer's next stream.
fn acknowledge(outbound: Option<Outbound>, id: u32) -> Option<u32> {
    outbound.is_some_and(|outbound| outbound.acknowledge(id)).then_some(id)
}

/// The streams for one id. Dropping it stops accepting them; a stream that was acknowledged and has not
/// come yet will be dropped.
pub(super) struct Streams {
    id: u32,
    received: mpsc::Receiver<BoxIo>,
    wiring: Arc<Multiplexed>,
}

impl Streams {
    /// Returns the next stream. Cancel safe.
    pub(super) async fn accept(&mut self) -> Option<BoxIo> {
        self.received.recv().await
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.wiring.state.lock().listeners.remove(&self.id);
    }
}
