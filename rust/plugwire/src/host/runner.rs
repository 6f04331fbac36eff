//! Starting a plugin by other means than as a process of this machine: in a container, in a sandbox, over ssh.

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

use super::Launch;
use crate::net::{AddrTranslator, Mounted};

/// Starts a plugin in a way of its own, for [`Launch::runner`]. go-plugin: `ClientConfig.RunnerFunc`
/// and `runner.Runner`.
///
/// `examples/src/bin/namespace-host.rs` has one that is complete.
#[tonic::async_trait]
pub trait Runner: Send + Sync + 'static {
    /// Starts the plugin. Called once for each start. A host that is killed drops nothing, and its guardian does not know
    /// what a runner has started: what is to end with the host then, the runner has to see to.
    ///
    /// [`Launch::start_timeout`] covers it:
    /// dropping the future has to end what was begun. An error is a [`StartError::Spawn`](super::StartError::Spawn).
    /// go-plugin: `Runner.Start`.
    async fn start(&self, plan: Plan) -> io::Result<Started>;

    /// What might help to understand why the plugin with this id did not come up; asked for after a failed start, for a few
    /// seconds. go-plugin: `Runner.Diagnose`.
    async fn diagnose(&self, id: &str) -> Option<String> {
        let _ = id;
        None
    }
}

/// What a runner is to start.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// The program, as [`Launch::new`] got it: a path where the plugin is, an image, a name.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment, with the protocol's variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// Its working directory, if one is set.
    pub directory: Option<PathBuf>,
    /// The private folder for sockets, as the host sees it. The plugin has to find it under the name that is in
    /// `PLUGIN_UNIX_SOCKET_DIR`. It is removed when the plugin has ended.
    pub socket_folder: PathBuf,
}

impl Plan {
    /// Tells the plugin that its folder for sockets is `seen`, and returns the translation that goes with it, for
    /// [`Started::translate`]. A plugin on go-plugin before 1.5 knows no such folder: let its `TMPDIR` be `seen`, too.
    pub fn mounted_at(&mut self, seen: impl Into<PathBuf>) -> Mounted {
        let seen = seen.into();
        self.variables.insert(PLUGIN_UNIX_SOCKET_DIR.into(), seen.clone().into());
        Mounted::new(self.socket_folder.clone(), seen)
    }
}

pub(super) type Output = Pin<Box<dyn AsyncRead + Send>>;

/// A plugin that a runner has started.
#[must_use]
pub struct Started {
    pub(super) id: String,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    pub(super) running: Box<dyn Running>,
    pub(super) translate: Option<Arc<dyn AddrTranslator>>,
}

impl Started {
    /// What is running under this id, and the two ends of what it prints. go-plugin: `Runner.ID`, `Runner.Stdout`,
    /// `Runner.Stderr`.
    pub fn new(
        id: impl Into<String>,
        stdout: impl AsyncRead + Send + 'static,
        stderr: impl AsyncRead + Send + 'static,
        running: impl Running,
    ) -> Self {
        let (stdout, stderr) = (Box::pin(stdout), Box::pin(stderr));
        Self { id: id.into(), stdout, stderr, running: Box::new(running), translate: None }
    }

    /// The plugin sees other addresses. Default: the same.
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

/// A plugin while it runs, and its end. Dropping it has to end the plugin: that is what happens when the host's runtime
/// goes. go-plugin: `runner.AttachedRunner`.
#[tonic::async_trait]
pub trait Running: Send + 'static {
    /// Waits for the end. Has to be cancel safe; is called again after [`Running::kill`], and has then 2 s to tell.
    /// go-plugin: `Wait`.
    async fn wait(&mut self) -> io::Result<ExitStatus>;

    /// Ends it now, with everything that it started, within 5 s. Harmless when it has ended. go-plugin: `Kill`.
    async fn kill(&mut self) -> io::Result<()>;
}

/// What is asked of the process that this crate starts is not asked of a runner.
pub(super) fn check(launch: &Launch) -> Result<(), &'static str> {
    if launch.runner.is_none() {
        return Ok(());
    }
    if launch.verification.is_wanted() {
        return Err("a runner executes what it likes: it has to verify that itself");
    }
    if !launch.confinement.is_empty() {
        return Err("a runner has to confine what it starts itself");
    }
    if launch.inherit_stdin {
        return Err("a runner does not pass standard input on");
    }
    if launch.outlives_host {
        return Err("a runner's plugin ends with its host");
    }
    Ok(())
}
