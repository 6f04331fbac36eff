//! Listening, and the handling of connections.

use std::fs::Permissions;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use plugwire_conformance_wire::answerer::{self, Limits};
use plugwire_conformance_wire::socket::{Address, Io, Listener};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::calls::{At, Router};
use super::line::unhex;
use super::{Plugin, acts, mux, tls};
use crate::script::{Accept, Behind};

/// Counts connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    begun: AtomicU32,
    open: AtomicU32,
}

impl Connections {
    /// Returns the current number of connections.
    pub(super) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }
}

/// An open connection, counted during the lifetime of this value.
struct Open<'a>(&'a Plugin);

impl<'a> Open<'a> {
    fn new(plugin: &'a Plugin) -> Self {
        plugin.connections.open.fetch_add(1, Ordering::Relaxed);
        Self(plugin)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let last = self.0.connections.open.fetch_sub(1, Ordering::Relaxed) == 1;
        if last && self.0.script.shutdown.last_connection_ends {
            self.0.witness.saw("last-connection-ended", json!({}));
            self.0.ending.end(0);
        }
    }
}

/// The files of the sockets that were made.
#[derive(Debug, Default)]
pub(super) struct Sockets(Mutex<Vec<PathBuf>>);

impl Sockets {
    /// Notes one.
    fn add(&self, path: &Path) {
        self.0.lock().push(path.to_owned());
    }

    /// Returns the main connection's socket, if it has one.
    pub(super) fn first(&self) -> Option<PathBuf> {
        self.0.lock().first().cloned()
    }

    /// Removes those that are left.
    pub(super) fn remove(&self) {
        for path in self.0.lock().drain(..) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Listens for the host's main connection. Without a listener, only an address is made up.
pub(super) async fn bind(plugin: &Plugin) -> io::Result<(Address, Option<Listener>)> {
    let script = &plugin.script.listen;
    let mut listener = match script.tcp {
        true => tcp(plugin.asked.ports).await?,
        false => unix(plugin, &new_path(&plugin.asked.folder))?,
    };
    let address = listener.address.clone();
    if script.never || script.late_ms > 0 {
        return Ok((address, None));
    }
    listener.keep_file = plugin.script.shutdown.keeps_socket;
    plugin.witness.saw("listening", json!({ "address": address.to_string() }));
    Ok((address, Some(listener)))
}

/// Returns an unused path in this directory.
pub(super) fn new_path(folder: &Path) -> PathBuf {
    let random = std::hash::RandomState::new().build_hasher().finish();
    folder.join(format!("plugin{random}"))
}

/// Returns a socket at this path, with the group and the mode that the host asked for.
pub(super) fn unix(plugin: &Plugin, path: &Path) -> io::Result<Listener> {
    let listener = Listener::unix(path)?;
    plugin.sockets.add(path);
    if let Some(group) = &plugin.asked.group {
        chown(path, None, Some(group_id(group)?))?;
        std::fs::set_permissions(path, Permissions::from_mode(0o660))?;
    }
    if let Some(mode) = plugin.script.listen.mode {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        plugin.witness.saw("mode", json!({ "mode": format!("{mode:o}") }));
    }
    Ok(listener)
}

/// Returns a group by its number or its name.
fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let entries = std::fs::read_to_string("/etc/group")?;
    let mut ids = entries.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(group);
        found.then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    ids.next().ok_or_else(|| io::Error::other(format!("no group {group}")))
}

async fn tcp((min, max): (u16, u16)) -> io::Result<Listener> {
    let mut last = io::Error::other("no port to listen on");
    for port in min..=max {
        match Listener::tcp(port).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Accepts main connections as long as the script allows.
pub(super) async fn serve(plugin: Arc<Plugin>, address: Address, listener: Option<Listener>) {
    let listener = match listener {
        Some(listener) => listener,
        None if plugin.script.listen.never => {
            return plugin.witness.saw("never-listens", json!({ "address": address.to_string() }));
        }
        None => match late(&plugin, &address).await {
            Ok(listener) => listener,
            Err(error) => {
                let told = json!({ "error": error.to_string() });
                return plugin.witness.saw("not-listening", told);
            }
        },
    };
    let most = plugin.script.listen.connections.unwrap_or(u32::MAX);
    for _ in 0..most {
        let io = match listener.accept().await {
            Ok(io) => io,
            Err(error) => {
                plugin.witness.saw("accept-failed", json!({ "error": error.to_string() }));
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        tokio::spawn(connection(plugin.clone(), io));
        if mux::wanted(&plugin) {
            // As in go-plugin, one connection carries everything, and others wait in the socket
            // forever.
            std::future::pending::<()>().await;
        }
    }
    drop(listener);
    plugin.witness.saw("stopped-listening", json!({ "after": most }));
}

async fn late(plugin: &Plugin, address: &Address) -> io::Result<Listener> {
    let ms = plugin.script.listen.late_ms;
    tokio::time::sleep(Duration::from_millis(ms)).await;
    let listener = match address {
        Address::Unix(path) => unix(plugin, path)?,
        Address::Tcp(text) => {
            let port = text.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            Listener::tcp(port.unwrap_or(0)).await?
        }
    };
    plugin.witness.saw("listening", json!({ "address": address.to_string(), "late-ms": ms }));
    Ok(listener)
}

/// Handles one connection from its first byte to its last.
async fn connection(plugin: Arc<Plugin>, io: Io) {
    let _open = Open::new(&plugin);
    let number = plugin.connections.begun.fetch_add(1, Ordering::Relaxed) + 1;
    let at = At::main(number);
    plugin.witness.saw("accepted", json!({ "connection": at.name }));
    let listen = &plugin.script.listen;
    if listen.accept_first.is_none_or(|first| number <= first) && listen.accept != Accept::Serve {
        treat(&plugin, io, &at.name, &listen.accept).await;
    } else if let Some(io) = unless_empty(&plugin, io).await {
        match mux::wanted(&plugin) {
            true => mux::serve(&plugin, io).await,
            false => serve_calls(&plugin, io, at.clone(), false).await,
        }
    }
    plugin.witness.saw("closed", json!({ "connection": at.name }));
}

/// Returns the connection, unless the script reacts to one that closes without a byte.
async fn unless_empty(plugin: &Plugin, mut io: Io) -> Option<Io> {
    if !plugin.script.listen.empty_connection_ends {
        return Some(io);
    }
    let mut first = [0];
    if io.read_exact(&mut first).await.is_ok() {
        return Some(tls::replayed(&first, io));
    }
    plugin.witness.saw("empty-connection", json!({}));
    plugin.ending.end(0);
    None
}

/// Treats a connection as the script demands instead of serving it.
async fn treat(plugin: &Plugin, mut io: Io, name: &str, how: &Accept) {
    let answer = match how {
        Accept::Serve => return,
        Accept::Close => {
            drop(io);
            return plugin.witness.saw("closed-at-once", json!({ "connection": name }));
        }
        Accept::Reset => {
            // Closing a socket with unread data resets the connection. HTTP/2 and TLS begin with
            // more than one byte.
            let read = io.read_exact(&mut [0]).await.is_ok();
            drop(io);
            return plugin.witness.saw("reset", json!({ "connection": name, "read": read }));
        }
        Accept::Silent => {
            plugin.witness.saw("silent", json!({ "connection": name }));
            return std::future::pending().await;
        }
        Accept::Deaf => {
            plugin.witness.saw("deaf", json!({ "connection": name }));
            return read_away(&mut io).await;
        }
        Accept::Http1 => {
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
        }
        Accept::Hex(text) => unhex(text).unwrap_or_default(),
    };
    let written = io.write_all(&answer).await.is_ok() && io.flush().await.is_ok();
    let told = json!({ "connection": name, "bytes": answer.len(), "written": written });
    plugin.witness.saw("garbage", told);
    if *how != Accept::Http1 {
        read_away(&mut io).await;
    }
}

async fn read_away(io: &mut Io) {
    let mut buffer = [0; 4096];
    while io.read(&mut buffer).await.is_ok_and(|size| size > 0) {}
}

/// Handles one brokered connection from its first byte to its last. `raw` leaves the session's TLS
/// out.
pub(super) async fn brokered(plugin: Arc<Plugin>, mut io: Io, id: u32, raw: bool) {
    let _open = Open::new(&plugin);
    let at = At::brokered(id);
    plugin.witness.saw("accepted", json!({ "connection": at.name, "id": id }));
    match plugin.script.broker.behind {
        Behind::Probe => {
            let plaintext = raw || plugin.script.broker.plaintext;
            serve_calls(&plugin, io, at.clone(), plaintext).await;
        }
        Behind::Closes => {
            drop(io);
            plugin.witness.saw("closed-at-once", json!({ "connection": at.name, "id": id }));
        }
        Behind::Silent => {
            plugin.witness.saw("silent", json!({ "connection": at.name, "id": id }));
            std::future::pending::<()>().await;
        }
        Behind::Garbage => {
            let written = io.write_all(&[0xa5; 64]).await.is_ok() && io.flush().await.is_ok();
            let told = json!({ "connection": at.name, "id": id, "written": written });
            plugin.witness.saw("garbage", told);
            read_away(&mut io).await;
        }
    }
    plugin.witness.saw("closed", json!({ "connection": at.name, "id": id }));
    acts::run(&plugin, &plugin.script.broker.at_connection_end).await;
}

/// Secures a connection and answers its calls until it ends.
pub(super) async fn serve_calls(plugin: &Arc<Plugin>, io: Io, at: At, plaintext: bool) {
    let Some(io) = tls::accept(plugin, io, &at.name, plaintext).await else { return };
    let script = &plugin.script.calls;
    let limits =
        Limits { calls: script.goaway_after, resets: script.most_resets, ..Limits::default() };
    let router = Arc::new(Router { plugin: plugin.clone(), at: at.clone() });
    let ended = tokio::select! {
        ended = answerer::serve(io, router, &limits, &at.name, &plugin.trace) => ended,
        () = at.cut.notified() => {
            return plugin.witness.saw("cut", json!({ "connection": at.name }));
        }
    };
    let broke = ended.is_err();
    let how = ended.err().unwrap_or_else(|| "closed".to_owned());
    plugin.witness.saw("http2-ended", json!({ "connection": at.name, "how": how }));
    if broke && plugin.script.listen.garbage_ends {
        plugin.ending.end(1);
    }
}
