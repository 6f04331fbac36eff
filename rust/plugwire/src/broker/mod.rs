//! Brokered connections: further gRPC connections between the two processes, in either direction.
//!
//! A [`Broker`] is a `link` to the peer and a `wiring`. The link knows whether the peer is there and
//! how connections to it are set up. The wiring finds the connection for an id in one of two ways:
//! `per_socket` by the address that the accepting side announces, `multiplexed` by the order of
//! streams on the one socket. `stream` carries the messages of both; `listener` is the accepting end.

mod error;
mod link;
mod listener;
mod multiplexed;
mod outbound;
mod per_socket;
#[cfg(feature = "plugin")]
mod service;
mod stream;
mod trust;
mod turn;
mod wiring;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use error::{DialError, ListenError, PeerGone};
use link::Link;
pub use listener::{BrokeredListener, Serving};
use multiplexed::Multiplexed;
use per_socket::PerSocket;
pub(crate) use trust::Trust;
use wiring::Wiring;

use crate::http2::{Channel, Peer, PeerLimits};
use crate::net::{AddrTranslator, BoxIo, Listen, Mux, Tls};
use crate::services::Services;

/// Opens further connections between host and plugin, for callbacks, with the same four methods in both
/// roles. go-plugin: `GRPCBroker`.
///
/// One side accepts connections under an id ([`Broker::serve`], or [`Broker::listen`] and then serve) and
/// tells the other side the id in a message of its own contract. The other side dials the id. Ids from
/// [`Broker::next_id`] never collide with each other; you can also choose ids yourself. Brokered
/// connections have the TLS and HTTP/2 settings of the main connection.
///
/// A clone is cheap and is the same broker. Every wait ends when the peer is gone, and at the latest after
/// `broker_timeout` (default 5 s, as in go-plugin).
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    last_id: AtomicU32,
    link: Arc<Link>,
    wiring: Arc<Wiring>,
}

/// What a broker needs to know.
pub(crate) struct Settings {
    /// Whether all connections share one socket.
    pub(crate) multiplexed: bool,
    /// Where sockets are made, without multiplexing.
    pub(crate) listen: Listen,
    pub(crate) tls: Option<Tls>,
    pub(crate) limits: PeerLimits,
    /// `broker_timeout`.
    pub(crate) timeout: Duration,
    pub(crate) trust: Trust,
    /// Set where the other side sees other paths.
    pub(crate) translate: Option<Arc<dyn AddrTranslator>>,
    /// Explains why a brokered connection broke. Without one, the broker says "the peer is gone".
    pub(crate) peer: Option<Arc<dyn Peer>>,
}

impl Broker {
    pub(crate) fn new(settings: Settings) -> Self {
        let Settings { multiplexed, listen, tls, limits, timeout, trust, translate, peer } =
            settings;
        let link = Arc::new(Link::new(tls, limits, timeout, peer));
        let wiring = match multiplexed {
            true => Wiring::Multiplexed(Arc::new(Multiplexed::new(link.clone()))),
            false => Wiring::PerSocket(PerSocket::new(link.clone(), listen, trust, translate)),
        };
        Self(Arc::new(Inner { last_id: AtomicU32::new(0), link, wiring: Arc::new(wiring) }))
    }

    /// Returns an id for the next brokered connection. Each side counts from 1, and the same number on
    /// the two sides means two different connections. go-plugin: `GRPCBroker.NextId`.
    #[must_use]
    pub fn next_id(&self) -> u32 {
        self.0.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Starts to accept connections under this id and tells the peer. Serve them with
    /// [`BrokeredListener::serve`]; connections that arrive earlier wait. Dropping the listener stops
    /// accepting and removes its socket. go-plugin: `GRPCBroker.Accept`.
    ///
    /// Waits until the peer's stream is there, for at most `broker_timeout`.
    ///
    /// Cancel safety: dropping the future ends the listener.
    pub async fn listen(&self, id: u32) -> Result<BrokeredListener, ListenError> {
        let (source, session) = self.0.wiring.listen(id).await?;
        Ok(BrokeredListener::new(self.0.link.clone(), id, source, session))
    }

    /// Accepts connections under this id, and serves them until the returned value is dropped or the peer
    /// goes. go-plugin: `GRPCBroker.AcceptAndServe`.
    pub async fn serve(&self, id: u32, services: Services) -> Result<Serving, ListenError> {
        Ok(self.listen(id).await?.serve(services))
    }

    /// Connects to what the peer accepts under this id, now or within `broker_timeout`. An id can be
    /// dialled several times if the peer keeps accepting, as a Go peer's listener does. go-plugin:
    /// `GRPCBroker.Dial`.
    ///
    /// With multiplexing, dials run one after another, because a Go peer tells streams apart only by
    /// their order. A dial of an id that the peer never accepts delays the dials behind it. A dial can
    /// queue for twice `broker_timeout`, then gets the full `broker_timeout` itself.
    ///
    /// Cancel safety: dropping the future gives the connection up.
    pub async fn dial(&self, id: u32) -> Result<Channel, DialError> {
        tokio::select! {
            channel = self.0.wiring.dial(id) => channel,
            () = self.0.link.closing.cancelled() => Err(DialError::PeerGone(PeerGone)),
        }
    }

    /// Opens the broker's stream as host, and holds it as long as the connection lasts.
    #[cfg(feature = "host")]
    pub(crate) fn open(&self, channel: Channel) {
        stream::open(channel, self.0.link.clone(), self.0.wiring.clone());
    }

    /// Returns the service that takes the broker's stream as plugin.
    #[cfg(feature = "plugin")]
    pub(crate) fn service(&self) -> BrokerServer {
        let (link, wiring) = (self.0.link.clone(), self.0.wiring.clone());
        BrokerServer::new(service::BrokerService { link, wiring })
    }

    /// Sets the session that carries all connections, with multiplexing.
    pub(crate) fn set_session(&self, session: Mux) {
        if let Some(streams) = self.0.wiring.multiplexed() {
            streams.set_session(session);
        }
    }

    /// Takes a stream that the peer opened in the multiplexed session. Returns it if it is not a brokered
    /// connection. Must be called before anything is read that the peer sent later.
    pub(crate) fn take_stream(&self, io: BoxIo) -> Option<BoxIo> {
        match self.0.wiring.multiplexed() {
            Some(streams) => streams.take_stream(io),
            None => Some(io),
        }
    }

    /// Opens another stream to the peer's main services in the multiplexed session. Not cancel safe: run
    /// it on a task of its own.
    #[cfg(feature = "host")]
    pub(crate) async fn open_main(&self) -> std::io::Result<BoxIo> {
        match self.0.wiring.multiplexed() {
            Some(streams) => streams.open_main().await,
            None => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }

    /// Ends everything: listeners, dials in progress, and connections that were dialled.
    pub(crate) fn close(&self) {
        self.0.link.closing.cancel();
    }

    /// Returns a token that is cancelled when the broker is closed.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.0.link.closing.child_token()
    }
}

#[cfg(feature = "plugin")]
type BrokerServer =
    crate::generated::plugin::grpc_broker_server::GrpcBrokerServer<service::BrokerService>;

/// Closes a broker when it is dropped.
pub(crate) struct CloseOnDrop(pub(crate) Broker);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("multiplexed", &self.0.wiring.multiplexed().is_some())
            .finish_non_exhaustive()
    }
}
