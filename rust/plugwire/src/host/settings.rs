//! What a user sets for a plugin besides its program: time limits, where its output goes, and TLS.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use plugwire_protocol::hclog::Entry;
use tokio::io::AsyncWrite;

use crate::net::Tls;

/// A writer for output of the plugin.
pub(super) type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// Receives a plugin's log, entry by entry. Implemented for closures.
///
/// Called on the task that reads the plugin's standard error: a sink that waits slows the plugin down.
pub trait LogSink: Send + Sync {
    /// Receives one entry of the plugin with this name. Its text is the plugin's, and can contain line breaks and control
    /// characters: before you print it, call [`printable`](plugwire_protocol::evidence::printable).
    fn log(&self, plugin: &str, entry: &Entry);
}

impl<F: Fn(&str, &Entry) + Send + Sync> LogSink for F {
    fn log(&self, plugin: &str, entry: &Entry) {
        self(plugin, entry);
    }
}

/// The time limits for a plugin, for [`Launch::timeouts`](super::Launch::timeouts) and
/// [`Attach::timeouts`](super::Attach::timeouts).
///
/// ```
/// use std::time::Duration;
/// use plugwire::host::Timeouts;
///
/// let hasty = Timeouts::default().start(Duration::from_secs(5)).exit(Duration::from_millis(500));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it changes nothing before a plugin is started or attached to with it"]
pub struct Timeouts {
    pub(super) start: Duration,
    pub(super) ping: Duration,
    pub(super) drain: Duration,
    pub(super) shutdown: Duration,
    pub(super) exit: Duration,
    pub(super) terminate: Duration,
    pub(super) broker: Duration,
}

impl Default for Timeouts {
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

impl Timeouts {
    /// Limits [`Launch::start`](super::Launch::start) and [`Attach::connect`](super::Attach::connect). Default one minute.
    /// See [`Launch::start_timeout`](super::Launch::start_timeout).
    pub fn start(mut self, limit: Duration) -> Self {
        self.start = limit;
        self
    }

    /// Limits [`PluginHandle::ping`](super::PluginHandle::ping). Default 5 s. go-plugin: none.
    pub fn ping(mut self, limit: Duration) -> Self {
        self.ping = limit;
        self
    }

    /// Limits how long [`PluginHandle::shutdown`](super::PluginHandle::shutdown) lets calls under way finish before it begins.
    /// Default 1 s. go-plugin: none, it cuts them off.
    pub fn drain(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// Limits how long a shutdown waits for the answer to `Shutdown`. Default 5 s. go-plugin: none.
    pub fn shutdown(mut self, limit: Duration) -> Self {
        self.shutdown = limit;
        self
    }

    /// Limits how long the process may take to exit after `Shutdown` before it gets SIGTERM. Default 2 s, after which
    /// go-plugin kills.
    pub fn exit(mut self, limit: Duration) -> Self {
        self.exit = limit;
        self
    }

    /// Limits how long the process may take to exit after SIGTERM before it is killed with its group. Default 1 s; zero skips
    /// SIGTERM. go-plugin: none.
    pub fn terminate(mut self, limit: Duration) -> Self {
        self.terminate = limit;
        self
    }

    /// Limits how long the broker waits for the plugin to accept a connection. Default 5 s, as in go-plugin.
    pub fn broker(mut self, limit: Duration) -> Self {
        self.broker = limit;
        self
    }
}

/// How the connection is protected.
pub(super) enum Security {
    /// By certificates that are exchanged at the start.
    Mutual,
    /// By the user's own configuration.
    Own(Tls),
    Plaintext,
}

/// Where the plugin's output goes.
pub(super) struct Output {
    pub(super) name: Option<String>,
    pub(super) stdout: Option<Writer>,
    pub(super) stderr: Option<Writer>,
    pub(super) raw_stderr: Option<Writer>,
    /// `None` is [`tracing`].
    pub(super) log: Option<Arc<dyn LogSink>>,
    pub(super) longest_line: usize,
}

impl Default for Output {
    fn default() -> Self {
        let longest_line = 64 * 1024;
        Self { name: None, stdout: None, stderr: None, raw_stderr: None, log: None, longest_line }
    }
}
