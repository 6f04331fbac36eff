//! Brokered connections: further gRPC connections between the two processes, in either direction.
//!
//! [`Broker`] has the four verbs. `stream` carries what the two sides tell each other; `announcements` finds a
//! connection by address (each on a socket of its own), `knocks` by order of streams (all on one multiplexed socket);
//! `serving` is what stands at the accepting end.

mod per_socket;
mod error;
mod multiplexed;
mod listener;
mod stream;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Services;
use crate::http2::channel::Peer;
use crate::http2::connection;
use crate::http2::{Channel, Http2};
use crate::net::listener::{Listen, Listener};
use crate::net::{AddrTranslator, BoxIo, Tls};

use per_socket::Announcements;
pub(crate) use per_socket::Trust;
pub use error::{DialError, ListenError, PeerGone};
use multiplexed::Knocks;
use listener::Source;
pub use listener::{BrokeredListener, Serving};
use stream::Outbound;

/// Opens further connections between host and plugin, for callbacks, with the same four verbs in both roles.
/// go-plugin: `GRPCBroker`.
///
/// One side accepts under an id ([`Broker::serve`], or [`Broker::listen`] and then serve), tells the other the id in
/// a message of its own contract, and the other dials it. Ids from [`Broker::next_id`] never collide with each other; ids
/// chosen by hand work as well. Brokered connections have the TLS and the HTTP/2 settings of the main one.
///
/// A clone is cheap and is the same broker. All waits end when the peer is gone, and at the latest after
/// `broker_timeout` (5 s unless set otherwise, as in go-plugin).
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

/// What a broker is told at its making.
pub(crate) struct Settings {
    /// Whether connections share one socket.
    pub(crate) multiplexed: bool,
    /// Where sockets of its own are made, without multiplexing.
    pub(crate) listen: Listen,
    pub(crate) tls: Option<Tls>,
    pub(crate) http2: Http2,
    pub(crate) timeout: Duration,
    pub(crate) trust: Trust,
    /// Where the other side sees other paths.
    pub(crate) translate: Option<Arc<dyn AddrTranslator>>,
    /// Who explains why a brokered connection broke; the broker itself says "the peer is gone" without one.
    pub(crate) peer: Peer,
}

struct Inner {
    last_id: AtomicU32,
    settings: Settings,
    state: Mutex<State>,
    /// Counts changes of `state`, for whoever waits for one.
    changes: watch::Sender<u64>,
    knocks: Knocks,
    /// Cancelled when the side that owns the broker ends.
    closing: CancellationToken,
}

#[derive(Default)]
struct State {
    outbound: Option<Outbound>,
    /// The peer was here, and went.
    gone: bool,
    announcements: Announcements,
    /// Cancelled when the peer goes; a later peer gets a new one.
    session: CancellationToken,
}

impl Broker {
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            last_id: AtomicU32::new(0),
            settings,
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            knocks: Knocks::default(),
            closing: CancellationToken::new(),
        }))
    }

    /// An id for the next brokered connection. Each side counts its own from 1, and equal ids of the two sides are
    /// different things. go-plugin: `GRPCBroker.NextId`.
    pub fn next_id(&self) -> u32 {
        self.0.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Begins to accept connections to this id, and tells the peer. Serve them with [`BrokeredListener::serve`]; those that
    /// come before that wait. Waits until the peer's stream is there, at most `broker_timeout`. Dropping the listener
    /// ends it and removes its socket. go-plugin: `GRPCBroker.Accept`.
    ///
    /// Cancel safety: dropping the future ends the listener.
    pub async fn listen(&self, id: u32) -> Result<BrokeredListener, ListenError> {
        if self.0.settings.multiplexed {
            let session = self.session()?;
            return Ok(BrokeredListener::new(self.clone(), id, self.register(id)?, session));
        }
        let listener = Listener::bind(&self.0.settings.listen).map_err(ListenError::Socket)?;
        let mut address = listener.address();
        if let Some(translate) = &self.0.settings.translate {
            address = translate.to_plugin(address).map_err(ListenError::Socket)?;
        }
        let outbound = self.attached(id).await?;
        let session = self.session()?;
        outbound.announce(id, &address);
        Ok(BrokeredListener::new(self.clone(), id, Source::Socket(listener), session))
    }

    /// Accepts connections to this id and serves them until the returned value is dropped, or the peer goes.
    /// go-plugin: `GRPCBroker.AcceptAndServe`.
    pub async fn serve(&self, id: u32, services: Services) -> Result<Serving, ListenError> {
        Ok(self.listen(id).await?.serve(services))
    }

    /// Connects to what the peer accepts under this id, now or within `broker_timeout`. An id can be dialled several
    /// times, if the peer goes on accepting (a Go peer's listener does). go-plugin: `GRPCBroker.Dial`.
    ///
    /// Multiplexed, dials are made one after another: a Go peer tells streams apart by their order alone. Dialling an
    /// id that a plugin never accepts holds up the dials behind it for its time; they wait for their turn up to twice
    /// `broker_timeout`, and then have all of their own.
    ///
    /// Cancel safety: dropping the future gives the connection up.
    pub async fn dial(&self, id: u32) -> Result<Channel, DialError> {
        let limit = self.0.settings.timeout;
        let dialled = async {
            if self.0.settings.multiplexed {
                return self.knock(id).await;
            }
            let dialled = tokio::time::timeout(limit, self.dial_announced(id));
            dialled.await.unwrap_or(Err(DialError::Timeout { id, limit }))
        };
        tokio::select! {
            channel = dialled => channel,
            () = self.0.closing.cancelled() => Err(DialError::PeerGone(PeerGone)),
        }
    }

    /// Cancelled when the peer that is there now, or is awaited, goes.
    fn session(&self) -> Result<CancellationToken, ListenError> {
        let state = self.lock();
        if state.gone || self.0.closing.is_cancelled() {
            return Err(ListenError::PeerGone(PeerGone));
        }
        Ok(state.session.clone())
    }

    /// Ends everything: accepting, dials under way, and connections that were dialled.
    pub(crate) fn close(&self) {
        self.0.closing.cancel();
    }

    /// Cancelled when the broker is closed.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.0.closing.child_token()
    }

    /// Makes a connection of a byte stream to the peer.
    async fn establish(&self, id: u32, io: BoxIo) -> Result<Channel, DialError> {
        let Settings { tls, http2, peer, .. } = &self.0.settings;
        let peer = peer.clone().unwrap_or_else(|| Arc::new(self.clone()));
        let (tls, http2, cut) = (tls.clone(), http2.clone(), self.0.closing.child_token());
        Channel::establish(io, connection::Settings { tls, http2, cut }, Some(peer), None)
            .await
            .map_err(|(step, cause)| DialError::Connect { id, step, cause })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.0.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Waits until `look` finds something in the state. The caller sets the deadline; cancel safe.
    async fn wait_for<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut changes = self.0.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            // The sender lives in `self`.
            let _ = changes.changed().await;
        }
    }

    /// Waits for the peer's stream.
    async fn attached(&self, id: u32) -> Result<Outbound, ListenError> {
        let limit = self.0.settings.timeout;
        let attached = self.wait_for(|state| match &state.outbound {
            Some(outbound) => Some(Ok(outbound.clone())),
            None if state.gone => Some(Err(ListenError::PeerGone(PeerGone))),
            None => None,
        });
        tokio::select! {
            outbound = tokio::time::timeout(limit, attached) => {
                outbound.unwrap_or(Err(ListenError::Timeout { id, limit }))
            }
            () = self.0.closing.cancelled() => Err(ListenError::PeerGone(PeerGone)),
        }
    }
}

/// Closes a broker with whatever owns this.
pub(crate) struct CloseOnDrop(pub(crate) Broker);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("multiplexed", &self.0.settings.multiplexed)
            .finish_non_exhaustive()
    }
}
