//! A plugin that accepts connections, until it ends in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::builder::Plugin;
use super::capture::Capture;
use super::controller::Controller;
use super::error::ServeError;
use super::exit::{ExitWatch, OwnProcess};
use super::reflection::REFLECTION;
use super::stdio::Hub;
use super::{log, reflection};
use crate::broker::{self, Broker, CloseOnDrop};
use crate::generated::grpc::health::v1::health_server::{self, HealthServer};
use crate::generated::plugin::grpc_broker_server;
use crate::generated::plugin::grpc_controller_server::{self, GrpcControllerServer};
use crate::generated::plugin::grpc_stdio_server::{self, GrpcStdioServer};
use crate::http2::{Guest, Guests, PeerLimits, Presence, Server};
use crate::net::{Accepted, BoxIo, Listen, Listener, Mode, Mux, Tls};
use crate::services::Services;

/// How long the host may take to read what was printed, once the plugin ends.
const FLUSH: Duration = Duration::from_secs(1);
/// How long the host may then take to close its connection.
const GOODBYE: Duration = Duration::from_millis(500);
/// How many streams of a multiplexed host may wait to be served.
const MAX_MAIN_STREAMS: usize = 16;

/// A plugin that is ready to accept connections.
pub(super) struct Running {
    server: Server,
    guests: Guests,
    tls: Option<Tls>,
    hub: Arc<Hub>,
    drain: Duration,
    shutdowns: mpsc::Receiver<oneshot::Sender<()>>,
    broker: CloseOnDrop,
    multiplexed: bool,
}

impl Running {
    pub(super) fn prepare(
        mut plugin: Plugin,
        version: u32,
        tls: Option<Tls>,
        listen: Listen,
        multiplexed: bool,
    ) -> Result<Self, ServeError> {
        let make = plugin.versions.remove(&version).ok_or(ServeError::NoVersions)?;
        let limits = PeerLimits::new(plugin.http2);
        let broker = Broker::new(broker::Settings {
            multiplexed,
            listen,
            tls: tls.clone(),
            limits: limits.clone(),
            timeout: plugin.broker_timeout,
            trust: broker::Trust::Anywhere,
            translate: None,
            peer: None,
        });
        let services = make(Services::new(), broker.clone());
        let own = [
            health_server::SERVICE_NAME,
            grpc_controller_server::SERVICE_NAME,
            grpc_stdio_server::SERVICE_NAME,
            grpc_broker_server::SERVICE_NAME,
        ];
        let mut own = own.into_iter().chain(REFLECTION);
        if let Some(taken) = own.find(|own| services.names().any(|name| name == *own)) {
            return Err(ServeError::BuiltInService(taken));
        }
        let (controller, shutdowns) = Controller::new();
        let services = services
            .add(HealthServer::new(plugin.health.clone()))
            .add(GrpcControllerServer::new(controller))
            .add(GrpcStdioServer::new(plugin.hub.clone()))
            .add(broker.service());
        let services = reflection::add(services)?;
        let guests = limits.guests.clone();
        let server = Server::new(services.into_dispatch(), limits);
        Ok(Self {
            server,
            guests,
            tls,
            hub: plugin.hub,
            drain: plugin.drain,
            shutdowns,
            broker: CloseOnDrop(broker),
            multiplexed,
        })
    }

    /// Serves until `Shutdown`, then ends in order: calls in progress, printed output, the answer, the
    /// connections. With `process`, it also ends when the host is gone, and what is returned watches
    /// that the process exits.
    pub(super) async fn run(
        mut self,
        listener: Listener,
        captures: Vec<Capture>,
        process: Option<OwnProcess>,
    ) -> Option<ExitWatch> {
        let mut connections = JoinSet::new();
        let (main_streams, mut streams) = mpsc::channel(MAX_MAIN_STREAMS);
        let mut session: Option<Mux> = None;
        // Outlives the iterations of the loop: connections and failed accepts do not restart the watch.
        let presence = self.server.presence.clone();
        let mut orphaned = Box::pin(orphaned(process.as_ref(), &presence));
        let mut host_is_gone = false;
        let guests = self.guests.clone();
        let answer = loop {
            tokio::select! {
                (accepted, guest) = accept(&guests, &listener), if session.is_none() => {
                    if self.multiplexed {
                        session = Some(self.multiplex(accepted.io, main_streams.clone()));
                    } else {
                        let server = self.server.clone().for_peer(accepted.peer);
                        connections.spawn(server.serve(accepted.io, self.tls.clone(), guest));
                    }
                }
                (guest, Some(io)) = async { (guests.place().await, streams.recv().await) } => {
                    connections.spawn(self.server.clone().serve(io, self.tls.clone(), guest));
                }
                Some(_) = connections.join_next() => {}
                Some(answer) = self.shutdowns.recv() => break Some(answer),
                // As in Go: no other host can ever connect to a multiplexed plugin.
                () = ended(session.as_ref()) => break None,
                () = &mut orphaned, if session.is_none() => {
                    host_is_gone = true;
                    break None;
                }
            }
        };
        drop(orphaned);
        let watch = process.map(OwnProcess::exit_in_time);
        drop(listener);
        if host_is_gone {
            // The process will now exit even if this write blocks.
            log::warn("the host is gone: the plugin ends");
        }
        self.server.calls.finished(self.drain).await;
        self.flush(captures).await;
        let _ = answer.map(|answer| answer.send(()));
        self.server.drain.cancel();
        let all_closed = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GOODBYE, all_closed).await;
        watch
    }

    /// Makes the first connection of a multiplexed plugin its one session. A stream without a knock before
    /// it is a connection to the main services. Spec: MUX-4 and MUX-7.
    fn multiplex(&self, io: BoxIo, main: mpsc::Sender<BoxIo>) -> Mux {
        let broker = self.broker.0.clone();
        let cut = self.broker.0.closing();
        let session = Mux::start(io, Mode::Server, cut, move |io| {
            if let Some(io) = broker.take_stream(io) {
                // Full only if the host opens dozens of streams and uses none; further ones are dropped.
                let _ = main.try_send(io);
            }
        });
        self.broker.0.set_session(session.clone());
        session
    }

    async fn flush(&self, captures: Vec<Capture>) {
        self.hub.end_waiting();
        // Restoring the descriptors waits for the threads that read the pipes.
        let restored = tokio::task::spawn_blocking(move || drop(captures));
        let _ = tokio::time::timeout(FLUSH, restored).await;
        let emptied = tokio::time::timeout(FLUSH, self.hub.emptied()).await;
        self.hub.close();
        if emptied.is_err() {
            log::warn("the host did not read everything that the plugin printed");
        }
        self.hub.report_dropped();
    }
}

/// Accepts a connection once there is a place for it. Cancel safe.
async fn accept(guests: &Guests, listener: &Listener) -> (Accepted, Guest) {
    let guest = guests.place().await;
    (listener.accept(|| guests.make_room(), not_accepted).await, guest)
}

fn not_accepted(error: std::io::Error) {
    log::warn(&format!("a connection could not be accepted: {error}"));
}

async fn orphaned(process: Option<&OwnProcess>, presence: &Presence) {
    match process {
        Some(process) => process.orphaned(presence).await,
        None => std::future::pending().await,
    }
}

async fn ended(session: Option<&Mux>) {
    match session {
        Some(session) => session.closed().await,
        None => std::future::pending().await,
    }
}
