//! `plugin.GRPCBroker`: announcements on its stream, and connections on sockets of their own.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use plugwire_conformance_wire::caller::Caller;
use plugwire_conformance_wire::messages::ConnInfo;
use plugwire_conformance_wire::socket::{Address, Io, Listener};
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use super::calls::{Call, End};
use super::{Plugin, listen, mux, tls};
use crate::script::Announce;

/// Longer than any host takes to open the broker's stream.
const PATIENCE: Duration = Duration::from_secs(10);
/// The number of announcements that are kept, so that a host cannot exhaust the memory.
const KEPT: usize = 20_000;

/// The broker's stream, and the messages received on it.
#[derive(Debug, Default)]
pub(super) struct Broker {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The host has opened the stream, at some time.
    opened: bool,
    last_id: u32,
    to_host: Option<mpsc::UnboundedSender<ConnInfo>>,
    /// Announcements and answers to knocks that were not taken yet.
    heard: HashMap<u32, ConnInfo>,
    /// How many wait for an id.
    waiting: HashMap<u32, u32>,
    serving: HashMap<u32, AbortHandle>,
    dialled: HashSet<u32>,
}

impl Broker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Returns a new id of this side.
    pub(super) fn next_id(&self) -> u32 {
        let mut state = self.state();
        state.last_id += 1;
        state.last_id
    }

    /// Waits until `look` finds something in the state, with a timeout.
    async fn wait<T>(
        &self,
        most: Duration,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let waiting = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if let Some(found) = look(&mut self.state()) {
                    return found;
                }
                changed.await;
            }
        };
        tokio::time::timeout(most, waiting).await.ok()
    }

    /// Waits for what the host says about an id next, with a timeout.
    pub(super) async fn hear(&self, id: u32, most: Duration) -> Option<ConnInfo> {
        *self.state().waiting.entry(id).or_default() += 1;
        let heard = self.wait(most, |state| state.heard.remove(&id)).await;
        if let Some(waiting) = self.state().waiting.get_mut(&id) {
            *waiting -= 1;
        }
        heard
    }

    /// Drops what the host has said about an id so far.
    pub(super) fn forget(&self, id: u32) {
        self.state().heard.remove(&id);
    }

    /// Writes to the broker's stream, once it is there.
    pub(super) async fn say(&self, message: ConnInfo) -> bool {
        let to_host = self.wait(PATIENCE, |state| state.to_host.clone()).await;
        to_host.is_some_and(|to_host| to_host.send(message).is_ok())
    }

    /// Stops accepting an id. Returns false if it was not accepted.
    pub(super) fn release(&self, id: u32) -> bool {
        let serving = self.state().serving.remove(&id);
        serving.inspect(AbortHandle::abort).is_some()
    }

    /// Remembers the task that serves an id.
    pub(super) fn serves(&self, id: u32, task: AbortHandle) {
        self.state().serving.insert(id, task);
    }
}

/// Holds the broker's stream.
pub(super) async fn start_stream(call: &mut Call) -> Result<(), End> {
    let plugin = call.plugin.clone();
    let script = &plugin.script.broker;
    if let Some(code) = script.ends_with {
        return Err(End::status(code.name(), "as the script says"));
    }
    if std::mem::replace(&mut plugin.broker.state().opened, true) && script.first_stream_only {
        plugin.witness.saw("broker-refused", json!({}));
        return Err(End::status("UNAVAILABLE", "the broker has had its stream"));
    }
    let (to_host, mut queue) = mpsc::unbounded_channel();
    // Before anything else, so that made-up announcements come first.
    for announcement in &script.announces {
        make_up(&plugin, announcement, &to_host).await;
    }
    plugin.broker.state().to_host = Some(to_host);
    plugin.broker.changed.notify_waiters();
    plugin.witness.saw("broker-open", json!({}));
    tokio::spawn(of_its_own_accord(plugin.clone()));
    let mut left = script.ends_after.unwrap_or(u64::MAX);
    let ended = loop {
        let heard = tokio::select! {
            Some(message) = queue.recv() => {
                call.send(&message).await?;
                continue;
            }
            heard = call.next::<ConnInfo>() => heard,
        };
        match heard {
            Ok(Some(message)) => heed(&plugin, message),
            Ok(None) => break Ok(()),
            Err(end) => break Err(end),
        }
        left -= 1;
        if left == 0 {
            plugin.witness.saw("broker-ended", json!({}));
            break Ok(());
        }
    };
    plugin.broker.state().to_host = None;
    if script.stream_end_ends {
        plugin.witness.saw("broker-ended", json!({}));
        plugin.ending.end(1);
    }
    ended
}

/// Takes one message of the host.
fn heed(plugin: &Arc<Plugin>, message: ConnInfo) {
    let knock = message.knock.clone().unwrap_or_default();
    let told = json!({
        "id": message.service_id, "network": message.network, "address": message.address,
        "knock": knock.knock, "ack": knock.ack, "error": knock.error,
    });
    plugin.witness.saw("heard", told);
    if knock.knock && !knock.ack {
        mux::knocked(plugin, message.service_id);
        return;
    }
    let mut state = plugin.broker.state();
    let expected = state.waiting.get(&message.service_id).is_some_and(|waiting| *waiting > 0);
    if (plugin.script.broker.forgets_early && !expected) || state.heard.len() >= KEPT {
        plugin.witness.saw("forgotten", json!({ "id": message.service_id }));
        return;
    }
    // As in go-plugin, a repetition is dropped until the first message is taken.
    state.heard.entry(message.service_id).or_insert(message);
    drop(state);
    plugin.broker.changed.notify_waiters();
}

/// Performs what the script demands when the broker's stream opens.
async fn of_its_own_accord(plugin: Arc<Plugin>) {
    for id in &plugin.script.broker.accepts {
        if let Err(error) = accept(&plugin, *id, false).await {
            plugin.witness.saw("accept-failed", json!({ "id": id, "error": error }));
        }
    }
    mux::of_its_own_accord(&plugin).await;
}

/// Announces what the script demands, true or not.
async fn make_up(
    plugin: &Arc<Plugin>,
    announcement: &Announce,
    to_host: &mpsc::UnboundedSender<ConnInfo>,
) {
    let main = plugin.sockets.first().unwrap_or_default();
    let mut address = announcement
        .address
        .replace("{address}", &main.to_string_lossy())
        .replace("{folder}", &plugin.asked.folder.to_string_lossy());
    let elsewhere = match address.as_str() {
        "{elsewhere}" => Some(listen::unix(plugin, &listen::new_path(&own_folder()))),
        "{tcp}" => Some(Listener::tcp(0).await),
        _ => None,
    };
    match elsewhere {
        Some(Ok(listener)) => {
            address = listener.address.to_string();
            tokio::spawn(watch_elsewhere(plugin.clone(), listener));
        }
        Some(Err(error)) => {
            return plugin.witness.saw("not-listening", json!({ "error": error.to_string() }));
        }
        None => {}
    }
    let Announce { id, network, times, .. } = announcement;
    let message = connection_info(*id, network, &address);
    for _ in 0..*times {
        // The caller reads the other end.
        let said = to_host.send(message.clone()).is_ok();
        let told = json!({ "id": id, "network": network, "address": address, "said": said });
        plugin.witness.saw("announced", told);
    }
}

/// Returns the directory of this program, where a plugin's sockets must not be.
fn own_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.parent().map(Path::to_owned).unwrap_or_default()
}

/// Notes connections to an address that no host should use.
async fn watch_elsewhere(plugin: Arc<Plugin>, listener: Listener) {
    while let Ok(io) = listener.accept().await {
        plugin.witness.saw("elsewhere", json!({ "address": listener.address.to_string() }));
        drop(io);
    }
}

fn connection_info(id: u32, network: &str, address: &str) -> ConnInfo {
    let (network, address) = (network.to_owned(), address.to_owned());
    ConnInfo { service_id: id, network, address, knock: None }
}

async fn announce(plugin: &Plugin, id: u32, address: &Address) {
    let script = &plugin.script.broker;
    if script.never_announces {
        return plugin.witness.saw("not-announced", json!({ "id": id }));
    }
    let (network, address) = (address.network(), address.to_string());
    let id = id + script.wrong_id;
    let message = connection_info(id, network, &address);
    for _ in 0..script.times {
        let said = plugin.broker.say(message.clone()).await;
        let told = json!({ "id": id, "network": network, "address": address, "said": said });
        plugin.witness.saw("announced", told);
    }
}

/// Accepts an id, and serves there. Comes back when the host can dial.
pub(super) async fn accept(plugin: &Arc<Plugin>, id: u32, raw: bool) -> Result<(), String> {
    if mux::wanted(plugin) {
        mux::accept(plugin, id, raw);
        return Ok(());
    }
    accept_on_socket(plugin, id, raw).await
}

/// Accepts an id on a socket of its own, and announces that.
pub(super) async fn accept_on_socket(
    plugin: &Arc<Plugin>,
    id: u32,
    raw: bool,
) -> Result<(), String> {
    let script = &plugin.script.broker;
    if script.main_socket {
        let Some(main) = plugin.sockets.first() else { return Err("no main socket".to_owned()) };
        announce(plugin, id, &Address::Unix(main)).await;
        return Ok(());
    }
    let address = Address::Unix(match script.ignores_socket_dir {
        true => listen::new_path(&std::env::temp_dir()),
        false => listen::new_path(&plugin.asked.folder),
    });
    if script.listens_late_ms > 0 {
        announce(plugin, id, &address).await;
        tokio::time::sleep(Duration::from_millis(script.listens_late_ms)).await;
    }
    let mut listener = match plugin.script.listen.tcp {
        true => Listener::tcp(0).await,
        false => listen::unix(plugin, address.path().expect("a path")),
    }
    .map_err(|error| error.to_string())?;
    listener.keep_file = script.keeps_sockets;
    let address = listener.address.clone();
    plugin.witness.saw("listening", json!({ "address": address.to_string(), "id": id }));
    let task = tokio::spawn(serve(plugin.clone(), listener, id, raw));
    plugin.broker.serves(id, task.abort_handle());
    if script.listens_late_ms == 0 {
        announce(plugin, id, &address).await;
    }
    Ok(())
}

/// Serves every connection until the task is aborted; the connections end with it.
async fn serve(plugin: Arc<Plugin>, listener: Listener, id: u32, raw: bool) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            io = listener.accept() => match io {
                Ok(io) => drop(connections.spawn(listen::brokered(plugin.clone(), io, id, raw))),
                Err(error) => {
                    return plugin.witness.saw("accept-failed", json!({ "error": error.to_string() }));
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Dials an id of the host.
pub(super) async fn dial(plugin: &Plugin, id: u32) -> Result<Caller, String> {
    let script = &plugin.script.broker;
    let again = !plugin.broker.state().dialled.insert(id);
    let patience = Duration::from_millis(script.patience_ms);
    if script.never_dials || (script.dials_once && again) {
        tokio::time::sleep(patience).await;
        plugin.witness.saw("not-dialled", json!({ "id": id }));
        return Err("timeout waiting for connection info".to_owned());
    }
    let io = match mux::wanted(plugin) {
        true => mux::dial(plugin, id, patience).await?,
        false => dial_socket(plugin, id, patience).await?,
    };
    let io = tls::connect(plugin, io, script.plaintext).await?;
    plugin.witness.saw("dialled", json!({ "id": id }));
    let authority = if tls::wanted(plugin) { "localhost" } else { "unused" };
    let name = format!("dialled {id}");
    Caller::connect(io, authority, &name, &plugin.trace).await.map_err(|error| error.to_string())
}

async fn dial_socket(plugin: &Plugin, id: u32, patience: Duration) -> Result<Io, String> {
    let Some(info) = plugin.broker.hear(id, patience).await else {
        plugin.witness.saw("dial-timed-out", json!({ "id": id }));
        return Err("timeout waiting for connection info".to_owned());
    };
    let address = Address::parse(&info.network, &info.address)?;
    address.connect().await.map_err(|error| format!("{address}: {error}"))
}
