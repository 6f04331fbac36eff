//! Attaching to a plugin that somebody else started.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plugwire_protocol::handshake::AddressError;
use plugwire_protocol::reattach::Reattach;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, timeout_at};

use super::PluginHandle;
use super::aside::aside;
use super::dispense::Dispensers;
use super::handle::Owner;
use super::launch::Limits;
use super::session::Session;
use super::sockets;
use super::stdio::Writer;
use super::system::Foreign;
use crate::broker::{self, Broker};
use crate::http2::{Channel, ConnectStep, Http2};
use crate::net::Listen;
use crate::net::{Address, Tls};

/// A running plugin to connect to: one in a debugger, or one that outlived its host. go-plugin: `ClientConfig.Reattach`.
///
/// The connection is plain, or uses the TLS configuration given: certificates are exchanged at a start only. Where the plugin
/// ends it, the next call connects again if the process that listened at first still listens; over TCP, where that cannot be
/// known, it does not.
#[must_use = "nothing is connected before `connect`"]
pub struct Attach {
    record: Reattach,
    name: String,
    tls: Option<Tls>,
    http2: Http2,
    limits: Limits,
    stdout: Option<Writer>,
    stderr: Option<Writer>,
    dispensers: Dispensers,
    kill: bool,
}

impl Attach {
    /// The plugin of this record. A set of them, as in `TF_REATTACH_PROVIDERS`, is read by
    /// [`parse_map`](plugwire_protocol::reattach::parse_map).
    pub fn new(record: Reattach) -> Self {
        Self {
            name: format!("pid {}", record.pid),
            record,
            tls: None,
            http2: Http2::default(),
            limits: Limits::default(),
            stdout: None,
            stderr: None,
            dispensers: Dispensers::default(),
            kill: false,
        }
    }

    /// What the plugin is called in logs and errors. Default: its process id.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Uses this TLS configuration. Default: plain.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets HTTP/2's limits and keep-alive.
    pub fn http2(mut self, http2: Http2) -> Self {
        self.http2 = http2;
        self
    }

    /// How long connecting may take. Default one minute.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.limits.start = limit;
        self
    }

    /// How long [`PluginHandle::ping`] waits. Default 5 s.
    pub fn ping_timeout(mut self, limit: Duration) -> Self {
        self.limits.ping = limit;
        self
    }

    /// How long [`PluginHandle::shutdown`] lets calls under way finish before it begins. Default 1 s.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.limits.drain = limit;
        self
    }

    /// How long [`PluginHandle::shutdown`] waits for the answer to `Shutdown`. Default 5 s.
    pub fn shutdown_timeout(mut self, limit: Duration) -> Self {
        self.limits.shutdown = limit;
        self
    }

    /// Lets [`PluginHandle::shutdown`] see the plugin's process through to its end, with SIGTERM and SIGKILL where asking
    /// does not help. Default: it is asked, and that is all. Dropping the last handle still only disconnects.
    /// go-plugin: its default, by the process id in the record, whoever has that id by then.
    ///
    /// Here the system must confirm that the process of the record is the one that listens at the record's address, so
    /// this needs a unix socket, and Linux. What is killed is the process that had the id at that moment, whoever has it
    /// later. Not noticed is a plugin that has ended while a child of it goes on listening with its socket, and whose id
    /// has become somebody else's: for the system that socket is the plugin's still.
    pub fn kill_on_shutdown(mut self) -> Self {
        self.kill = true;
        self
    }

    /// How long the broker waits for the plugin to accept a connection. Default 5 s.
    pub fn broker_timeout(mut self, limit: Duration) -> Self {
        self.limits.broker = limit;
        self
    }

    /// As [`Launch::stdout`](super::Launch::stdout).
    pub fn stdout(mut self, writer: impl AsyncWrite + Send + 'static) -> Self {
        self.stdout = Some(Box::pin(writer));
        self
    }

    /// As [`Launch::stderr`](super::Launch::stderr).
    pub fn stderr(mut self, writer: impl AsyncWrite + Send + 'static) -> Self {
        self.stderr = Some(Box::pin(writer));
        self
    }

    /// As [`Launch::dispenses`](super::Launch::dispenses), for the version that the record names.
    pub fn dispenses<T: Send + 'static>(
        mut self,
        name: impl Into<String>,
        make: impl Fn(Channel, Broker) -> T + Send + Sync + 'static,
    ) -> Self {
        self.dispensers.add(name.into(), make);
        self
    }

    /// Connects. Nothing is started, and nothing will be killed unless [`Attach::kill_on_shutdown`] says so.
    ///
    /// Cancel safety: dropping the future closes the connection.
    pub async fn connect(self) -> Result<PluginHandle, AttachError> {
        let Reattach { network, address, .. } = &self.record;
        let address = Address::parse(*network, address).map_err(AttachError::Address)?;
        let limit = self.limits.start;
        let deadline = Instant::now() + limit;
        let late = |_| AttachError::Timeout { limit };
        let process = match self.kill && !self.record.test {
            true => {
                let confirming = confirmed(&address, self.record.pid);
                Some(Arc::new(timeout_at(deadline, confirming).await.map_err(late)??))
            }
            false => None,
        };
        let making = aside(|_| sockets::private_folder(None, None));
        let folder = timeout_at(deadline, making).await.map_err(late)?;
        let folder = folder.and_then(|made| made).map_err(AttachError::Folder)?;
        let main = address.directory().map(Path::to_owned);
        let folders = main.into_iter().chain(sockets::temporary_folders(None));
        let settings = broker::Settings {
            multiplexed: false,
            listen: Listen::Unix { directory: folder.path().to_owned(), group: None },
            tls: self.tls,
            http2: self.http2,
            timeout: self.limits.broker,
            trust: broker::Trust::Directories(folders.collect()),
            translate: None,
            peer: None,
        };
        let connecting = Session::connect(&address, settings);
        let mut session = timeout_at(deadline, connecting)
            .await
            .map_err(late)?
            .map_err(|(step, cause)| AttachError::Connect { step, cause })?;
        session.copy_stdio(&self.name, self.stdout, self.stderr).await;
        let owner = Owner::Other {
            pid: self.record.pid,
            test: self.record.test,
            process,
            _folder: Arc::new(folder),
        };
        let version = self.record.protocol_version;
        Ok(PluginHandle::new(
            self.name,
            version,
            address,
            session,
            owner,
            self.dispensers,
            self.limits,
        ))
    }
}

/// The process with this id, if it is the one that listens.
async fn confirmed(address: &Address, pid: u32) -> Result<Foreign, AttachError> {
    let other = |cause| AttachError::OtherProcess { pid, cause };
    if let Address::Tcp(_) = address {
        return Err(other(io::Error::new(io::ErrorKind::Unsupported, "it listens on TCP")));
    }
    // The process first: if it ends now and another gets its id, that one does not listen there.
    let process = Foreign::open(pid).map_err(other)?;
    let (_, listens) = address.connect_to_process().await.map_err(other)?;
    match listens {
        Some(listens) if u32::try_from(listens) == Ok(pid) => Ok(process),
        Some(listens) => Err(other(io::Error::other(format!("process {listens} listens there")))),
        None => Err(other(io::Error::from(io::ErrorKind::Unsupported))),
    }
}

impl fmt::Debug for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attach").field("record", &self.record).finish_non_exhaustive()
    }
}

/// Why a running plugin could not be attached to.
#[derive(Debug)]
#[non_exhaustive]
pub enum AttachError {
    /// The record's address is one that nobody can connect to.
    Address(AddressError),
    /// No folder could be made for brokered connections. The machine.
    Folder(io::Error),
    /// Nobody listens there any more, or somebody else does. go-plugin: `ErrProcessNotFound`.
    Connect {
        /// Which step failed.
        step: ConnectStep,
        /// What the system or the TLS library says.
        cause: io::Error,
    },
    /// The plugin is to be killed at its shutdown, and the process that the record names is not known to be the plugin.
    OtherProcess {
        /// The record's.
        pid: u32,
        /// What the system says.
        cause: io::Error,
    },
    /// Connecting took too long.
    Timeout {
        /// The limit.
        limit: Duration,
    },
}

impl AttachError {
    /// A stable name for this kind of failure.
    pub fn code(&self) -> &'static str {
        match self {
            AttachError::Address(error) => error.code(),
            AttachError::Connect { .. } => "attach.connect",
            AttachError::Folder(_) => "attach.folder",
            AttachError::OtherProcess { .. } => "attach.other-process",
            AttachError::Timeout { .. } => "attach.timeout",
        }
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::Address(_) => write!(f, "the record's address cannot be used"),
            AttachError::Connect { step: ConnectStep::Dial, .. } => {
                write!(f, "nobody listens at the plugin's address")
            }
            AttachError::Connect { .. } => {
                write!(f, "who listens at the plugin's address is not the plugin")
            }
            AttachError::Folder(_) => write!(f, "no folder for sockets can be made"),
            AttachError::OtherProcess { pid, .. } => {
                write!(f, "process {pid} may not be the plugin, so it cannot be killed with it")
            }
            AttachError::Timeout { limit } => {
                write!(f, "the plugin did not accept the connection within {limit:?}")
            }
        }
    }
}

impl Error for AttachError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AttachError::Address(cause) => Some(cause),
            AttachError::Connect { cause, .. }
            | AttachError::Folder(cause)
            | AttachError::OtherProcess { cause, .. } => Some(cause),
            AttachError::Timeout { .. } => None,
        }
    }
}
