//! The accepting end of brokered connections.

use std::fmt;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::link::Link;
use super::multiplexed::Streams;
use crate::http2::{Guest, Guests, Server};
use crate::net::{BoxIo, Listener};
use crate::services::Services;

/// Where connections come from.
pub(super) enum Source {
    /// A socket of its own.
    Socket(Listener),
    /// The multiplexed session.
    Streams(Streams),
}

impl Source {
    /// Returns the next connection, or `None` when no more will come. Cancel safe.
    async fn accept(&mut self, guests: &Guests) -> Option<(BoxIo, Guest)> {
        let guest = guests.place().await;
        let io = match self {
            Source::Streams(streams) => streams.accept().await?,
            Source::Socket(listener) => {
                let report =
                    |error| tracing::warn!(%error, "a brokered connection could not be accepted");
                listener.accept(|| guests.make_room(), report).await.io
            }
        };
        Some((io, guest))
    }
}

/// Accepts connections under one id. Dropping it stops accepting and removes its socket.
pub struct BrokeredListener {
    link: Arc<Link>,
    id: u32,
    source: Source,
    /// Cancelled when the peer goes that the id was announced to.
    session: CancellationToken,
}

impl BrokeredListener {
    pub(super) fn new(
        link: Arc<Link>,
        id: u32,
        source: Source,
        session: CancellationToken,
    ) -> Self {
        Self { link, id, source, session }
    }

    /// Returns the id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Serves these services on every connection, in a task of its own.
    pub fn serve(self, services: Services) -> Serving {
        let server = Server::new(services.into_dispatch(), self.link.limits.clone());
        let drain = server.drain.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(self.run(server)));
        Serving { drain, task }
    }

    async fn run(mut self, server: Server) {
        let session = self.session.clone();
        let closing = self.link.closing.clone();
        let tls = self.link.tls.clone();
        let mut connections = JoinSet::new();
        loop {
            let open = !server.drain.is_cancelled();
            tokio::select! {
                accepted = self.source.accept(&self.link.limits.guests), if open => match accepted {
                    Some((io, guest)) => {
                        connections.spawn(server.clone().serve(io, tls.clone(), guest));
                    }
                    None => break,
                },
                Some(_) = connections.join_next() => {}
                () = server.drain.cancelled() => break,
                () = session.cancelled() => return,
                () = closing.cancelled() => return,
            }
        }
        drop(self);
        while connections.join_next().await.is_some() {}
    }
}

impl fmt::Debug for BrokeredListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokeredListener").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Services on a brokered connection. Dropping it ends them and the calls in progress. They also end when
/// the peer goes.
#[derive(Debug)]
#[must_use = "dropping this ends the service"]
pub struct Serving {
    drain: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Serving {
    /// Stops accepting connections and calls, and waits for the calls in progress. The caller sets the
    /// deadline: dropping the future ends those calls.
    pub async fn finish(mut self) {
        self.drain.cancel();
        let _ = (&mut self.task).await;
    }

    /// Waits until the service has ended because the peer is gone. Cancel safe.
    pub async fn ended(&mut self) {
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
    }
}
