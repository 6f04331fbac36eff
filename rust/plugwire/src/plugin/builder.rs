//! What an author sets before serving.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::stdio::{Hub, StdioWriter};
use super::{Health, ServeError, TestPlugin, serve, test_mode};
use crate::http2::Http2;
use crate::net::Tls;
use crate::{Broker, Handshake, Services};

type MakeServices = Box<dyn FnOnce(Services, Broker) -> Services + Send>;

/// A plugin: what it offers and how. go-plugin: `plugin.Serve` and `ServeConfig`.
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
/// A current-thread runtime is the fastest for a plugin whose handlers do not block.
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
    /// A plugin for hosts that share this handshake, so far without services.
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

    /// Offers an app protocol version. `services` is called for the one version that is negotiated: the highest that
    /// both sides have or, where there is none, our lowest, which the host will then refuse with both lists in its
    /// error. The broker is for callbacks into the host.
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

    /// Listens on TCP, on this machine's loopback, in the host's port range. Default: a unix socket. Any user of the
    /// machine can connect to a port, so combine it with [`Plugin::require_mutual_tls`]. go-plugin: Windows only.
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// Serves with this TLS configuration in place of the one that the host's certificate asks for. The handshake line
    /// then holds no certificate, and the host must know whom to trust. go-plugin: `ServeConfig.TLSProvider`.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Refuses hosts that send no certificate. Default: the host decides, as in Go: without `PLUGIN_CLIENT_CERT` the
    /// connection is plain, protected by the socket's folder alone. go-plugin has no counterpart.
    pub fn require_mutual_tls(mut self) -> Self {
        self.require_mutual_tls = true;
        self
    }

    /// Sends standard error to the host's stdio stream as well, as go-plugin does with `os.Stderr`. Default: it stays
    /// as it is, and the host logs it. Panics go to the real one in any case: a pipe that this process empties itself
    /// would lose them. A panic hook of the program's own is not called while this lasts.
    pub fn capture_stderr(mut self) -> Self {
        self.capture_stderr = true;
        self
    }

    /// Sets HTTP/2's limits, keep-alive and concurrency. go-plugin: `ServeConfig.GRPCServer`.
    pub fn http2(mut self, http2: Http2) -> Self {
        self.http2 = http2;
        self
    }

    /// How long `Shutdown` waits for calls under way before it ends them. Default 1 s. Hosts on go-plugin wait for the
    /// answer without a limit, so a long time here holds them up. go-plugin: none, it cuts calls off.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// How long the process may live on, beyond [`Plugin::drain_timeout`], once it is to end: for the last output, for what
    /// `main` does after [`Plugin::serve`], and for threads that handlers left behind, which hold a runtime open. Then it
    /// exits with status 1, wherever it hangs, and runs nothing that was left for the exit. Default 5 s; hosts kill it earlier. go-plugin: none.
    pub fn exit_timeout(mut self, limit: Duration) -> Self {
        self.exit = limit;
        self
    }

    /// How long the plugin goes on without its host. The host is taken for gone when nobody can read this process's
    /// standard output any more and nobody has been connected all that time: who does
    /// not pass the handshakes of TLS and HTTP/2 does not count. Default 10 s. go-plugin: none, a plugin
    /// lives on.
    pub fn orphan_timeout(mut self, limit: Duration) -> Self {
        self.orphaned_after = Some(limit);
        self
    }

    /// Goes on without its host, for another to attach to, which then has to end it. See [`Plugin::orphan_timeout`].
    /// A plugin that a plugwire host starts with `Launch::outlives_host` does so in any case.
    pub fn outlives_host(mut self) -> Self {
        self.orphaned_after = None;
        self
    }

    /// How long the broker waits for the host to accept a connection, or to be there at all. Default 5 s, as in go-plugin.
    pub fn broker_timeout(mut self, limit: Duration) -> Self {
        self.broker_timeout = limit;
        self
    }

    /// Sets what health checks answer, now and later.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Writes to the host's `SyncStdout`, past this process's own standard output.
    pub fn stdout(&self) -> StdioWriter {
        StdioWriter::stdout(&self.hub)
    }

    /// Writes to the host's `SyncStderr`, past this process's own standard error.
    pub fn stderr(&self) -> StdioWriter {
        StdioWriter::stderr(&self.hub)
    }

    /// Serves until the host says `Shutdown`, and returns what `main` should return. Prints to standard error what
    /// kept it from serving: for people where the program was run by hand, for the host's log otherwise.
    ///
    /// Once the handshake line is out and until this returns, descriptor 1 is a pipe to the host's stdio stream. SIGINT is
    /// ignored from then on for good: Ctrl-C in a terminal reaches the whole group, and the host decides when a plugin
    /// ends. Must run inside tokio, with I/O and time enabled. One plugin serves in one process.
    pub async fn serve(self) -> ExitCode {
        match self.try_serve().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                serve::report(&error);
                ExitCode::FAILURE
            }
        }
    }

    /// As [`Plugin::serve`], with the error in place of its text.
    ///
    /// Cancel safety: dropping the future stops serving at once and gives descriptor 1 back; what was printed and not
    /// yet sent is lost.
    pub async fn try_serve(self) -> Result<(), ServeError> {
        serve::serve(self).await
    }

    /// Serves inside this process, for tests: no cookie, no handshake line, no signals, no captured output. Uses the
    /// version given, which must be registered. go-plugin: `ServeTestConfig`.
    ///
    /// Must be called inside a tokio runtime.
    pub fn serve_in_test(self, version: u32) -> Result<TestPlugin, ServeError> {
        test_mode::start(self, version)
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
