//! Attaches to a plugin that another host started.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plugwire_process::{ForeignProcess, blocking};
use plugwire_protocol::handshake::AddressError;
use plugwire_protocol::reattach::Reattach;
use tokio::io::AsyncWrite;
use tokio::time::timeout_at;

use super::handle::{Inner, Owner, PluginHandle};
use super::session::Session;
use super::settings::{Timeouts, Writer};
use super::sockets;
use crate::broker;
use crate::http2::{ConnectStep, Http2, PeerLimits};
use crate::net::Listen;
use crate::net::{Address, Tls};
use crate::time;

/// A running plugin to connect to, such as one in a debugger, or one that outlived its host. go-plugin:
/// `ClientConfig.Reattach`.
///
/// The connection is plaintext, or uses the given TLS configuration: certificates are exchanged only at a start. If the plugin
/// closes the connection, the next call connects again, provided that the process that listened at first still listens. Over TCP
/// this is unknown, and it does not connect again.
#[must_use = "nothing is connected before `connect`"]
pub struct Attach {
    record: Reattach,
    name: String,
    tls: Option<Tls>,
    http2: Http2,
    timeouts: Timeouts,
    stdout: Option<Writer>,
    stderr: Option<Writer>,
    kill: bool,
}

impl Attach {
    /// Prepares to attach to the plugin of this record. [`parse_map`](plugwire_protocol::reattach::parse_map) reads a set of
    /// records, as in `TF_REATTACH_PROVIDERS`.
    pub fn new(record: Reattach) -> Self {
        Self {
            name: format!("pid {}", record.pid),
            record,
            tls: None,
            http2: Http2::default(),
            timeouts: Timeouts::default(),
            stdout: None,
            stderr: None,
            kill: false,
        }
    }

    /// Names the plugin in logs and errors. Default: `pid` and its pid.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Uses this TLS configuration. Default: plaintext.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets HTTP/2's limits and keep-alive.
    pub fn http2(mut self, http2: Http2) -> Self {
        self.http2 = http2;
        self
    }

    /// Sets the time limits. Default: those of [`Timeouts`]. The limits for exit and termination matter only with
    /// [`Attach::kill_on_shutdown`].
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Lets [`PluginHandle::shutdown`] wait for the end of the plugin's process, and send SIGTERM and SIGKILL if asking does not
    /// help. Default: the plugin is only asked. Dropping the last handle still only disconnects. go-plugin: its default; it
    /// kills by the pid in the record, whichever process has that pid by then.
    ///
    /// The system must confirm that the process of the record is the one that listens at the record's address, which requires a
    /// unix socket, and Linux. Signals reach the process that had the pid at that moment, even if the pid is reused later. One
    /// case is not noticed: the plugin has ended, a child of it continues to listen on its socket, and its pid was reused. The
    /// system still reports the plugin's pid for that socket.
    pub fn kill_on_shutdown(mut self) -> Self {
        self.kill = true;
        self
    }

    /// Does the same as [`Launch::stdout`](super::Launch::stdout).
    pub fn stdout(mut self, writer: impl AsyncWrite + Send + 'static) -> Self {
        self.stdout = Some(Box::pin(writer));
        self
    }

    /// Does the same as [`Launch::stderr`](super::Launch::stderr).
    pub fn stderr(mut self, writer: impl AsyncWrite + Send + 'static) -> Self {
        self.stderr = Some(Box::pin(writer));
        self
    }

    /// Connects. Nothing is started, and nothing is killed later unless [`Attach::kill_on_shutdown`] says so.
    ///
    /// Cancel safety: dropping the future closes the connection.
    pub async fn connect(self) -> Result<PluginHandle, AttachError> {
        let Reattach { network, address, .. } = &self.record;
        let address = Address::parse(*network, address).map_err(AttachError::Address)?;
        let limit = self.timeouts.start;
        let deadline = time::after(limit);
        let late = |_| AttachError::Timeout { limit };
        let process = match self.kill && !self.record.test {
            true => {
                let confirming = confirmed(&address, self.record.pid);
                Some(Arc::new(timeout_at(deadline, confirming).await.map_err(late)??))
            }
            false => None,
        };
        let creating = blocking::run(|_| sockets::private_dir(None, None));
        let dir = timeout_at(deadline, creating).await.map_err(late)?;
        let dir = dir.and_then(|created| created).map_err(AttachError::Directory)?;
        let main = address.directory().map(Path::to_owned);
        let directories = main.into_iter().chain(sockets::temporary_dirs(None));
        let settings = broker::Settings {
            multiplexed: false,
            listen: Listen::Unix { directory: dir.path().to_owned(), group: None },
            tls: self.tls,
            limits: PeerLimits::new(self.http2),
            timeout: self.timeouts.broker,
            trust: broker::Trust::Plugin { directories: directories.collect(), user: None },
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
            pid: (self.record.pid != 0).then_some(self.record.pid),
            test: self.record.test,
            process,
            _dir: Arc::new(dir),
        };
        Ok(PluginHandle(Arc::new(Inner {
            name: self.name,
            version: self.record.protocol_version,
            address,
            session: Arc::new(session),
            owner,
            timeouts: self.timeouts,
            runtime: tokio::runtime::Handle::current(),
        })))
    }
}

/// Opens the process with this pid, if it is the one that listens.
async fn confirmed(address: &Address, pid: u32) -> Result<ForeignProcess, AttachError> {
    let other = |cause| AttachError::OtherProcess { pid, cause };
    if let Address::Tcp(_) = address {
        return Err(other(io::Error::new(io::ErrorKind::Unsupported, "it listens on TCP")));
    }
    // The process is opened first: if it ends now and its pid is reused, the new process does not listen there.
    let process = ForeignProcess::open(pid).map_err(other)?;
    let (_, listens) = address.connect_to_process().await.map_err(other)?;
    match listens.and_then(|process| process.pid()) {
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

/// Why attaching to a running plugin failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The record's address is not one that can be connected to.
    #[error("the record's address cannot be used")]
    Address(#[source] AddressError),
    /// No process listens there any more, or another one does. go-plugin: `ErrProcessNotFound`.
    #[error("{}", match step {
        ConnectStep::Dial => "no process listens at the plugin's address",
        _ => "the process that listens at the plugin's address is not the plugin",
    })]
    Connect {
        /// Which step failed.
        step: ConnectStep,
        /// What the system or the TLS library says.
        #[source]
        cause: io::Error,
    },
    /// No directory could be created for brokered connections. The machine is at fault.
    #[error("no directory for sockets can be created")]
    Directory(#[source] io::Error),
    /// The plugin is to be killed at its shutdown, and the record's process is not known to be the plugin.
    #[error("process {pid} may not be the plugin, so it cannot be killed at the shutdown")]
    OtherProcess {
        /// The record's pid.
        pid: u32,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// Connecting took too long.
    #[error("the plugin did not accept the connection within {limit:?}")]
    Timeout {
        /// The limit.
        limit: Duration,
    },
}

impl AttachError {
    /// Returns a stable name for this kind of failure.
    pub fn code(&self) -> &'static str {
        match self {
            AttachError::Address(error) => error.code(),
            AttachError::Connect { .. } => "attach.connect",
            AttachError::Directory(_) => "attach.folder",
            AttachError::OtherProcess { .. } => "attach.other-process",
            AttachError::Timeout { .. } => "attach.timeout",
        }
    }
}
