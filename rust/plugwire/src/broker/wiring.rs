//! The two ways in which host and plugin find each other's brokered connections.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::error::{DialError, ListenError};
use super::listener::Source;
use super::multiplexed::Multiplexed;
use super::per_socket::PerSocket;
use crate::generated::plugin::ConnInfo;
use crate::http2::Channel;

/// How brokered connections are made. Host and plugin agree on it in the handshake.
pub(super) enum Wiring {
    /// Each on a socket of its own, found by the address that the accepting side announces.
    PerSocket(PerSocket),
    /// All on one socket, found by the order of streams.
    Multiplexed(Arc<Multiplexed>),
}

impl Wiring {
    /// Accepts connections under an id. The token is cancelled when the peer goes.
    pub(super) async fn listen(&self, id: u32) -> Result<(Source, CancellationToken), ListenError> {
        match self {
            Wiring::PerSocket(sockets) => {
                let (listener, session) = sockets.listen(id).await?;
                Ok((Source::Socket(listener), session))
            }
            Wiring::Multiplexed(streams) => {
                let (streams, session) = streams.listen(id)?;
                Ok((Source::Streams(streams), session))
            }
        }
    }

    /// Connects to what the peer accepts under an id.
    pub(super) async fn dial(&self, id: u32) -> Result<Channel, DialError> {
        match self {
            Wiring::PerSocket(sockets) => sockets.dial(id).await,
            Wiring::Multiplexed(streams) => streams.dial(id).await,
        }
    }

    /// Takes a message of the peer. `from` sends to the same peer.
    pub(super) fn hear(&self, mut message: ConnInfo) {
        match (self, message.knock.take()) {
            (Wiring::PerSocket(sockets), None) => sockets.hear(message),
            (Wiring::Multiplexed(streams), Some(knock)) => streams.hear(message.service_id, knock),
            (_, knock) => tracing::debug!(
                id = message.service_id,
                knock = knock.is_some(),
                "ignored a broker message of the other wiring"
            ),
        }
    }

    /// Forgets what a peer that is gone has said.
    pub(super) fn forget(&self) {
        match self {
            Wiring::PerSocket(sockets) => sockets.forget(),
            Wiring::Multiplexed(streams) => streams.forget(),
        }
    }

    /// Returns the multiplexed wiring, if this is that.
    pub(super) fn multiplexed(&self) -> Option<&Arc<Multiplexed>> {
        match self {
            Wiring::PerSocket(_) => None,
            Wiring::Multiplexed(streams) => Some(streams),
        }
    }
}
