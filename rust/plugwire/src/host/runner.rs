//! Starts a plugin by other means than as a child process: in a container, in a sandbox, over ssh.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;

use plugwire_protocol::environment::PLUGIN_UNIX_SOCKET_DIR;
use tokio::io::AsyncRead;

use crate::net::{AddrTranslator, Mounted};

/// Starts a plugin by other means than as a child process, for [`Launch::runner`](super::Launch::runner). go-plugin:
/// `ClientConfig.RunnerFunc` and `runner.Runner`.
///
/// The example `namespace-host` has a complete one.
#[tonic::async_trait]
pub trait Runner: Send + Sync + 'static {
    /// Starts the plugin. Called once for each start.
    ///
    /// [`Launch::start_timeout`](super::Launch::start_timeout) covers it: dropping the future must end what was begun. An
    /// error becomes a [`StartError::Spawn`](super::StartError::Spawn).
    ///
    /// If the host is killed, nothing is dropped, and the guardian does not know what a runner started. The runner itself must
    /// make sure that the plugin ends with the host.
    /// go-plugin: `Runner.Start`.
    async fn start(&self, plan: Plan) -> io::Result<Started>;

    /// Returns what may explain why the plugin with this id did not start. Called after a failed start, and dropped after 5 s.
    /// go-plugin: `Runner.Diagnose`.
    async fn diagnose(&self, id: &str) -> Option<String> {
        let _ = id;
        None
    }
}

/// What a runner is to start.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// The program, as given to [`Launch::new`](super::Launch::new): a path where the plugin runs, an image, a name.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment, with the protocol's variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// Its working directory, if one is set.
    pub directory: Option<PathBuf>,
    /// The private directory for sockets, as the host sees it. The plugin must find it under the name that is in
    /// `PLUGIN_UNIX_SOCKET_DIR`. It is removed when the plugin has ended.
    pub socket_dir: PathBuf,
}

impl Plan {
    /// Tells the plugin that its directory for sockets is `seen`, and returns the matching translation for
    /// [`Started::translate`]. Plugins on go-plugin before 1.5 ignore that directory: set their `TMPDIR` to `seen`, too.
    pub fn mounted_at(&mut self, seen: impl Into<PathBuf>) -> Mounted {
        let seen = seen.into();
        self.variables.insert(PLUGIN_UNIX_SOCKET_DIR.into(), seen.clone().into());
        Mounted::new(self.socket_dir.clone(), seen)
    }
}

/// One of the two streams that a plugin prints to.
pub(super) type Pipe = Pin<Box<dyn AsyncRead + Send>>;

/// A plugin that a runner has started.
#[must_use]
pub struct Started {
    pub(super) id: String,
    pub(super) stdout: Pipe,
    pub(super) stderr: Pipe,
    pub(super) running: Box<dyn Running>,
    pub(super) translate: Option<Arc<dyn AddrTranslator>>,
}

impl Started {
    /// Describes a running plugin: its id, its standard output and standard error, and its life. go-plugin: `Runner.ID`,
    /// `Runner.Stdout`, `Runner.Stderr`.
    pub fn new(
        id: impl Into<String>,
        stdout: impl AsyncRead + Send + 'static,
        stderr: impl AsyncRead + Send + 'static,
        running: impl Running,
    ) -> Self {
        let (stdout, stderr) = (Box::pin(stdout), Box::pin(stderr));
        Self { id: id.into(), stdout, stderr, running: Box::new(running), translate: None }
    }

    /// Translates addresses, if the plugin sees other ones than the host. Default: both see the same.
    pub fn translate(mut self, translate: impl AddrTranslator + 'static) -> Self {
        self.translate = Some(Arc::new(translate));
        self
    }
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A plugin that runs. Dropping it must end the plugin, because it is dropped when the host's runtime shuts down. go-plugin:
/// `runner.AttachedRunner`.
#[tonic::async_trait]
pub trait Running: Send + 'static {
    /// Waits for the end. Must be cancel safe. Called again after [`Running::kill`], and must then return within 2 s.
    /// go-plugin: `Wait`.
    async fn wait(&mut self) -> io::Result<ExitStatus>;

    /// Kills it with everything that it started, within 5 s. Must be harmless if it has ended. go-plugin: `Kill`.
    async fn kill(&mut self) -> io::Result<()>;
}
