//! Brokered connections seen from the host: its end of the broker's stream, and both ways to carry connections.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use plugwire_conformance_wire::answerer::{self, Limits};
use plugwire_conformance_wire::broker::{
    Inbox, acknowledgement, announcement, described, exchange, is_announcement, is_answer,
    is_knock, knock,
};
use plugwire_conformance_wire::caller::{Call, Caller};
use plugwire_conformance_wire::messages::ConnInfo;
use plugwire_conformance_wire::socket::{Address, Io, Listener};
use plugwire_conformance_wire::tls::{self, Tls};
use plugwire_conformance_wire::trace::Trace;
use plugwire_conformance_wire::yamux::Session;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::callbacks;

pub(super) const NEST: &str = "/plugwire.probe.v1.BrokerProbe/Nest";

/// The host's broker. Clones share it.
#[derive(Clone)]
pub(super) struct Broker(Arc<Shared>);

/// Owns the broker. Dropping it ends the stream and everything that the broker serves.
pub(super) struct Held(pub(super) Broker);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.tasks.lock().abort_all();
    }
}

struct Shared {
    way: Way,
    /// TLS of the main connection; brokered connections use the same.
    tls: Option<Tls>,
    trace: Trace,
    outbox: mpsc::UnboundedSender<ConnInfo>,
    inbox: Arc<Inbox>,
    /// The announcements that dials have taken.
    dialled: Mutex<Vec<ConnInfo>>,
    ids: AtomicU32,
    /// One dial at a time: only their order tells which stream belongs to which knock (MUX-15).
    dialling: tokio::sync::Mutex<()>,
    /// The tasks hold this broker in turn; [`Held`] ends them.
    tasks: Mutex<JoinSet<()>>,
}

/// What carries brokered connections.
pub(super) enum Way {
    /// Each has its own socket; the host's sockets are in this directory.
    Sockets(std::path::PathBuf),
    /// All are streams of this session.
    Streams(Session),
}

impl Broker {
    /// Takes over the open call of `StartStream`.
    pub(super) fn new(call: Call, way: Way, tls: Option<Tls>, trace: &Trace) -> Self {
        let (outbox, out) = mpsc::unbounded_channel();
        let inbox = Arc::new(Inbox::default());
        let mut tasks = JoinSet::new();
        let (inbox_of_task, log) = (inbox.clone(), trace.clone());
        tasks.spawn(async move {
            let how = exchange(call, out, |message| take(message, &inbox_of_task, &log)).await;
            log.event("broker", format!("the stream ended: {how}"));
            inbox_of_task.end(how);
        });
        Self(Arc::new(Shared {
            way,
            tls,
            trace: trace.clone(),
            outbox,
            inbox,
            dialled: Mutex::default(),
            ids: AtomicU32::new(0),
            dialling: tokio::sync::Mutex::default(),
            tasks: Mutex::new(tasks),
        }))
    }

    /// Returns the host's next id.
    pub(super) fn next_id(&self) -> u32 {
        self.0.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sends a message on the stream, true or not.
    pub(super) fn say(&self, message: ConnInfo) {
        self.0.trace.event("broker", format!("host says {}", described(&message)));
        // Fails only when the stream has ended; the missing reaction of the plugin then shows it.
        let _ = self.0.outbox.send(message);
    }

    /// Returns the announcement that the last dial of an id took.
    pub(super) fn announced(&self, id: u32) -> Option<ConnInfo> {
        self.0.dialled.lock().iter().rev().find(|info| info.service_id == id).cloned()
    }

    /// Returns how the plugin ended the stream, if it did.
    pub(super) fn ended(&self) -> Option<String> {
        self.0.inbox.ended()
    }

    /// Waits for a message of the plugin, also past the end of the stream: the step's limit ends the wait.
    pub(super) async fn hears(&self, wanted: impl Fn(&ConnInfo) -> bool) -> ConnInfo {
        match self.0.inbox.next(wanted).await {
            Ok(message) => message,
            Err(_) => std::future::pending().await,
        }
    }

    /// Dials an id of the plugin with the right certificates.
    pub(super) async fn dial(&self, id: u32) -> Result<Caller, String> {
        self.dial_with(id, self.0.tls.as_ref()).await
    }

    /// Dials an id of the plugin.
    pub(super) async fn dial_with(&self, id: u32, tls: Option<&Tls>) -> Result<Caller, String> {
        let _one = self.0.dialling.lock().await;
        let io = self.reach(id).await?;
        self.converse(io, id, tls).await
    }

    /// Begins TLS, if any, and HTTP/2.
    pub(super) async fn converse(
        &self,
        io: Io,
        id: u32,
        tls: Option<&Tls>,
    ) -> Result<Caller, String> {
        let io = match tls {
            None => io,
            Some(tls) => tls::connect(io, tls).await?.0,
        };
        let authority = if tls.is_some() { "localhost" } else { "unused" };
        let caller = Caller::connect(io, authority, &format!("id {id}"), &self.0.trace).await;
        caller.map_err(|error| error.to_string())
    }

    /// Opens a byte stream to an id of the plugin.
    async fn reach(&self, id: u32) -> Result<Io, String> {
        match &self.0.way {
            Way::Sockets(_) => {
                let said = self.hears(|info| is_announcement(info, id)).await;
                self.0.dialled.lock().push(said.clone());
                let address = Address::parse(&said.network, &said.address)?;
                address.connect().await.map_err(|error| format!("connecting to {address}: {error}"))
            }
            Way::Streams(session) => {
                self.say(knock(id));
                let answer = self.hears(|info| is_answer(info, id)).await;
                match answer.knock {
                    Some(knock) if knock.error.is_empty() => Ok(Box::new(session.open())),
                    refused => Err(refused.map(|knock| knock.error).unwrap_or_default()),
                }
            }
        }
    }

    /// Accepts an id of the host and serves it until the broker is dropped.
    pub(super) async fn serve(&self, id: u32) -> Result<(), String> {
        self.serve_with(id, self.0.tls.clone(), Duration::ZERO).await
    }

    /// Acknowledges a knock for an id and serves the stream that follows.
    pub(super) async fn let_in(&self, id: u32) -> Result<(), String> {
        let Way::Streams(session) = &self.0.way else {
            return Err("nothing is multiplexed".to_owned());
        };
        self.say(acknowledgement(id, ""));
        let stream = session.accept().await.ok_or("the session ended")?;
        let answer = self.clone().answer(id, Box::new(stream), self.0.tls.clone());
        self.0.tasks.lock().spawn(answer);
        Ok(())
    }

    /// Serves an id after a delay, with this TLS.
    pub(super) async fn serve_with(
        &self,
        id: u32,
        tls: Option<Tls>,
        delay: Duration,
    ) -> Result<(), String> {
        let broker = self.clone();
        let listener = match &self.0.way {
            Way::Streams(_) => None,
            Way::Sockets(directory) => {
                let name = format!("host{id}-{}", self.next_id());
                Some(Listener::unix(&directory.join(name)).map_err(|error| error.to_string())?)
            }
        };
        let task = async move {
            tokio::time::sleep(delay).await;
            broker.accept_all(id, listener, tls).await;
        };
        self.0.tasks.lock().spawn(task);
        Ok(())
    }

    async fn accept_all(&self, id: u32, listener: Option<Listener>, tls: Option<Tls>) {
        if let Some(listener) = &listener {
            self.say(announcement(id, &listener.address));
        }
        let mut served = JoinSet::new();
        loop {
            let io = match (&listener, &self.0.way) {
                (Some(listener), _) => listener.accept().await.ok(),
                (None, Way::Streams(session)) => {
                    self.hears(|info| is_knock(info, id)).await;
                    self.say(acknowledgement(id, ""));
                    session.accept().await.map(|stream| Box::new(stream) as Io)
                }
                (None, Way::Sockets(_)) => None,
            };
            let Some(io) = io else { return };
            served.spawn(self.clone().answer(id, io, tls.clone()));
        }
    }

    async fn answer(self, id: u32, io: Io, tls: Option<Tls>) {
        let io = match tls {
            None => io,
            Some(tls) => match tls::accept(io, &tls).await {
                Ok((io, _)) => io,
                Err(error) => {
                    return self.0.trace.event("tls", format!("id {id}, accepting: {error}"));
                }
            },
        };
        let trace = self.0.trace.clone();
        let service = callbacks::service(id, self);
        // The trace records how it ended.
        let _ = answerer::serve(io, service, &Limits::default(), &format!("id {id}"), &trace).await;
    }
}

fn take(message: bytes::Bytes, inbox: &Inbox, trace: &Trace) -> ControlFlow<()> {
    match ConnInfo::decode(message) {
        Ok(message) => {
            trace.event("broker", format!("plugin says {}", described(&message)));
            inbox.add(message);
        }
        Err(_) => trace.event("broker", "the plugin sent something other than a ConnInfo"),
    }
    ControlFlow::Continue(())
}
