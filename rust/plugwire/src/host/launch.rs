//! What a user sets before a plugin is started.

use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plugwire_process::{Checksum, Confinement, Verification};
use plugwire_protocol::environment::PortRange;
use plugwire_protocol::handshake::MultiplexWish;
use tokio::io::AsyncWrite;

use super::environment::Inherit;
use super::runner::Runner;
use super::settings::{LogSink, Output, Security, Timeouts};
use crate::Handshake;
use crate::http2::Http2;
use crate::net::Tls;

/// A plugin to start, and how. go-plugin: `plugin.NewClient` and `ClientConfig`.
///
/// ```no_run
/// use plugwire::{Handshake, host::Launch};
///
/// const GREETER: Handshake = Handshake::new("GREETER_PLUGIN", "hello");
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let plugin = Launch::new(GREETER, "./greeter").version(1).start().await?;
/// // let mut greeter = GreeterClient::new(plugin.channel());
/// plugin.shutdown().await?;
/// # Ok(())
/// # }
/// ```
///
/// The defaults are the safe choices: mutual TLS, a clean environment, a private directory for sockets, and a plugin that
/// ends with the last of its handles.
#[must_use = "nothing is started before `start`"]
pub struct Launch {
    pub(super) handshake: Handshake,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) directory: Option<PathBuf>,
    pub(super) inherit_stdin: bool,
    pub(super) inherit: Inherit,
    pub(super) variables: Vec<(OsString, OsString)>,
    pub(super) versions: BTreeSet<u32>,
    pub(super) security: Security,
    pub(super) ports: Option<PortRange>,
    pub(super) socket_group: Option<String>,
    pub(super) socket_dir: Option<PathBuf>,
    pub(super) skip_noise: bool,
    pub(super) output: Output,
    pub(super) verification: Verification,
    pub(super) confinement: Confinement,
    pub(super) runner: Option<Arc<dyn Runner>>,
    pub(super) http2: Http2,
    pub(super) timeouts: Timeouts,
    pub(super) outlives_host: bool,
    pub(super) multiplex: MultiplexWish,
    pub(super) any_broker_address: bool,
}

impl Launch {
    /// Prepares to start a program as a plugin. A name without a slash is looked up in this process's `PATH`; a relative
    /// path is relative to this process's working directory, whatever [`Launch::current_dir`] says.
    /// go-plugin: `ClientConfig.Cmd`.
    pub fn new(handshake: Handshake, program: impl Into<PathBuf>) -> Self {
        Self {
            handshake,
            program: program.into(),
            arguments: Vec::new(),
            directory: None,
            inherit_stdin: false,
            inherit: Inherit::default(),
            variables: Vec::new(),
            versions: BTreeSet::new(),
            security: Security::Mutual,
            ports: Some(PortRange::default()),
            socket_group: None,
            socket_dir: None,
            skip_noise: false,
            output: Output::default(),
            verification: Verification::default(),
            confinement: Confinement::default(),
            runner: None,
            http2: Http2::default(),
            timeouts: Timeouts::default(),
            outlives_host: false,
            multiplex: MultiplexWish::No,
            any_broker_address: false,
        }
    }

    /// Accepts this app protocol version. To offer several, call it several times; the plugin chooses the highest one that it
    /// supports, and [`PluginHandle::version`] returns it. go-plugin: the keys of `ClientConfig.VersionedPlugins`; with one
    /// version, `HandshakeConfig.ProtocolVersion`.
    ///
    /// [`PluginHandle::version`]: super::PluginHandle::version
    pub fn version(mut self, version: u32) -> Self {
        self.versions.insert(version);
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets the plugin's working directory. Default: this process's.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Lets the plugin read this process's standard input. Default: its standard input is empty. go-plugin always passes it on.
    ///
    /// The plugin then stays in this process's group, because a terminal stops processes of other groups that read from it.
    /// Ctrl-C reaches it, and its children are not ended with it.
    pub fn inherit_stdin(mut self) -> Self {
        self.inherit_stdin = true;
        self
    }

    /// Sets an environment variable for the plugin. The protocol's own variables have their own setters, and are ignored here:
    /// if a host's whole environment is copied, an outer host's `PLUGIN_*` variables are in it.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Passes on these variables of this process, if they are set, in addition to those that every plugin gets: `PATH`,
    /// `HOME`, `USER`, `LANG`, `LC_*`, `TZ` and `TMPDIR`.
    pub fn inherit_env(mut self, names: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.inherit.also(names.into_iter().map(Into::into));
        self
    }

    /// Passes on this process's whole environment, secrets included; only an outer host's `PLUGIN_*` variables are
    /// left out. go-plugin's default; its `SkipHostEnv` passes nothing.
    pub fn inherit_env_all(mut self) -> Self {
        self.inherit = Inherit::All;
        self
    }

    /// Sets all time limits in one value, which [`Attach`](super::Attach::timeouts) takes, too. The methods below set a single
    /// one.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Limits the whole start, from the directory for the sockets and the verification of the program to the first answer in
    /// HTTP/2. Default one minute. The error of a failed start may come some seconds later: a plugin that is about to exit
    /// gets up to 3 s for it, so that its exit status is known, and is then killed and cleaned up after.
    ///
    /// A start that waits for a file system that does not answer leaves a thread behind, which ends once the file system
    /// answers. The number of such threads has no limit: each further attempt adds one.
    /// go-plugin: `ClientConfig.StartTimeout`, which ends with the handshake line.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.start = limit;
        self
    }

    /// Limits [`PluginHandle::ping`](super::PluginHandle::ping). Default 5 s. go-plugin: none.
    pub fn ping_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.ping = limit;
        self
    }

    /// Limits how long [`PluginHandle::shutdown`](super::PluginHandle::shutdown) lets calls under way finish before it begins.
    /// Default 1 s. go-plugin: none, it cuts them off.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.drain = limit;
        self
    }

    /// Limits how long [`PluginHandle::shutdown`](super::PluginHandle::shutdown) waits for the answer to `Shutdown`. Default
    /// 5 s. go-plugin: none, so a stopped plugin blocks its host forever.
    pub fn shutdown_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.shutdown = limit;
        self
    }

    /// Limits how long the process may take to exit after `Shutdown` before it gets SIGTERM. Default 2 s, after which
    /// go-plugin kills.
    pub fn exit_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.exit = limit;
        self
    }

    /// Limits how long the process may take to exit after SIGTERM before it is killed with its group. Default 1 s; zero skips
    /// SIGTERM. go-plugin: none.
    pub fn terminate_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.terminate = limit;
        self
    }

    /// Uses this TLS configuration instead of exchanged certificates. go-plugin: `ClientConfig.TLSConfig`.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.security = Security::Own(tls);
        self
    }

    /// Gives access to settings that weaken a protection.
    pub fn dangerous(self) -> Dangerous {
        Dangerous(self)
    }

    /// Sets the range of ports for a plugin that listens on TCP. Default 10000 to 25000; `None` lets it take any.
    /// go-plugin: `ClientConfig.MinPort` and `MaxPort`.
    pub fn ports(mut self, range: Option<PortRange>) -> Self {
        self.ports = range;
        self
    }

    /// Lets this group, a number or a name, use the plugin's sockets. Default: only this user can.
    /// go-plugin: `UnixSocketConfig.Group`.
    pub fn socket_group(mut self, group: impl Into<String>) -> Self {
        self.socket_group = Some(group.into());
        self
    }

    /// Sets where the private directory for the plugin's sockets is created. Default: the system's temporary directory, or
    /// `/tmp` if that path is too long for a socket, not UTF-8, or contains `|` or a line break. go-plugin:
    /// `UnixSocketConfig.TempDir`.
    ///
    /// It and the directories above it must belong to this user or to root, and must have the sticky bit if others may write
    /// to them. In a directory that is not UTF-8, brokered connections need [`Launch::multiplex`].
    pub fn socket_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.socket_dir = Some(directory.into());
        self
    }

    /// Skips lines on standard output that are not a handshake line. Default: the first line counts, as in go-plugin, and
    /// anything else is an error that shows the line. At most 1 MiB is skipped.
    pub fn skip_noise(mut self) -> Self {
        self.skip_noise = true;
        self
    }

    /// Names the plugin in logs and errors. Default: the program's file name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.output.name = Some(name.into());
        self
    }

    /// Receives what the plugin prints to standard output after its handshake line. Default: [`tracing`], line by line, at
    /// level `INFO`. A writer that waits slows the plugin down. go-plugin: `ClientConfig.SyncStdout`.
    pub fn stdout(mut self, writer: impl AsyncWrite + Send + 'static) -> Self {
        self.output.stdout = Some(Box::pin(writer));
        self
    }

    /// Receives what the plugin sends as standard error on the stdio stream, such as what a Go plugin prints after the handshake.
    /// Default: [`tracing`], as for [`Launch::stdout`]. go-plugin: `ClientConfig.SyncStderr`.
    pub fn stderr(mut self, writer: impl AsyncWrite + Send + 'static) -> Self {
        self.output.stderr = Some(Box::pin(writer));
        self
    }

    /// Receives every byte of the process's standard error, in addition to the log. A writer that waits slows the plugin down; a
    /// writer that fails is not used again. Default: none. go-plugin: `ClientConfig.Stderr`.
    pub fn raw_stderr(mut self, writer: impl AsyncWrite + Send + 'static) -> Self {
        self.output.raw_stderr = Some(Box::pin(writer));
        self
    }

    /// Receives each line of the process's standard error as a log entry. Default: [`tracing`], with the plugin's name, its
    /// level and its fields. go-plugin: `ClientConfig.Logger`.
    pub fn log_sink(mut self, sink: impl LogSink + 'static) -> Self {
        self.output.log = Some(Arc::new(sink));
        self
    }

    /// Sets the length, in bytes, up to which a line of standard error is one log entry. Longer lines arrive in pieces, at level
    /// `DEBUG`. Default 64 KiB. go-plugin: `ClientConfig.PluginLogBufferSize`.
    pub fn longest_log_line(mut self, bytes: usize) -> Self {
        self.output.longest_line = bytes.max(1);
        self
    }

    /// Refuses to start a program with another digest, and executes the very bytes that were read for the digest, because the
    /// file may be replaced in the meantime. go-plugin: `ClientConfig.SecureConfig`, which reads the file and then
    /// executes whatever is there.
    ///
    /// The program is executed from a sealed file in memory, which counts as the host's memory while the plugin runs. A script,
    /// a program above 512 MiB, and any program if the system forbids memory files, is executed from a copy in the plugin's
    /// private directory, which must then be on a file system that is not mounted `noexec`. Files above 4 GiB are refused.
    /// `argv[0]` stays the same; the place where a program finds *itself* (`/proc/self/exe`, `$0`) is the copy, see
    /// [`Launch::with_neighbours`].
    ///
    /// Not covered is what the program loads: a script's interpreter, dynamic libraries, its own files.
    pub fn checksum(mut self, checksum: Checksum) -> Self {
        self.verification = self.verification.checksum(checksum);
        self
    }

    /// Lets your own check decide about the program's bytes, such as the check of a signature. The bytes that it is given are the
    /// bytes that are executed, as for [`Launch::checksum`], and cannot be changed any more; if both are set, both must agree.
    /// The check is called on its own thread; if it takes longer than [`Launch::start_timeout`] allows, the start fails, and the
    /// check runs on to its end. An error or a panic refuses the program, as
    /// [`StartError::Unverified`](super::StartError::Unverified). go-plugin: none.
    ///
    /// ```
    /// # use plugwire::{Handshake, host::Launch};
    /// use std::io::Read;
    ///
    /// # let launch = Launch::new(Handshake::new("A", "b"), "./greeter");
    /// let launch = launch.verify_with(|mut program| {
    ///     let mut bytes = Vec::new();
    ///     program.read_to_end(&mut bytes)?;
    ///     # fn is_signed(_: &[u8]) -> bool { true }
    ///     if is_signed(&bytes) { Ok(()) } else { Err("it is not signed".into()) }
    /// });
    /// ```
    pub fn verify_with(
        mut self,
        check: impl Fn(&File) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync + 'static,
    ) -> Self {
        self.verification = self.verification.check(check);
        self
    }

    /// Supports a verified program that looks for files beside itself: it is executed from a copy in a private directory that
    /// also has a link to everything beside the original. That covers `/proc/self/exe`, `$0` and libraries at `$ORIGIN`. It does
    /// not cover paths that lead up (`../lib`), and what the program writes beside itself is removed with the directory. The
    /// linked files are not verified. Without [`Launch::checksum`] or [`Launch::verify_with`] this has no effect.
    pub fn with_neighbours(mut self) -> Self {
        self.verification = self.verification.with_neighbours();
        self
    }

    /// Sets limits for the plugin's process. Default: none. go-plugin: none.
    pub fn confine(mut self, confinement: Confinement) -> Self {
        self.confinement = confinement;
        self
    }

    /// Lets a runner start the plugin instead of starting a child process: the runner interprets the program's name, arguments,
    /// variables and directory. [`Launch::checksum`], [`Launch::verify_with`], [`Launch::confine`],
    /// [`Launch::inherit_stdin`] and [`Launch::outlives_host`] are refused with it. go-plugin: `ClientConfig.RunnerFunc`.
    pub fn runner(mut self, runner: impl Runner) -> Self {
        self.runner = Some(Arc::new(runner));
        self
    }

    /// Sets HTTP/2's limits and keep-alive. go-plugin: `ClientConfig.GRPCDialOptions`.
    pub fn http2(mut self, http2: Http2) -> Self {
        self.http2 = http2;
        self
    }

    /// Lets the plugin continue when this process ends, however that happens, so that a later host can attach to it by its
    /// [record](super::PluginHandle::record). Dropping the last handle, or the runtime, then only disconnects it;
    /// [`PluginHandle::shutdown`](super::PluginHandle::shutdown) still ends it, and so does a failed start. Default: a plugin
    /// ends with its host.
    ///
    /// A host that attaches needs [its own TLS configuration](Launch::tls), or a plaintext connection. Once this process is gone,
    /// the plugin's standard error has no reader: a plugin in Go that prints to it is then killed by SIGPIPE, one in Rust
    /// is not. go-plugin has no such setting, because there a plugin outlives a host that does not kill it.
    pub fn outlives_host(mut self) -> Self {
        self.outlives_host = true;
        self
    }

    /// Carries all brokered connections on the socket of the main connection. A plugin that does not support this is refused
    /// (go-plugin's plugins support it since 1.6). Default: a socket for each connection. go-plugin:
    /// `ClientConfig.GRPCBrokerMultiplex`.
    pub fn multiplex(mut self) -> Self {
        self.multiplex = MultiplexWish::Require;
        self
    }

    /// Does what [`Launch::multiplex`] does, but accepts a plugin that does not support it, with a socket for each connection.
    pub fn multiplex_if_possible(mut self) -> Self {
        self.multiplex = MultiplexWish::Prefer;
        self
    }

    /// Limits how long the broker waits for the plugin to accept a connection. Default 5 s, as in go-plugin.
    pub fn broker_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.broker = limit;
        self
    }
}

/// Settings that weaken a protection. Using them shows in the code as `dangerous`.
#[must_use = "nothing is changed before a setting is chosen"]
pub struct Dangerous(Launch);

impl Dangerous {
    /// Talks to the plugin without TLS. Only the directory of its socket then protects the connection; nothing protects a plugin
    /// on TCP. A plugin that offers a certificate anyway is refused. go-plugin: the default, without
    /// `ClientConfig.AutoMTLS`.
    pub fn plaintext(mut self) -> Launch {
        self.0.security = Security::Plaintext;
        self.0
    }

    /// Dials brokered connections wherever the plugin says. By default only a socket in the private directory or in a temporary
    /// directory is dialed, or TCP on this machine: otherwise a plugin could make its host talk to a service that the plugin
    /// itself cannot reach.
    pub fn any_broker_address(mut self) -> Launch {
        self.0.any_broker_address = true;
        self.0
    }
}

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Dangerous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dangerous").field(&self.0).finish()
    }
}
