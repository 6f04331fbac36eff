//! Brokered connections, seen from the host: its side of the broker's stream, and both ways to use it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use plugwire_conformance_wire::answerer::{self, Limits};
use plugwire_conformance_wire::caller::{Call, Caller};
use plugwire_conformance_wire::grpc::Status;
use plugwire_conformance_wire::messages::{ConnInfo, Knock};
use plugwire_conformance_wire::socket::{Address, Io, Listener};
use plugwire_conformance_wire::tls::{self, Tls};
use plugwire_conformance_wire::trace::Trace;
use plugwire_conformance_wire::yamux::Session;
use prost::Message;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::callbacks;

pub(super) const NEST: &str = "/plugwire.probe.v1.BrokerProbe/Nest";

/// The host's broker; a clone is the same one.
#[derive(Clone)]
pub(super) struct Broker(Arc<Shared>);

/// The broker as whoever opened it holds it. When that is dropped, its stream ends, and all that it serves.
pub(super) struct Held(pub(super) Broker);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.tasks().abort_all();
    }
}

struct Shared {
    way: Way,
    /// TLS of the main connection: brokered ones have the same.
    tls: Option<Tls>,
    trace: Trace,
    outbox: mpsc::UnboundedSender<ConnInfo>,
    inbox: Arc<Inbox>,
    ids: AtomicU32,
    /// One dial at a time: streams belong to knocks by their order alone (MUX-15).
    dialling: tokio::sync::Mutex<()>,
    /// They hold this broker, in turn; [`Held`] ends them.
    tasks: Mutex<JoinSet<()>>,
}

/// What carries brokered connections.
pub(super) enum Way {
    /// Each has a socket of its own; the host's are in this folder.
    Sockets(std::path::PathBuf),
    /// All are streams of this session.
    Streams(Session),
}

/// What came on the broker's stream.
#[derive(Default)]
struct Inbox {
    came: Mutex<Came>,
    arrived: Notify,
}

#[derive(Default)]
struct Came {
    /// What nobody took yet.
    waiting: Vec<ConnInfo>,
    /// Announcements that a dial took.
    dialled: Vec<ConnInfo>,
    ended: Option<String>,
}

/// How many messages wait at the most. A plugin that announces more gets the oldest forgotten.
const WAITING: usize = 1024;

impl Broker {
    /// Takes over the open call of `StartStream`.
    pub(super) fn new(call: Call, way: Way, tls: Option<Tls>, trace: &Trace) -> Self {
        let (outbox, out) = mpsc::unbounded_channel();
        let inbox = Arc::new(Inbox::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(exchange(call, out, inbox.clone(), trace.clone()));
        Self(Arc::new(Shared {
            way,
            tls,
            trace: trace.clone(),
            outbox,
            inbox,
            ids: AtomicU32::new(0),
            dialling: tokio::sync::Mutex::default(),
            tasks: Mutex::new(tasks),
        }))
    }

    /// The host's next id.
    pub(super) fn next_id(&self) -> u32 {
        self.0.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Says something on the stream, whether or not it is true.
    pub(super) fn say(&self, message: ConnInfo) {
        self.0.trace.event("broker", format!("host says {}", described(&message)));
        // Fails when the stream has ended; what was wanted of the plugin then does not come, and says so.
        let _ = self.0.outbox.send(message);
    }

    /// What was announced for an id when it was dialled.
    pub(super) fn announced(&self, id: u32) -> Option<ConnInfo> {
        self.0
            .inbox
            .lock(|inbox| inbox.dialled.iter().rev().find(|info| info.service_id == id).cloned())
    }

    /// How the plugin ended the stream, if it did.
    pub(super) fn ended(&self) -> Option<String> {
        self.0.inbox.lock(|inbox| inbox.ended.clone())
    }

    /// Waits for a message of the plugin.
    pub(super) async fn hears(&self, wanted: impl Fn(&ConnInfo) -> bool) -> ConnInfo {
        loop {
            let arrived = self.0.inbox.arrived.notified();
            if let Some(message) = self.0.inbox.lock(|inbox| inbox.take(&wanted)) {
                return message;
            }
            arrived.await;
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

    /// TLS, if any, and HTTP/2.
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

    /// The bytes' way to an id of the plugin.
    async fn reach(&self, id: u32) -> Result<Io, String> {
        match &self.0.way {
            Way::Sockets(_) => {
                let said = self.hears(|info| info.service_id == id && info.knock.is_none()).await;
                self.0.inbox.lock(|inbox| inbox.dialled.push(said.clone()));
                let address = Address::parse(&said.network, &said.address)?;
                address.connect().await.map_err(|error| format!("connecting to {address}: {error}"))
            }
            Way::Streams(session) => {
                self.say(knock(id, false, ""));
                let answer = self.hears(|info| is_answer(info, id)).await;
                match answer.knock {
                    Some(knock) if knock.error.is_empty() => Ok(Box::new(session.open())),
                    refused => Err(refused.map(|knock| knock.error).unwrap_or_default()),
                }
            }
        }
    }

    /// Accepts an id of the host, and serves it until the broker goes.
    pub(super) async fn serve(&self, id: u32) -> Result<(), String> {
        self.serve_with(id, self.0.tls.clone(), Duration::ZERO).await
    }

    /// Acknowledges a knock for an id, and serves the stream that comes of it.
    pub(super) async fn let_in(&self, id: u32) -> Result<(), String> {
        let Way::Streams(session) = &self.0.way else {
            return Err("nothing is multiplexed".to_owned());
        };
        self.say(knock(id, true, ""));
        let stream = session.accept().await.ok_or("the session ended")?;
        self.0.tasks().spawn(self.clone().answer(id, Box::new(stream), self.0.tls.clone()));
        Ok(())
    }

    /// As [`Broker::serve`], some time later, and with this TLS.
    pub(super) async fn serve_with(
        &self,
        id: u32,
        tls: Option<Tls>,
        delay: Duration,
    ) -> Result<(), String> {
        let broker = self.clone();
        let listener = match &self.0.way {
            Way::Streams(_) => None,
            Way::Sockets(folder) => {
                let name = format!("host{id}-{}", self.next_id());
                Some(Listener::unix(&folder.join(name)).map_err(|error| error.to_string())?)
            }
        };
        let task = async move {
            tokio::time::sleep(delay).await;
            broker.accept_all(id, listener, tls).await;
        };
        self.0.tasks().spawn(task);
        Ok(())
    }

    async fn accept_all(&self, id: u32, listener: Option<Listener>, tls: Option<Tls>) {
        if let Some(listener) = &listener {
            let network = listener.address.network().to_owned();
            let address = listener.address.to_string();
            self.say(ConnInfo { service_id: id, network, address, knock: None });
        }
        let mut served = JoinSet::new();
        loop {
            let io = match (&listener, &self.0.way) {
                (Some(listener), _) => listener.accept().await.ok(),
                (None, Way::Streams(session)) => {
                    self.hears(|info| is_knock(info, id)).await;
                    self.say(knock(id, true, ""));
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
        // How it ended is in the trace.
        let _ = answerer::serve(io, service, &Limits::default(), &format!("id {id}"), &trace).await;
    }
}

impl Shared {
    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    fn lock<T>(&self, look: impl FnOnce(&mut Came) -> T) -> T {
        look(&mut self.came.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Came {
    fn take(&mut self, wanted: impl Fn(&ConnInfo) -> bool) -> Option<ConnInfo> {
        let at = self.waiting.iter().position(wanted)?;
        Some(self.waiting.remove(at))
    }
}

/// Both directions of the broker's stream.
async fn exchange(
    mut call: Call,
    mut out: mpsc::UnboundedReceiver<ConnInfo>,
    inbox: Arc<Inbox>,
    trace: Trace,
) {
    let how = loop {
        tokio::select! {
            message = out.recv() => {
                let Some(message) = message else { return };
                if let Err(error) = call.send(&message.encode_to_vec()).await {
                    break error.to_string();
                }
            }
            came = call.next() => match came {
                Ok(Some(message)) => take(message, &inbox, &trace),
                Ok(None) => break call.status().unwrap_or(Status::OK).to_string(),
                Err(error) => break error.to_string(),
            }
        }
    };
    trace.event("broker", format!("the stream ended: {how}"));
    inbox.lock(|came| came.ended = Some(how));
}

fn take(message: Bytes, inbox: &Inbox, trace: &Trace) {
    let Ok(message) = ConnInfo::decode(message) else {
        return trace.event("broker", "the plugin says what is no ConnInfo");
    };
    trace.event("broker", format!("plugin says {}", described(&message)));
    inbox.lock(|came| {
        if came.waiting.len() == WAITING {
            came.waiting.remove(0);
        }
        came.waiting.push(message);
    });
    inbox.arrived.notify_waiters();
}

/// A knock, or the answer to one.
pub(super) fn knock(id: u32, ack: bool, error: &str) -> ConnInfo {
    let knock = Knock { knock: true, ack, error: error.to_owned() };
    ConnInfo { service_id: id, knock: Some(knock), ..ConnInfo::default() }
}

pub(super) fn is_knock(info: &ConnInfo, id: u32) -> bool {
    info.service_id == id && info.knock.as_ref().is_some_and(|knock| !knock.ack)
}

pub(super) fn is_answer(info: &ConnInfo, id: u32) -> bool {
    info.service_id == id && info.knock.as_ref().is_some_and(|knock| knock.ack)
}

fn described(info: &ConnInfo) -> String {
    let id = info.service_id;
    match &info.knock {
        None => format!("id {id} is at {} {}", info.network, info.address),
        Some(Knock { ack: false, .. }) => format!("knock, id {id}"),
        Some(Knock { error, .. }) if error.is_empty() => format!("come in, id {id}"),
        Some(Knock { error, .. }) => format!("no, id {id}: {error}"),
    }
}
