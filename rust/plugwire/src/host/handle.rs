//! What a user holds of a running plugin.

use std::fmt;
use std::sync::Arc;

use plugwire_protocol::reattach::Reattach;
use tokio::runtime::Handle;

use super::dispense::{DispenseError, Dispensers};
use super::error::{PingError, ShutdownError};
use super::exit::{Exit, ShutdownReport};
use super::launch::Limits;
use super::session::Session;
use super::shutdown::shut_down;
use super::supervise::Process;
use super::system::Foreign;
use crate::Broker;
use crate::generated::grpc::health::v1::health_check_response::ServingStatus;
use crate::generated::grpc::health::v1::{HealthCheckRequest, health_client::HealthClient};
use crate::http2::Channel;
use crate::net::Address;
use crate::net::private_dir::PrivateFolder;

/// A running plugin. go-plugin: `Client`.
///
/// A clone is cheap and is the same plugin. When the last clone is dropped, the plugin is shut down in the
/// background, as [`PluginHandle::shutdown`] does it; when the tokio runtime itself ends first, the plugin is killed. One
/// that this host did not start, or that [outlives it](super::Launch::outlives_host), is only disconnected.
#[derive(Clone)]
pub struct PluginHandle(pub(super) Arc<Inner>);

pub(super) struct Inner {
    name: String,
    version: u32,
    address: Address,
    session: Arc<Session>,
    owner: Owner,
    dispensers: Dispensers,
    limits: Limits,
    runtime: Handle,
}

/// Whose process it is.
#[derive(Clone)]
pub(super) enum Owner {
    /// This host's.
    Us(Process),
    /// Somebody else's; a test that serves the plugin ends it itself.
    Other {
        pid: u32,
        test: bool,
        /// Where this host may kill it all the same.
        process: Option<Arc<Foreign>>,
        _folder: Arc<PrivateFolder>,
    },
}

impl PluginHandle {
    pub(super) fn new(
        name: String,
        version: u32,
        address: Address,
        session: Session,
        owner: Owner,
        dispensers: Dispensers,
        limits: Limits,
    ) -> Self {
        let (session, runtime) = (Arc::new(session), Handle::current());
        Self(Arc::new(Inner {
            name,
            version,
            address,
            session,
            owner,
            dispensers,
            limits,
            runtime,
        }))
    }

    /// The plugin's services, for tonic's generated clients.
    pub fn channel(&self) -> Channel {
        self.0.session.channel.clone()
    }

    /// The broker, for callbacks in either direction.
    pub fn broker(&self) -> Broker {
        self.0.session.broker()
    }

    /// The client that `Launch::dispenses` makes under this name. No call is made. go-plugin: `ClientProtocol.Dispense`.
    pub fn dispense<T: 'static>(&self, name: &str) -> Result<T, DispenseError> {
        self.0.dispensers.dispense(name, self.channel(), self.broker())
    }

    /// The app protocol version that both sides agreed on. go-plugin: `Client.NegotiatedVersion`.
    pub fn version(&self) -> u32 {
        self.0.version
    }

    /// The name in logs and errors.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The process's id; 0 for a plugin whose record did not say, or that a runner has started. go-plugin: `Client.ID`.
    pub fn id(&self) -> u32 {
        match &self.0.owner {
            Owner::Us(process) => process.pid,
            Owner::Other { pid, .. } => *pid,
        }
    }

    /// What its [`Runner`](super::Runner) calls it, if one has started it. go-plugin: `Client.ID`.
    pub fn runner_id(&self) -> Option<&str> {
        match &self.0.owner {
            Owner::Us(process) => process.id.as_deref(),
            Owner::Other { .. } => None,
        }
    }

    /// Where another host can attach to this plugin while it runs, mutual TLS excepted: nobody else has the key.
    /// go-plugin: `Client.ReattachConfig`.
    pub fn record(&self) -> Reattach {
        let address = &self.0.address;
        Reattach::new(self.0.version, address.network(), address.to_string())
            .with_pid(self.id())
            .with_test(matches!(self.0.owner, Owner::Other { test: true, .. }))
    }

    /// Asks the plugin's health service, and takes the status seriously: a plugin that answers `NOT_SERVING` is not
    /// well. go-plugin: `ClientProtocol.Ping`, which any answer satisfies.
    pub async fn ping(&self) -> Result<(), PingError> {
        let mut health = HealthClient::new(self.channel());
        let mut request = tonic::Request::new(HealthCheckRequest { service: "plugin".to_owned() });
        request.set_timeout(self.0.limits.ping);
        let answer = health.check(request).await.map_err(PingError::Call)?;
        match answer.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            _ => Err(PingError::NotServing),
        }
    }

    /// Waits for the end of the plugin's process, however it comes. Never resolves for a plugin that this host did not
    /// start. Cancel safe. go-plugin: `Client.Exited`.
    pub async fn exited(&self) -> Exit {
        match &self.0.owner {
            Owner::Us(process) => process.exited().await,
            Owner::Other { .. } => std::future::pending().await,
        }
    }

    /// How the process ended, if it has.
    pub fn exit_status(&self) -> Option<Exit> {
        match &self.0.owner {
            Owner::Us(process) => process.ended(),
            Owner::Other { .. } => None,
        }
    }

    /// Ends the plugin: lets calls under way finish, asks it (`Shutdown`), closes the connection, waits for the process,
    /// sends SIGTERM to its process group, and then SIGKILL. Each step has its limit, so this always returns;
    /// [`ShutdownReport::phase`] tells which step it took. With the defaults it takes 9 s at worst, and 5 s more where even SIGKILL does
    /// not help. What a plugin printed last is then read: in no time, or as soon as a busy runtime comes to it, and not for longer
    /// than 10 s.
    ///
    /// A plugin that this host did not start is asked and not killed, and its end is not waited for, unless
    /// [`Attach::kill_on_shutdown`](super::Attach::kill_on_shutdown) says so; one in a test is only let go.
    /// go-plugin: `Client.Kill`.
    ///
    /// Cancel safety: dropping the future stops waiting; the plugin is then ended when the last handle is dropped.
    pub async fn shutdown(&self) -> Result<ShutdownReport, ShutdownError> {
        shut_down(self.0.session.clone(), self.0.owner.clone(), self.0.limits).await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Owner::Us(process) = &self.owner else { return };
        if process.ended().is_none() && !process.outlives_host {
            // If the runtime is already going, the task is dropped unrun, and the supervisor's own end kills.
            self.runtime.spawn(shut_down(self.session.clone(), self.owner.clone(), self.limits));
        }
    }
}

impl fmt::Debug for PluginHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginHandle")
            .field("name", &self.0.name)
            .field("version", &self.0.version)
            .field("address", &self.0.address)
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}
