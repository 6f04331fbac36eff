//! The accepting end of brokered connections.

use std::fmt;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Broker;
use crate::Services;
use crate::http2::server::{MOST_CONNECTIONS, Server};
use crate::net::BoxIo;
use crate::net::listener::Listener;

/// Where connections come from.
pub(super) enum Source {
    /// A socket of its own.
    Socket(Listener),
    /// The multiplexed session.
    Streams(mpsc::Receiver<BoxIo>),
}

impl Source {
    /// Cancel safe. `None` when no more will come.
    async fn accept(&mut self) -> Option<BoxIo> {
        match self {
            Source::Streams(streams) => streams.recv().await,
            Source::Socket(listener) => {
                let tell =
                    |error| tracing::warn!(%error, "a brokered connection could not be accepted");
                Some(listener.accept(tell).await)
            }
        }
    }
}

/// Accepts connections under one id. Dropping it ends that, and removes its socket.
pub struct BrokeredListener {
    broker: Broker,
    id: u32,
    source: Source,
    /// Cancelled when the peer goes that this was announced to.
    session: CancellationToken,
}

impl BrokeredListener {
    pub(super) fn new(broker: Broker, id: u32, source: Source, session: CancellationToken) -> Self {
        Self { broker, id, source, session }
    }

    /// The id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Serves these services to every connection, on a task of its own.
    pub fn serve(self, services: Services) -> Serving {
        let server = Server::new(services.into_dispatch(), self.broker.0.settings.http2.clone());
        let drain = server.drain.clone();
        let task = tokio::spawn(self.run(server));
        Serving { drain, task }
    }

    async fn run(mut self, server: Server) {
        let session = self.session.clone();
        let closing = self.broker.0.closing.clone();
        let tls = self.broker.0.settings.tls.clone();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                io = self.source.accept(), if connections.len() < MOST_CONNECTIONS && !server.drain.is_cancelled() => match io {
                    Some(io) => { connections.spawn(server.clone().serve(io, tls.clone())); }
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

impl Drop for BrokeredListener {
    fn drop(&mut self) {
        if matches!(self.source, Source::Streams(_)) {
            self.broker.unregister(self.id);
        }
    }
}

impl fmt::Debug for BrokeredListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokeredListener").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Services at a brokered connection. They end when this is dropped, with the calls under way; or when the peer goes.
#[derive(Debug)]
#[must_use = "dropping this ends the service"]
pub struct Serving {
    drain: CancellationToken,
    task: JoinHandle<()>,
}

impl Serving {
    /// Accepts no more connections and no more calls, and waits for the calls under way. The caller sets the deadline:
    /// dropping the future ends them.
    pub async fn finish(mut self) {
        self.drain.cancel();
        let _ = (&mut self.task).await;
    }

    /// Waits until the service has ended by itself: the peer is gone. Cancel safe.
    pub async fn ended(&mut self) {
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}
