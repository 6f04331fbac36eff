//! `plugin.GRPCBroker`: what goes over its stream, and brokered connections on sockets of their own (spec, chapter 12).

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use plugwire_conformance_wire::answerer::{self, Handling, Incoming, Limits};
use plugwire_conformance_wire::broker::{Inbox, announcement, exchange};
use plugwire_conformance_wire::caller::{Call, Caller, Options};
use plugwire_conformance_wire::grpc::Status;
use plugwire_conformance_wire::messages::{ConnInfo, method};
use plugwire_conformance_wire::socket::{Address, Io, Listener};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Settings;
use super::failure::Failure;
use super::flaw::Flaw;
use super::link::Link;
use super::mux::{self, Pairing};
use super::sockets::Sockets;

/// The most ids whose announcement is remembered (BRK-15).
const KNOWN: usize = 64 * 1024;
/// The delay after which a careless host listens.
const CARELESS: Duration = Duration::from_millis(700);

/// The host's end of the broker.
pub(super) struct Broker {
    pub(super) settings: Arc<Settings>,
    pub(super) link: Arc<Link>,
    sockets: Arc<Sockets>,
    to_plugin: mpsc::UnboundedSender<ConnInfo>,
    inbox: Inbox,
    state: Mutex<State>,
    pub(super) pairing: Pairing,
    /// The tasks that serve the ids of this side.
    pub(super) serving: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct State {
    /// All ids that the plugin has ever announced.
    announced: HashSet<u32>,
    /// The ids that this side serves.
    accepting: HashSet<u32>,
}

/// Opens the broker's stream.
pub(super) async fn open(caller: &Caller) -> Option<Call> {
    caller.open(method::START_STREAM, &Options::default()).await.ok()
}

impl Broker {
    /// Creates a broker, and the queue of its messages to the plugin.
    pub(super) fn new(
        settings: &Arc<Settings>,
        link: &Arc<Link>,
        sockets: &Arc<Sockets>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<ConnInfo>) {
        let (to_plugin, queue) = mpsc::unbounded_channel();
        let broker = Self {
            settings: settings.clone(),
            link: link.clone(),
            sockets: sockets.clone(),
            to_plugin,
            inbox: Inbox::default(),
            state: Mutex::default(),
            pairing: Pairing::default(),
            serving: Mutex::default(),
        };
        (Arc::new(broker), queue)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Reads and writes the stream until it ends.
    pub(super) async fn run(
        self: &Arc<Self>,
        call: Call,
        queue: mpsc::UnboundedReceiver<ConnInfo>,
    ) {
        let heed = |message| match ConnInfo::decode(message) {
            Ok(message) => self.heed(message),
            Err(_) => false,
        };
        exchange(call, queue, |message| match heed(message) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        })
        .await;
        self.end();
    }

    /// Ends the broker: dials fail from now on.
    pub(super) fn end(&self) {
        self.inbox.end("the broker's stream has ended");
    }

    /// Takes one message. Returns false if the broker breaks off.
    fn heed(self: &Arc<Self>, message: ConnInfo) -> bool {
        let id = message.service_id;
        let knock = message.knock.clone().unwrap_or_default();
        if knock.knock && !knock.ack {
            return mux::knocked(self, id);
        }
        if self.link.multiplexes() && mux::came_too_late(self, id, &knock) {
            return true;
        }
        let mut state = self.state();
        let again = state.announced.len() < KNOWN && !state.announced.insert(id);
        let is_own = state.accepting.contains(&id);
        drop(state);
        let unusable = again || !matches!(&*message.network, "unix" | "tcp");
        if self.settings.has(Flaw::SecondAnnouncementEndsTheBroker) && unusable && !knock.ack {
            return false;
        }
        if !(is_own && self.settings.has(Flaw::OneTableForBothDirections)) {
            // The newest announcement counts: it is a new socket.
            self.inbox.forget(id);
            self.inbox.add(message);
        }
        true
    }

    /// Writes to the stream.
    pub(super) fn say(&self, message: ConnInfo) {
        // Fails only when the broker has ended, which its state tells.
        let _ = self.to_plugin.send(message);
    }

    /// Returns whether this side serves the id.
    pub(super) fn accepts(&self, id: u32) -> bool {
        self.state().accepting.contains(&id)
    }

    /// Drops what the plugin has said about an id so far.
    pub(super) fn forget(&self, id: u32) {
        self.inbox.forget(id);
    }

    /// Waits for what the plugin says about an id next.
    pub(super) async fn hear(&self, id: u32, within: Duration) -> Result<ConnInfo, Failure> {
        let any = self.settings.has(Flaw::AnyAcknowledgement);
        let heard = self.inbox.next(|message| any || message.service_id == id);
        let waits = self.settings.has(Flaw::WaitsForDeadPlugins);
        let waiting = async {
            match heard.await {
                Err(_) if waits => std::future::pending().await,
                heard => heard.map_err(|ended| Failure::new("broker", ended)),
            }
        };
        let late = || Failure::new("broker.timeout", format!("id {id} was not announced"));
        timeout(within, waiting).await.unwrap_or_else(|_| Err(late()))
    }

    /// Dials an id of the plugin.
    pub(super) async fn dial(self: &Arc<Self>, id: u32) -> Result<Caller, Failure> {
        let io = match self.link.multiplexes() {
            true => mux::dial(self, id).await?,
            false => self.dial_socket(id).await?,
        };
        let name = format!("dialled {id}");
        let begun = self.link.brokered(io, &name);
        let late = || Failure::new("broker.timeout", format!("id {id} is silent"));
        let begun = timeout(self.link.patience(), begun).await.unwrap_or_else(|_| Err(late()));
        match begun {
            Err(_) if self.settings.has(Flaw::WaitsForEver) => std::future::pending().await,
            Err(why) => Err(Failure::new("broker.refused", why.to_string())),
            begun => begun,
        }
    }

    async fn dial_socket(&self, id: u32) -> Result<Io, Failure> {
        let within = match self.settings.has(Flaw::DialsWithoutWaiting) {
            true => Duration::ZERO,
            false => self.link.patience(),
        };
        let heard = self.hear(id, within).await?;
        let refused = |why: String| Failure::new("broker.refused", why);
        let address = match self.settings.has(Flaw::DialsTheMainSocket) {
            true => self.link.address.clone(),
            false => Address::parse(&heard.network, &heard.address).map_err(refused)?,
        };
        if !self.is_the_plugins(&address) && !self.settings.has(Flaw::DialsAnywhere) {
            return Err(refused(format!("{address} is not where the plugin's sockets are")));
        }
        address.connect().await.map_err(|error| refused(format!("{address}: {error}")))
    }

    /// Returns whether the plugin may send its host there: into the private directory, to where its main socket is, or to a port of
    /// this machine if it listens on one itself.
    fn is_the_plugins(&self, address: &Address) -> bool {
        match (address, &self.link.address) {
            (Address::Unix(path), main) => {
                let folders = [Some(self.sockets.folder()), main.path().and_then(|it| it.parent())];
                path.parent().is_some_and(|folder| folders.contains(&Some(folder)))
            }
            (Address::Tcp(text), Address::Tcp(_)) => {
                text.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
            }
            (Address::Tcp(_), Address::Unix(_)) => false,
        }
    }

    /// Serves an echo on an id, and tells the plugin.
    pub(super) async fn accept(self: &Arc<Self>, id: u32) -> Result<(), Failure> {
        self.state().accepting.insert(id);
        if self.link.multiplexes() {
            mux::accept(self, id);
            return Ok(());
        }
        let path = self.sockets.path();
        if self.settings.has(Flaw::AnnouncesBeforeItListens) {
            self.announce(id, &Address::Unix(path.clone()));
            let broker = self.clone();
            self.serve(async move {
                sleep(CARELESS).await;
                if let Ok(listener) = Listener::unix(&path) {
                    broker.take_all(listener, id).await;
                }
            });
            return Ok(());
        }
        let listener = Listener::unix(&path);
        let listener = listener.map_err(|error| Failure::new("broker", error.to_string()))?;
        self.announce(id, &listener.address);
        let broker = self.clone();
        self.serve(async move { broker.take_all(listener, id).await });
        Ok(())
    }

    fn announce(&self, id: u32, address: &Address) {
        self.say(announcement(id, address));
    }

    /// Runs a task until the broker ends, and drops finished ones.
    pub(super) fn serve(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut serving = self.serving.lock();
        while serving.try_join_next().is_some() {}
        serving.spawn(task);
    }

    async fn take_all(self: Arc<Self>, listener: Listener, id: u32) {
        while let Ok(io) = listener.accept().await {
            let broker = self.clone();
            self.serve(async move { broker.answer(io, id).await });
        }
    }

    /// Serves one connection of the plugin.
    pub(super) async fn answer(&self, io: Io, id: u32) {
        if let Ok(io) = self.link.secure_accepted(io).await {
            let (name, trace) = (format!("accepted {id}"), &self.settings.trace);
            // Its result is the plugin's business.
            let _ = answerer::serve(io, Arc::new(echo), &Limits::default(), &name, trace).await;
        }
    }
}

/// `Probe/Echo`, and nothing else.
fn echo(mut call: Incoming) -> Handling {
    Box::pin(async move {
        if call.method != format!("{}Echo", method::PROBE) {
            let why = format!("{} is not served here", call.method);
            return call.finish(&Status::new("UNIMPLEMENTED", why));
        }
        if let Ok(Some(request)) = call.next().await {
            call.reply(&request).await;
        }
    })
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("link", &self.link).finish_non_exhaustive()
    }
}
