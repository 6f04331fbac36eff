//! With multiplexing: all connections are streams of one session, and only their order tells which is which.
//!
//! The dialer knocks on the broker's stream, the acceptor acknowledges, and the next stream that the dialer opens is that
//! connection. Spec: MUX-9 to MUX-20.
//!
//! As dialer we hold one turn from the knock until the peer has really taken the stream, which its first byte shows: a Go
//! host lets two acknowledged connections race for the next two streams. As acceptor we rely on the other side doing
//! the same, so a new knock proves that the one before was given up.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use plugwire_protocol::evidence::excerpt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Mutex as Turns, OwnedMutexGuard, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::listener::Source;
use super::{Broker, DialError, ListenError, PeerGone};
use crate::generated::plugin::{ConnInfo, Knock};
use crate::http2::{Channel, ConnectStep};
use crate::net::BoxIo;
use crate::net::mux::Mux;

/// Connections that a listener has not taken yet.
const BACKLOG: usize = 64;
/// Streams under way for acknowledgements that came too late, or unasked. A peer that behaves has one at a time.
const MOST_LATE: usize = 64;
/// A Go host refuses ids at once that it does not accept *yet*; asking again after a while finds it ready.
const KNOCK_AGAIN: Duration = Duration::from_millis(20);

pub(super) struct Knocks {
    session: OnceLock<Mux>,
    turn: Arc<Turns<()>>,
    late: Arc<Semaphore>,
    state: Mutex<State>,
}

impl Default for Knocks {
    fn default() -> Self {
        Self {
            session: OnceLock::new(),
            turn: Arc::default(),
            late: Arc::new(Semaphore::new(MOST_LATE)),
            state: Mutex::default(),
        }
    }
}

#[derive(Default)]
struct State {
    /// As dialer: who waits for an acknowledgement.
    acks: HashMap<u32, oneshot::Sender<Result<(), String>>>,
    /// As acceptor: who takes streams.
    listeners: HashMap<u32, mpsc::Sender<BoxIo>>,
    /// The id that was acknowledged last and whose stream has not come.
    pairing: Option<u32>,
    /// A knock for an id that nobody listens on, kept for a while: it may come right.
    unanswered: Option<(u32, Instant)>,
}

impl Broker {
    /// The session that all streams belong to. Set once: a multiplexed plugin has one host.
    pub(crate) fn set_session(&self, session: Mux) {
        let _ = self.0.knocks.session.set(session);
    }

    fn knocks(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change.
        self.0.knocks.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a stream that the peer opened. Gives it back if no knock came before it.
    ///
    /// Must be called before anything is read that the peer sent after it: the next knock takes its pairing.
    pub(crate) fn take_stream(&self, io: BoxIo) -> Option<BoxIo> {
        let mut state = self.knocks();
        let Some(id) = state.pairing.take() else { return Some(io) };
        match state.listeners.get(&id).map(|listener| listener.try_send(io)) {
            Some(Ok(())) => {}
            // The listener went after its knock was acknowledged, or does not keep up. Dropping the stream tells the
            // dialer, and holds up nobody else.
            _ => tracing::debug!(id, "a brokered stream came to a listener that is not there"),
        }
        None
    }

    /// A knock, or the answer to one.
    pub(super) fn take_knock(&self, id: u32, knock: Knock) {
        if knock.ack {
            self.take_ack(id, if knock.error.is_empty() { Ok(()) } else { Err(knock.error) });
            return;
        }
        let mut state = self.knocks();
        state.pairing = None;
        if state.listeners.contains_key(&id) {
            state.pairing = self.acknowledge(id).then_some(id);
            state.unanswered = None;
        } else {
            state.unanswered = Some((id, Instant::now() + self.0.settings.timeout));
        }
    }

    fn acknowledge(&self, id: u32) -> bool {
        self.answer(ConnInfo {
            service_id: id,
            knock: Some(Knock { knock: true, ack: true, error: String::new() }),
            ..ConnInfo::default()
        })
    }

    fn take_ack(&self, id: u32, answer: Result<(), String>) {
        let waiting = self.knocks().acks.remove(&id);
        let paired = answer.is_ok();
        let taken = waiting.is_some_and(|waiting| waiting.send(answer).is_ok());
        if paired && !taken {
            self.consume(id);
        }
    }

    /// The dial gave up, and the peer has lined up a stream for it all the same. Without one, the next stream of any
    /// id would go to the wrong listener.
    fn consume(&self, id: u32) {
        let Ok(permit) = self.0.knocks.late.clone().try_acquire_owned() else {
            return tracing::debug!(id, "the peer acknowledges what nobody asked for");
        };
        let broker = self.clone();
        tokio::spawn(async move {
            if let Ok(mut io) = broker.open_stream(id).await {
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut io).await;
            }
            drop(permit);
        });
    }

    /// Accepts streams for an id from now on.
    pub(super) fn register(&self, id: u32) -> Result<Source, ListenError> {
        let (sender, streams) = mpsc::channel(BACKLOG);
        let mut state = self.knocks();
        if state.listeners.contains_key(&id) {
            return Err(ListenError::InUse { id });
        }
        state.listeners.insert(id, sender);
        if let Some((_, until)) = state.unanswered.take_if(|(waiting, _)| *waiting == id)
            && Instant::now() < until
        {
            state.pairing = self.acknowledge(id).then_some(id);
        }
        Ok(Source::Streams(streams))
    }

    /// Accepts no more. A stream that was acknowledged and is still to come will be dropped.
    pub(super) fn unregister(&self, id: u32) {
        self.knocks().listeners.remove(&id);
    }

    /// Forgets all that was agreed with a peer that is gone.
    pub(super) fn forget_knocks(&self) {
        let mut state = self.knocks();
        state.acks.clear();
        state.pairing = None;
        state.unanswered = None;
    }

    /// Dials by knocking. Runs on a task of its own, so that a caller who drops the future half-way leaves no pairing
    /// unconsumed.
    pub(super) async fn knock(&self, id: u32) -> Result<Channel, DialError> {
        let broker = self.clone();
        let (sender, dialled) = oneshot::channel();
        tokio::spawn(async move {
            let result = broker.knock_until_answered(id, &sender).await;
            // Whoever dropped the receiver drops the connection with it.
            let _ = sender.send(result);
        });
        dialled.await.unwrap_or(Err(DialError::PeerGone(PeerGone)))
    }

    async fn knock_until_answered(
        &self,
        id: u32,
        caller: &oneshot::Sender<Result<Channel, DialError>>,
    ) -> Result<Channel, DialError> {
        let limit = self.0.settings.timeout;
        let mut turn_until = Instant::now() + 2 * limit;
        let mut until = None;
        let mut refused = None;
        loop {
            let turn = timeout_at(turn_until, self.0.knocks.turn.clone().lock_owned()).await;
            let until = *until.get_or_insert_with(|| Instant::now() + limit);
            turn_until = until;
            let knocked = match turn {
                Ok(turn) => self.knock_once(id, turn, until).await,
                Err(_) => Err(DialError::Timeout { id, limit }),
            };
            refused = match (knocked, refused) {
                (Err(DialError::Refused { id, why }), _) => Some(DialError::Refused { id, why }),
                // The last answer says more than that there was no time for another.
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
        &self,
        id: u32,
        turn: OwnedMutexGuard<()>,
        until: Instant,
    ) -> Result<Channel, DialError> {
        let limit = self.0.settings.timeout;
        let timed_out = |_| DialError::Timeout { id, limit };
        let mut answered = timeout_at(until, self.ask(id)).await.map_err(timed_out)??;
        // Whoever comes next waits out what is left of this dial's time: a Go peer may still answer.
        let answer = match timeout_at(until, &mut answered).await {
            Ok(answer) => answer,
            Err(elapsed) => {
                // It may have come just now. If it has not, the next one finds nobody waiting.
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
        let connecting = self.establish(id, Box::new(UntilTaken { io, turn: Some(turn) }));
        timeout_at(until, connecting).await.map_err(timed_out)?
    }

    /// Sends the knock.
    async fn ask(&self, id: u32) -> Result<oneshot::Receiver<Result<(), String>>, DialError> {
        self.wait_for(|state| (state.outbound.is_some() || state.gone).then_some(())).await;
        let (sender, answered) = oneshot::channel();
        {
            let mut state = self.knocks();
            // Dials that gave up leave theirs behind; an answer that comes late is told by finding none.
            state.acks.retain(|_, waiting| !waiting.is_closed());
            state.acks.insert(id, sender);
        }
        let knock = Knock { knock: true, ack: false, error: String::new() };
        let sent =
            self.tell(ConnInfo { service_id: id, knock: Some(knock), ..ConnInfo::default() });
        if sent { Ok(answered) } else { Err(DialError::PeerGone(PeerGone)) }
    }

    /// A stream that no knock goes before: one to the peer's main services. Nobody knocks until the peer has taken it, or the
    /// caller has given up its connection; the peer would take it for the knock's. Not cancel safe: run it on a task of
    /// its own.
    pub(crate) async fn open_main(&self) -> io::Result<BoxIo> {
        let session = self.0.knocks.session.get().ok_or(io::ErrorKind::NotConnected)?;
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let limit = self.0.settings.timeout;
        let opened = async {
            let turn = timeout(2 * limit, self.0.knocks.turn.clone().lock_owned()).await;
            let turn = turn.map_err(late)?;
            Ok::<_, io::Error>((timeout(limit, session.open()).await.map_err(late)??, turn))
        };
        // A dial that the session's end has met may still hold the turn.
        let (io, turn) = tokio::select! {
            biased;
            () = session.closed() => return Err(io::ErrorKind::NotConnected.into()),
            opened = opened => opened?,
        };
        Ok(Box::new(UntilTaken { io, turn: Some(turn) }))
    }

    async fn open_stream(&self, id: u32) -> Result<BoxIo, DialError> {
        let session = self.0.knocks.session.get().ok_or(DialError::PeerGone(PeerGone))?;
        let failed = |cause| DialError::Connect { id, step: ConnectStep::Dial, cause };
        session.open().await.map_err(failed)
    }
}

/// A stream that keeps the dialer's turn until the peer has shown, by its first byte, that the stream is in the
/// right hands.
struct UntilTaken {
    io: BoxIo,
    turn: Option<OwnedMutexGuard<()>>,
}

impl AsyncRead for UntilTaken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.turn = None;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UntilTaken {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
