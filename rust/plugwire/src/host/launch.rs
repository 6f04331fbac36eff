//! What a user sets before a plugin is started.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plugwire_protocol::environment::PortRange;
use plugwire_protocol::handshake::MultiplexWish;
use tokio::io::AsyncWrite;

use super::dispense::Dispensers;
use super::environment::Inherit;
use super::logs::{LogSink, ToTracing};
use super::stdio::Writer;
use super::verify::Verification;
use super::{Checksum, Confinement, PluginHandle, Runner, StartError, start};
use crate::http2::{Channel, Http2};
use crate::net::Tls;
use crate::{Broker, Handshake};

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
/// The defaults are the safe ones: mutual TLS, a clean environment, a private folder for sockets, and a plugin that ends
/// with the last of its handles.
#[must_use = "nothing is started before `start`"]
pub struct Launch {
    pub(super) handshake: Handshake,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) directory: Option<PathBuf>,
    pub(super) inherit_stdin: bool,
    pub(super) inherit: Inherit,
    pub(super) variables: Vec<(OsString, OsString)>,
    pub(super) versions: BTreeMap<u32, Dispensers>,
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
    pub(super) limits: Limits,
    pub(super) managed: bool,
    pub(super) outlives_host: bool,
    pub(super) multiplex: MultiplexWish,
    pub(super) any_broker_address: bool,
}

pub(super) enum Security {
    Mutual,
    Own(Tls),
    Plaintext,
}

/// Where what the plugin prints goes.
pub(super) struct Output {
    pub(super) name: Option<String>,
    pub(super) stdout: Option<Writer>,
    pub(super) stderr: Option<Writer>,
    pub(super) raw_stderr: Option<Writer>,
    pub(super) log: Arc<dyn LogSink>,
    pub(super) longest_line: usize,
}

/// Every wait of a plugin's life.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) start: Duration,
    pub(super) ping: Duration,
    pub(super) drain: Duration,
    pub(super) shutdown: Duration,
    pub(super) exit: Duration,
    pub(super) terminate: Duration,
    pub(super) broker: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(60),
            ping: Duration::from_secs(5),
            drain: Duration::from_secs(1),
            shutdown: Duration::from_secs(5),
            exit: Duration::from_secs(2),
            terminate: Duration::from_secs(1),
            broker: Duration::from_secs(5),
        }
    }
}

impl Default for Output {
    fn default() -> Self {
        Self {
            name: None,
            stdout: None,
            stderr: None,
            raw_stderr: None,
            log: Arc::new(ToTracing),
            longest_line: 64 * 1024,
        }
    }
}

impl Launch {
    /// A program to start as a plugin. A name without a slash is looked up in this process's `PATH`; a relative
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
            versions: BTreeMap::new(),
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
            limits: Limits::default(),
            managed: false,
            outlives_host: false,
            multiplex: MultiplexWish::No,
            any_broker_address: false,
        }
    }

    /// Accepts this app protocol version. Offer several by several calls; the plugin chooses the highest that it has,
    /// and [`PluginHandle::version`] tells. go-plugin: the keys of `ClientConfig.VersionedPlugins`; with one version,
    /// `HandshakeConfig.ProtocolVersion`.
    pub fn version(mut self, version: u32) -> Self {
        self.versions.entry(version).or_default();
        self
    }

    /// Accepts this version, and says how [`PluginHandle::dispense`] makes the client of this name when it is
    /// negotiated. The name stays in this process. go-plugin: `ClientConfig.Plugins` and `GRPCPlugin.GRPCClient`.
    pub fn dispenses<T: Send + 'static>(
        mut self,
        version: u32,
        name: impl Into<String>,
        make: impl Fn(Channel, Broker) -> T + Send + Sync + 'static,
    ) -> Self {
        self.versions.entry(version).or_default().add(name.into(), make);
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

    /// The plugin's working directory. Default: this process's.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Lets the plugin read this process's standard input. Default: it reads nothing. go-plugin always passes it on.
    ///
    /// Such a plugin stays in this process's group, since a terminal stops others that read from it: Ctrl-C reaches it, and
    /// its children are not ended with it.
    pub fn inherit_stdin(mut self) -> Self {
        self.inherit_stdin = true;
        self
    }

    /// Sets an environment variable for the plugin. The protocol's own variables have setters of their own, and are ignored
    /// here: with a host's whole environment an outer host's `PLUGIN_*` would come along.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Passes on these variables of this process, where they are set, besides those that every plugin gets: `PATH`,
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

    /// How long everything may take, from the folder for the sockets and the verification of the program to the first
    /// answer in HTTP/2. Default one minute. The error of a start that fails may come some seconds later: a plugin that is about
    /// to end gets up to 3 s for it, for its exit status, and is then killed and cleaned up after.
    ///
    /// A start that waits for a file system that hangs leaves a thread behind, which ends once that answers. How many
    /// there are has no bound: who tries again and again has one more each time.
    /// go-plugin: `ClientConfig.StartTimeout`, which ends with the handshake line.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.limits.start = limit;
        self
    }

    /// How long [`PluginHandle::ping`] waits. Default 5 s. go-plugin: none.
    pub fn ping_timeout(mut self, limit: Duration) -> Self {
        self.limits.ping = limit;
        self
    }

    /// How long [`PluginHandle::shutdown`] lets calls under way finish before it begins. Default 1 s.
    /// go-plugin: none, it cuts them off.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.limits.drain = limit;
        self
    }

    /// How long [`PluginHandle::shutdown`] waits for the answer to `Shutdown`. Default 5 s. go-plugin: none, so
    /// a stopped plugin holds up its host for ever.
    pub fn shutdown_timeout(mut self, limit: Duration) -> Self {
        self.limits.shutdown = limit;
        self
    }

    /// How long the process may live on after `Shutdown` before it gets SIGTERM. Default 2 s, after which go-plugin
    /// kills.
    pub fn exit_timeout(mut self, limit: Duration) -> Self {
        self.limits.exit = limit;
        self
    }

    /// How long the process may live on after SIGTERM before it is killed with its group. Default 1 s; zero leaves SIGTERM
    /// out. go-plugin: none.
    pub fn terminate_timeout(mut self, limit: Duration) -> Self {
        self.limits.terminate = limit;
        self
    }

    /// Uses this TLS configuration in place of exchanged certificates. go-plugin: `ClientConfig.TLSConfig`.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.security = Security::Own(tls);
        self
    }

    /// The way to settings that give up a protection.
    pub fn dangerous(self) -> Dangerous {
        Dangerous(self)
    }

    /// The ports for a plugin that listens on TCP. Default 10000 to 25000; `None` lets it take any.
    /// go-plugin: `ClientConfig.MinPort` and `MaxPort`.
    pub fn ports(mut self, range: Option<PortRange>) -> Self {
        self.ports = range;
        self
    }

    /// Lets this group, a number or a name in `/etc/group`, use the plugin's sockets. Default: only this user can.
    /// go-plugin: `UnixSocketConfig.Group`.
    pub fn socket_group(mut self, group: impl Into<String>) -> Self {
        self.socket_group = Some(group.into());
        self
    }

    /// Where the private folder for the plugin's sockets is made. Default: the system's temporary folder, or `/tmp`
    /// where that path is too long for a socket. go-plugin: `UnixSocketConfig.TempDir`.
    pub fn socket_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.socket_dir = Some(directory.into());
        self
    }

    /// Skips lines on standard output that are no handshake line. Default: the first line counts, as in go-plugin, and
    /// anything else is an error that shows it. At most 1 MiB is skipped.
    pub fn skip_noise(mut self) -> Self {
        self.skip_noise = true;
        self
    }

    /// What the plugin is called in logs and errors. Default: the program's file name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.output.name = Some(name.into());
        self
    }

    /// Gets what the plugin prints to standard output after its handshake line. Default: [`tracing`], line by line, at
    /// level `INFO`. A writer that waits slows the plugin down. go-plugin: `ClientConfig.SyncStdout`.
    pub fn stdout(mut self, writer: impl AsyncWrite + Send + 'static) -> Self {
        self.output.stdout = Some(Box::pin(writer));
        self
    }

    /// Gets what the plugin sends to the stdio stream's standard error; a Go plugin's prints after the handshake, say.
    /// Default: [`tracing`], as for [`Launch::stdout`]. go-plugin: `ClientConfig.SyncStderr`.
    pub fn stderr(mut self, writer: impl AsyncWrite + Send + 'static) -> Self {
        self.output.stderr = Some(Box::pin(writer));
        self
    }

    /// Gets every byte of the process's standard error, besides the log. A writer that waits slows the plugin down; one
    /// that fails is given no more. Default: nobody. go-plugin: `ClientConfig.Stderr`.
    pub fn raw_stderr(mut self, writer: impl AsyncWrite + Send + 'static) -> Self {
        self.output.raw_stderr = Some(Box::pin(writer));
        self
    }

    /// Gets each line of the process's standard error as a log entry. Default: [`tracing`], with the plugin's name, its
    /// level and its fields. go-plugin: `ClientConfig.Logger`.
    pub fn log_sink(mut self, sink: impl LogSink + 'static) -> Self {
        self.output.log = Arc::new(sink);
        self
    }

    /// The longest line of standard error that is read as one entry, in bytes; longer ones arrive in pieces, at level
    /// `DEBUG`. Default 64 KiB. go-plugin: `ClientConfig.PluginLogBufferSize`.
    pub fn longest_log_line(mut self, bytes: usize) -> Self {
        self.output.longest_line = bytes.max(1);
        self
    }

    /// Refuses to start a program whose contents have another digest, and executes the very bytes that were read for it: the
    /// file may be replaced in the meantime. go-plugin: `ClientConfig.SecureConfig`, which reads the file and then
    /// executes whatever is there.
    ///
    /// A program is executed from a sealed file in memory, which counts as the host's memory while the plugin runs. A script,
    /// a program above 512 MiB, and any where the system forbids memory files, is executed from a copy in the plugin's
    /// private folder, which must not lie on a file system without execution. Above 4 GiB it is refused. `argv[0]` is what it would be; where a program finds *itself* (`/proc/self/exe`, `$0`) is the copy,
    /// see [`Launch::with_neighbours`].
    ///
    /// Not covered is what the program loads: a script's interpreter, dynamic libraries, files of its own.
    pub fn checksum(mut self, checksum: Checksum) -> Self {
        self.verification.checksum = Some(checksum);
        self
    }

    /// Lets a check of one's own decide about the program's bytes: a signature, say. What it is given is what is
    /// executed, as for [`Launch::checksum`], and can no longer be changed; with both, both have to agree. It is called on
    /// a thread of its own; one that takes longer than [`Launch::start_timeout`] allows is no longer waited for, and runs on to
    /// its end. An error refuses the program, and so does a panic, as
    /// [`StartError::Unverified`]. go-plugin: none.
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
        self.verification.check = Some(Box::new(check));
        self
    }

    /// For a verified program that looks for files beside itself: it is executed from a copy in a private folder that also
    /// holds a link to everything beside the original. That covers `/proc/self/exe`, `$0` and libraries at `$ORIGIN`; it does
    /// not cover paths that lead up (`../lib`), and what it writes beside itself goes with the folder. What the links lead to is
    /// not verified. Without [`Launch::checksum`] or [`Launch::verify_with`] this does nothing.
    pub fn with_neighbours(mut self) -> Self {
        self.verification.with_neighbours = true;
        self
    }

    /// Sets limits for the plugin's process. Default: none. go-plugin: none.
    pub fn confine(mut self, confinement: Confinement) -> Self {
        self.confinement = confinement;
        self
    }

    /// Lets a runner start the plugin, in place of a process of this machine: the program's name, arguments, variables and
    /// directory are the runner's to understand. [`Launch::checksum`], [`Launch::verify_with`], [`Launch::confine`],
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

    /// Lets [`shutdown_all`](super::shutdown_all) end this plugin with all others. go-plugin: `ClientConfig.Managed`.
    pub fn managed(mut self) -> Self {
        self.managed = true;
        self
    }

    /// Lets the plugin go on when this process ends, however it does, for a later host to attach to by its
    /// [record](PluginHandle::record). Dropping the last handle, or the runtime, then only disconnects it;
    /// [`PluginHandle::shutdown`] still ends it, and so does a start that fails. By default a plugin ends with its host.
    ///
    /// Whoever attaches needs [a TLS configuration](Launch::tls) of theirs, or a plaintext connection. Once this process is
    /// gone nobody reads the plugin's standard error: a plugin in Go that prints to it is then ended by SIGPIPE, one in Rust
    /// is not. go-plugin has no such setting, since there a plugin outlives a host that does not kill it.
    pub fn outlives_host(mut self) -> Self {
        self.outlives_host = true;
        self
    }

    /// Carries all brokered connections on the one socket of the main connection. A plugin that cannot do that is refused
    /// (go-plugin's plugins can since 1.6). Default: a socket for each. go-plugin: `ClientConfig.GRPCBrokerMultiplex`.
    pub fn multiplex(mut self) -> Self {
        self.multiplex = MultiplexWish::Require;
        self
    }

    /// As [`Launch::multiplex`], but a plugin that cannot is taken as it is, with a socket for each connection.
    pub fn multiplex_if_possible(mut self) -> Self {
        self.multiplex = MultiplexWish::Prefer;
        self
    }

    /// How long the broker waits for the plugin to accept a connection. Default 5 s, as in go-plugin.
    pub fn broker_timeout(mut self, limit: Duration) -> Self {
        self.limits.broker = limit;
        self
    }

    /// Starts the plugin and connects to it: when this returns, calls can be made.
    ///
    /// # Errors
    ///
    /// A [`StartError`] says whose fault it is and shows the evidence; nothing is left of the plugin then, neither
    /// process nor socket.
    ///
    /// Cancel safety: dropping the future kills what was started.
    pub async fn start(self) -> Result<PluginHandle, StartError> {
        start::start(self).await
    }
}

/// Settings that give up a protection; the word stands in the code of whoever does.
#[must_use = "nothing is changed before a setting is chosen"]
pub struct Dangerous(Launch);

impl Dangerous {
    /// Talks to the plugin without TLS. What protects the connection then is the folder of its socket, and for a plugin
    /// on TCP nothing does. A plugin that offers a certificate all the same is refused. go-plugin: the default, without
    /// `ClientConfig.AutoMTLS`.
    pub fn plaintext(mut self) -> Launch {
        self.0.security = Security::Plaintext;
        self.0
    }

    /// Dials brokered connections wherever the plugin says. By default that is a socket in the private folder or
    /// in a temporary folder, or TCP on this machine: elsewhere a plugin could make its host talk to a service that
    /// the plugin itself cannot reach.
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
            .field("versions", &self.versions.keys())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Dangerous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dangerous").field(&self.0).finish()
    }
}
