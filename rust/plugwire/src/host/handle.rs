//! What a user holds of a running plugin.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use plugwire_process::{Exit, ForeignProcess, PrivateDir};
use plugwire_protocol::reattach::Reattach;
use tokio::runtime::Handle;

use super::error::PingError;
use super::process::PluginProcess;
use super::session::Session;
use super::settings::Timeouts;
use crate::Broker;
use crate::generated::grpc::health::v1::health_check_response::ServingStatus;
use crate::generated::grpc::health::v1::{HealthCheckRequest, health_client::HealthClient};
use crate::http2::Channel;
use crate::net::Address;

/// A deadline beyond it is none.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A running plugin. go-plugin: `Client`.
///
/// A clone is cheap and is the same plugin. When the last clone is dropped, the plugin is shut down in the background, like
/// [`PluginHandle::shutdown`] does it; when the tokio runtime shuts down first, the plugin is killed. A plugin that this host
/// did not start, or that [outlives it](super::Launch::outlives_host), is only disconnected.
///
/// To end several plugins at once, shut them down concurrently; this takes as long as the slowest one:
///
/// ```no_run
/// # async fn run(plugins: Vec<plugwire::host::PluginHandle>) {
/// let ended = futures_util::future::join_all(plugins.iter().map(|plugin| plugin.shutdown())).await;
/// # }
/// ```
#[derive(Clone)]
#[must_use = "the plugin is shut down when the last handle is dropped"]
pub struct PluginHandle(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) name: String,
    pub(super) version: u32,
    pub(super) address: Address,
    pub(super) session: Arc<Session>,
    pub(super) owner: Owner,
    pub(super) timeouts: Timeouts,
    pub(super) runtime: Handle,
}

/// Which host the process belongs to.
#[derive(Clone)]
pub(super) enum Owner {
    /// This one.
    Us(PluginProcess),
    /// Another one. A plugin in a test is ended by the test.
    Other {
        pid: Option<u32>,
        test: bool,
        /// The process, if this host may kill it anyway.
        process: Option<Arc<ForeignProcess>>,
        _dir: Arc<PrivateDir>,
    },
}

impl PluginHandle {
    /// Returns the channel to the plugin's services, for tonic's generated clients.
    pub fn channel(&self) -> Channel {
        self.0.session.channel.clone()
    }

    /// Returns the broker, for callbacks in either direction.
    pub fn broker(&self) -> Broker {
        self.0.session.broker()
    }

    /// Returns the app protocol version that both sides agreed on. go-plugin: `Client.NegotiatedVersion`.
    pub fn version(&self) -> u32 {
        self.0.version
    }

    /// Returns the name in logs and errors.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the process's pid; `None` for a plugin whose record did not say it, or that a runner started. go-plugin:
    /// `Client.ID`.
    pub fn pid(&self) -> Option<u32> {
        match &self.0.owner {
            Owner::Us(process) => process.pid(),
            Owner::Other { pid, .. } => *pid,
        }
    }

    /// Returns the id that its [`Runner`](super::Runner) gave it, if one started it. go-plugin: `Client.ID`.
    pub fn runner_id(&self) -> Option<&str> {
        match &self.0.owner {
            Owner::Us(process) => process.runner_id(),
            Owner::Other { .. } => None,
        }
    }

    /// Returns the record by which another host can attach to this plugin while it runs. It cannot if the plugin uses mutual
    /// TLS, because only this host has the key. go-plugin: `Client.ReattachConfig`.
    pub fn record(&self) -> Reattach {
        let address = &self.0.address;
        Reattach::new(self.0.version, address.network(), address.to_bytes())
            .with_pid(self.pid().unwrap_or_default())
            .with_test(matches!(self.0.owner, Owner::Other { test: true, .. }))
    }

    /// Calls the plugin's health service. Fails if the plugin answers `NOT_SERVING`. go-plugin: `ClientProtocol.Ping`, which
    /// any answer satisfies.
    pub async fn ping(&self) -> Result<(), PingError> {
        let mut health = HealthClient::new(self.channel());
        let mut request = tonic::Request::new(HealthCheckRequest { service: "plugin".to_owned() });
        // tonic panics at a limit that the header has no room for, and more than a year is none.
        if self.0.timeouts.ping < YEAR {
            request.set_timeout(self.0.timeouts.ping);
        }
        let answer = health.check(request).await.map_err(PingError::Call)?;
        match answer.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            _ => Err(PingError::NotServing),
        }
    }

    /// Waits until the plugin's process ends, however that happens. Never resolves for a plugin that this host did not start.
    /// Cancel safe. go-plugin: `Client.Exited`.
    pub async fn exited(&self) -> Exit {
        match &self.0.owner {
            Owner::Us(process) => process.exited().await,
            Owner::Other { .. } => std::future::pending().await,
        }
    }

    /// Returns how the process ended, if it did.
    pub fn exit_status(&self) -> Option<Exit> {
        match &self.0.owner {
            Owner::Us(process) => process.exit_status(),
            Owner::Other { .. } => None,
        }
    }
}

impl fmt::Debug for PluginHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginHandle")
            .field("name", &self.0.name)
            .field("version", &self.0.version)
            .field("address", &self.0.address)
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}
