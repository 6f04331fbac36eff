//! One plugin process: environment → listen → announce → serve → end.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plugwire_protocol::environment::PluginEnvironment;
use plugwire_protocol::handshake::{CORE_PROTOCOL_VERSION, HandshakeLine};
use plugwire_protocol::{certificate, negotiation};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::capture::{Capture, Descriptor};
use super::controller::Controller;
use super::exit::OwnProcess;
use super::stdio::Hub;
use super::{Plugin, ServeError, log, reflection};
use crate::Services;
use crate::broker::{self, Broker, CloseOnDrop};
use crate::generated::grpc::health::v1::health_server::HealthServer;
use crate::generated::plugin::grpc_controller_server::GrpcControllerServer;
use crate::generated::plugin::grpc_stdio_server::GrpcStdioServer;
use crate::http2::presence::Peers;
use crate::http2::server::{MOST_CONNECTIONS, Server};
use crate::net::mux::{Mode, Mux};
use crate::net::listener::{Listen, Listener};
use crate::net::tls::Identity;
use crate::net::{BoxIo, Tls};

/// How long the host gets to read what was printed, and then to close its connection, once the plugin ends.
const FLUSH: Duration = Duration::from_secs(1);
const GOODBYE: Duration = Duration::from_millis(500);
/// Streams of a multiplexed host that wait to be served.
const MOST_MAIN_STREAMS: usize = 16;

pub(super) async fn serve(plugin: Plugin) -> Result<(), ServeError> {
    let environment =
        PluginEnvironment::read(plugin.handshake.cookie(), |name| std::env::var(name).ok())
            .map_err(ServeError::NotStartedByHost)?;
    for entry in &environment.skipped_versions {
        log::warn(&format!("the host offers `{entry}`, which is no app protocol version"));
    }
    let own: Vec<u32> = plugin.versions.keys().copied().collect();
    let version =
        negotiation::choose(&own, &environment.offered_versions).ok_or(ServeError::NoVersions)?;
    let (tls, certificate) = tls(&plugin, &environment)?;
    let listen = where_to_listen(&plugin, &environment)?;
    let listener = Listener::bind(&listen).map_err(ServeError::Listen)?;
    let address = listener.address();
    ignore_interrupts();

    let line = HandshakeLine {
        core_version: CORE_PROTOCOL_VERSION,
        app_version: version,
        network: address.network(),
        address: address.to_string(),
        certificate,
        // Go's plugins say `true` whatever the variable's value is, and so does this: it means "I know of it".
        multiplex: environment.multiplex_asked.then_some(true),
    };
    let (hub, capture_stderr) = (plugin.hub.clone(), plugin.capture_stderr);
    let (orphaned_after, exit) = (plugin.orphaned_after, plugin.drain.saturating_add(plugin.exit));
    let running = Running::prepare(plugin, version, tls, listen, environment.multiplex)?;
    announce(&line).map_err(ServeError::Line)?;

    let stdout = Capture::begin(Descriptor::Stdout, hub.clone()).map_err(ServeError::Stdio)?;
    let process = OwnProcess { stdout: stdout.original(), orphaned_after, exit };
    let mut captures = vec![stdout];
    if capture_stderr {
        captures.push(Capture::begin(Descriptor::Stderr, hub).map_err(ServeError::Stdio)?);
    }
    running.run(listener, captures, Some(process)).await;
    Ok(())
}

/// The host's certificate decides, unless the author brought a configuration.
fn tls(
    plugin: &Plugin,
    environment: &PluginEnvironment,
) -> Result<(Option<Tls>, Option<Vec<u8>>), ServeError> {
    if let Some(tls) = &plugin.tls {
        return Ok((Some(tls.clone()), None));
    }
    let Some(pem) = &environment.client_certificate_pem else {
        return if plugin.require_mutual_tls {
            Err(ServeError::NoHostCertificate)
        } else {
            Ok((None, None))
        };
    };
    let host = certificate::from_pem(pem)
        .map_err(|error| ServeError::HostCertificate(error.to_string()))?;
    let own = Identity::generate().map_err(|error| ServeError::Tls(error.to_string()))?;
    let tls = Tls::pinned(&own, &host).map_err(|error| ServeError::Tls(error.to_string()))?;
    Ok((Some(tls), Some(own.certificate().to_vec())))
}

fn where_to_listen(plugin: &Plugin, environment: &PluginEnvironment) -> Result<Listen, ServeError> {
    if plugin.tcp {
        let ports = environment.ports.clone().map_err(ServeError::Ports)?;
        return Ok(Listen::Tcp { ports: ports.map(|ports| (ports.min(), ports.max())) });
    }
    Ok(Listen::Unix {
        directory: environment.socket_dir.as_ref().map_or_else(std::env::temp_dir, PathBuf::from),
        group: environment.socket_group.clone(),
    })
}

/// Swallows SIGINT. Ignoring it outright would be inherited by every program that the plugin starts.
fn ignore_interrupts() {
    match signal(SignalKind::interrupt()) {
        Ok(mut interrupts) => {
            tokio::spawn(async move { while interrupts.recv().await.is_some() {} });
        }
        Err(error) => log::warn(&format!("SIGINT cannot be ignored: {error}")),
    }
}

/// The socket listens already: a host may connect as soon as it has read the line. Spec: HS-9.
fn announce(line: &HandshakeLine) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Tells whoever ran the program, or reads the host's log.
pub(super) fn report(error: &ServeError) {
    if let ServeError::NotStartedByHost(error) = error {
        eprintln!("{}", error.explanation());
        return;
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    log::error(&text);
}

/// A plugin that is ready to take connections.
pub(super) struct Running {
    server: Server,
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
        let broker = Broker::new(broker::Settings {
            multiplexed,
            listen,
            tls: tls.clone(),
            http2: plugin.http2.clone(),
            timeout: plugin.broker_timeout,
            trust: broker::Trust::Anywhere,
            translate: None,
            peer: None,
        });
        let services = make(Services::new(), broker.clone());
        let (controller, shutdowns) = Controller::new();
        let services = services
            .add(HealthServer::new(plugin.health.clone()))
            .add(GrpcControllerServer::new(controller))
            .add(GrpcStdioServer::new(plugin.hub.clone()))
            .add(broker.service());
        let services = reflection::add(services)?;
        let server = Server::new(services.into_dispatch(), plugin.http2.clone());
        Ok(Self {
            server,
            tls,
            hub: plugin.hub,
            drain: plugin.drain,
            shutdowns,
            broker: CloseOnDrop(broker),
            multiplexed,
        })
    }

    /// Serves until `Shutdown`, then ends in order: calls under way, printed output, the answer, the connections. In a
    /// process of its own it also ends when the host is gone.
    pub(super) async fn run(
        mut self,
        listener: Listener,
        captures: Vec<Capture>,
        process: Option<OwnProcess>,
    ) {
        let mut connections = JoinSet::new();
        let (main_streams, mut streams) = mpsc::channel(MOST_MAIN_STREAMS);
        let mut session: Option<Mux> = None;
        // One watch for all turns of the loop: strangers and failed accepts do not begin it anew.
        let peers = self.server.peers.clone();
        let mut orphaned = Box::pin(orphaned(process.as_ref(), &peers));
        let mut host_is_gone = false;
        let answer = loop {
            tokio::select! {
                io = listener.accept(not_accepted), if session.is_none() && connections.len() < MOST_CONNECTIONS => {
                    if self.multiplexed {
                        session = Some(self.multiplex(io, main_streams.clone()));
                    } else {
                        connections.spawn(self.server.clone().serve(io, self.tls.clone()));
                    }
                }
                Some(io) = streams.recv(), if connections.len() < MOST_CONNECTIONS => {
                    connections.spawn(self.server.clone().serve(io, self.tls.clone()));
                }
                Some(_) = connections.join_next() => {}
                Some(answer) = self.shutdowns.recv() => break Some(answer),
                // As in Go: nobody else can ever connect to a multiplexed plugin.
                () = ended(session.as_ref()) => break None,
                () = &mut orphaned, if session.is_none() => {
                    host_is_gone = true;
                    break None;
                }
            }
        };
        drop(orphaned);
        if let Some(process) = process {
            process.exit_in_any_case();
        }
        drop(listener);
        if host_is_gone {
            // By now not even this can keep the process from ending.
            log::warn("the host is gone: the plugin ends");
        }
        self.server.calls.finished(self.drain).await;
        self.flush(captures).await;
        let _ = answer.map(|answer| answer.send(()));
        self.server.drain.cancel();
        let all_closed = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GOODBYE, all_closed).await;
    }

    /// Makes the one session of a multiplexed plugin of its first connection. A stream without a knock before it is a
    /// connection to the main services. Spec: MUX-4 and MUX-7.
    fn multiplex(&self, io: BoxIo, main: mpsc::Sender<BoxIo>) -> Mux {
        let broker = self.broker.0.clone();
        let cut = self.broker.0.closing();
        let session = Mux::start(io, Mode::Server, cut, move |io| {
            if let Some(io) = broker.take_stream(io) {
                // Full only when the host opens streams by the dozen and uses none: those beyond are dropped.
                let _ = main.try_send(io);
            }
        });
        self.broker.0.set_session(session.clone());
        session
    }

    async fn flush(&self, captures: Vec<Capture>) {
        self.hub.end_waiting();
        // Giving the descriptors back waits for the threads that read them.
        let given_back = tokio::task::spawn_blocking(move || drop(captures));
        let _ = tokio::time::timeout(FLUSH, given_back).await;
        let emptied = tokio::time::timeout(FLUSH, self.hub.emptied()).await;
        self.hub.close();
        if emptied.is_err() {
            log::warn("the host did not read all that the plugin printed");
        }
        self.hub.report_dropped();
    }
}

fn not_accepted(error: std::io::Error) {
    log::warn(&format!("a connection could not be accepted: {error}"));
}

async fn orphaned(process: Option<&OwnProcess>, peers: &Peers) {
    match process {
        Some(process) => process.orphaned(peers).await,
        None => std::future::pending().await,
    }
}

async fn ended(session: Option<&Mux>) {
    match session {
        Some(session) => session.closed().await,
        None => std::future::pending().await,
    }
}
