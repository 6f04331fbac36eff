//! What an author configures before serving.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::health::Health;
use super::stdio::{Hub, StdioWriter};
use crate::broker::Broker;
use crate::handshake::Handshake;
use crate::http2::Http2;
use crate::net::Tls;
use crate::services::Services;

type MakeServices = Box<dyn FnOnce(Services, Broker) -> Services + Send>;

/// Configures a plugin: what it offers and how. go-plugin: `plugin.Serve` and `ServeConfig`.
///
/// ```no_run
/// use plugwire::{Handshake, plugin::Plugin};
///
/// const GREETER: Handshake = Handshake::new("GREETER_PLUGIN", "hello");
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> std::process::ExitCode {
///     Plugin::new(GREETER)
///         .version(1, |services, _broker| services /* .add(GreeterServer::new(English)) */)
///         .serve()
///         .await
/// }
/// ```
///
/// A current-thread runtime is the fastest choice for a plugin whose handlers do not block.
#[must_use = "a plugin does nothing until it serves"]
pub struct Plugin {
    pub(super) handshake: Handshake,
    pub(super) versions: BTreeMap<u32, MakeServices>,
    pub(super) tcp: bool,
    pub(super) tls: Option<Tls>,
    pub(super) require_mutual_tls: bool,
    pub(super) capture_stderr: bool,
    pub(super) http2: Http2,
    pub(super) drain: Duration,
    pub(super) exit: Duration,
    pub(super) orphaned_after: Option<Duration>,
    pub(super) broker_timeout: Duration,
    pub(super) health: Health,
    pub(super) hub: Arc<Hub>,
}

impl Plugin {
    /// Creates a plugin for hosts that share this handshake. It has no services yet.
    pub fn new(handshake: Handshake) -> Self {
        Self {
            handshake,
            versions: BTreeMap::new(),
            tcp: false,
            tls: None,
            require_mutual_tls: false,
            capture_stderr: false,
            http2: Http2::default(),
            drain: Duration::from_secs(1),
            exit: Duration::from_secs(5),
            orphaned_after: Some(Duration::from_secs(10)),
            broker_timeout: Duration::from_secs(5),
            health: Health::new(),
            hub: Arc::default(),
        }
    }

    /// Offers an app protocol version. `services` is called only for the version that is negotiated: the
    /// highest that both sides have. If they have none in common, that is this side's lowest version; the
    /// host then refuses it, with both lists in its error. The broker is for callbacks into the host.
    ///
    /// go-plugin: `ServeConfig.VersionedPlugins`; with one version, `HandshakeConfig.ProtocolVersion` and `Plugins`.
    pub fn version(
        mut self,
        version: u32,
        services: impl FnOnce(Services, Broker) -> Services + Send + 'static,
    ) -> Self {
        self.versions.insert(version, Box::new(services));
        self
    }

    /// Listens on TCP, on the loopback address, in the host's port range. Default: a unix socket. Any user
    /// of the machine can connect to a port, so combine it with [`Plugin::require_mutual_tls`]. go-plugin:
    /// Windows only.
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// Serves with this TLS configuration instead of the one that the host's certificate asks for. The
    /// handshake line then has no certificate, and the host must know which one to trust. go-plugin:
    /// `ServeConfig.TLSProvider`.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Refuses hosts that send no certificate. Default: the host decides, as in Go. Without
    /// `PLUGIN_CLIENT_CERT` the connection is plaintext, and only the directory protects the socket.
    /// go-plugin has no counterpart.
    pub fn require_mutual_tls(mut self) -> Self {
        self.require_mutual_tls = true;
        self
    }

    /// Sends standard error to the host's stdio stream as well, as go-plugin does with `os.Stderr`.
    /// Default: it stays as it is, and the host logs it. Panics always go to the original standard error,
    /// because a pipe that this process reads itself would lose them. While the capture lasts, the
    /// program's own panic hook is not called.
    pub fn capture_stderr(mut self) -> Self {
        self.capture_stderr = true;
        self
    }

    /// Sets HTTP/2's limits, keep-alive and concurrency. go-plugin: `ServeConfig.GRPCServer`.
    pub fn http2(mut self, http2: Http2) -> Self {
        self.http2 = http2;
        self
    }

    /// Sets how long `Shutdown` waits for calls in progress before it ends them. Default 1 s. Hosts on
    /// go-plugin wait for the answer without a limit, so a long time here delays them. go-plugin: none, it
    /// cuts calls off.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// Sets how long the process may continue, beyond [`Plugin::drain_timeout`], once it has to end. The
    /// time is for the last output, for what `main` does after [`Plugin::serve`], and for threads that
    /// handlers left behind, which keep a runtime open. After that the process exits with status 1,
    /// wherever it hangs, without running exit handlers. Default 5 s; hosts kill it earlier. go-plugin:
    /// none.
    pub fn exit_timeout(mut self, limit: Duration) -> Self {
        self.exit = limit;
        self
    }

    /// Sets how long the plugin keeps running without its host. The host counts as gone when no process
    /// can read this process's standard output any more, no peer has been connected during all that time,
    /// and none of the processes that were connected still runs. A peer counts as connected once TLS and
    /// HTTP/2 are established; its process is known over unix sockets only. Default 10 s. go-plugin: none,
    /// a plugin keeps running.
    pub fn orphan_timeout(mut self, limit: Duration) -> Self {
        self.orphaned_after = Some(limit);
        self
    }

    /// Keeps running without its host, so that another host can attach, which then has to end it. Default:
    /// see [`Plugin::orphan_timeout`]. A plugin that a plugwire host starts with `Launch::outlives_host`
    /// always does so.
    pub fn outlives_host(mut self) -> Self {
        self.orphaned_after = None;
        self
    }

    /// Sets how long the broker waits for the host to accept a connection, or to connect at all. Default
    /// 5 s, as in go-plugin.
    pub fn broker_timeout(mut self, limit: Duration) -> Self {
        self.broker_timeout = limit;
        self
    }

    /// Returns the handle that sets what health checks answer, now and later.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Returns a writer to the host's `SyncStdout` that bypasses this process's own standard output.
    #[must_use]
    pub fn stdout(&self) -> StdioWriter {
        StdioWriter::stdout(&self.hub)
    }

    /// Returns a writer to the host's `SyncStderr` that bypasses this process's own standard error.
    #[must_use]
    pub fn stderr(&self) -> StdioWriter {
        StdioWriter::stderr(&self.hub)
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("handshake", &self.handshake)
            .field("versions", &self.versions.keys())
            .finish_non_exhaustive()
    }
}
