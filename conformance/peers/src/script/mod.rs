//! The script of a plugin: healthy by default, and wrong where the script says so.
//!
//! A script is data (`script.json` beside the plugin, or a table in a case). Each member is one deviation from a
//! healthy plugin, and leaving it out means that the plugin behaves there. An unknown member is an error, so that
//! a misspelt misbehaviour cannot pass for a healthy plugin.

mod broker;
mod calls;
mod socket;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use broker::{Announce, Behind, Broker, KnockAnswer, Mux, MuxEnd};
pub use calls::{
    ActsAt, Calls, Code, Health, HealthStatus, Reflection, Stdio, TooLarge, UnknownMethod,
};
pub use socket::{Accept, ClientCertificate, Identity, Listen, Served, Tls, TlsVersions};

/// Everything that a scripted plugin does. The default is healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Script {
    /// Exits after this many milliseconds without any clean-up, whatever else it does. Default: 60
    /// s.
    pub life_ms: u64,
    /// The cookie, and what happens without it.
    pub cookie: Cookie,
    /// The app protocol versions that it serves.
    pub versions: Vec<u32>,
    /// How it interprets its environment.
    pub environment: Environment,
    /// Done, in order, before the line is written: after the cookie was checked and the socket listens.
    pub before_line: Vec<Act>,
    /// The handshake line with its end, byte for byte; empty = none. These are filled in: `{core}`, `{version}`,
    /// `{network}`, `{address}`, `{protocol}`, `{certificate}` and `{mux}` (which is `|true` where the host asked, or
    /// nothing) as a healthy plugin has them; `{folder}`, where its socket is; `{certificate-padded}`,
    /// `{certificate-url}` (the URL's alphabet), `{certificate-pem}` and `{certificate-hex}`
    /// for the same certificate spelt otherwise, all empty where there is none; `{certificate-own}` for
    /// one even if the host did not ask; and `{fill:N}` for N times `x`.
    pub line: String,
    /// Done, in order, after the line was written, while it already serves.
    pub after_line: Vec<Act>,
    /// Where it listens, and how it treats connections.
    pub listen: Listen,
    /// The TLS of its sockets.
    pub tls: Tls,
    /// How it answers calls in general.
    pub calls: Calls,
    /// `grpc.health.v1.Health`.
    pub health: Health,
    /// `grpc.reflection.v1.ServerReflection` and `v1alpha`.
    pub reflection: Reflection,
    /// `plugin.GRPCStdio`.
    pub stdio: Stdio,
    /// `plugin.GRPCBroker`, and the brokered connections.
    pub broker: Broker,
    /// The broker of a multiplexed session.
    pub mux: Mux,
    /// How it ends.
    pub shutdown: Shutdown,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            life_ms: 60_000,
            cookie: Cookie::default(),
            versions: vec![1],
            environment: Environment::default(),
            before_line: Vec::new(),
            line: "{core}|{version}|{network}|{address}|{protocol}|{certificate}{mux}\n".to_owned(),
            after_line: Vec::new(),
            listen: Listen::default(),
            tls: Tls::default(),
            calls: Calls::default(),
            health: Health::default(),
            reflection: Reflection::default(),
            stdio: Stdio::default(),
            broker: Broker::default(),
            mux: Mux::default(),
            shutdown: Shutdown::default(),
        }
    }
}

/// The cookie, and what happens without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cookie {
    /// The variable's name.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Starts without the cookie, too.
    pub unchecked: bool,
    /// Starts with any value of it.
    pub any_value: bool,
    /// The exit status of a refusal.
    pub exit: u8,
    /// The text of a refusal, for a user who starts the plugin by hand.
    pub text: String,
    /// Prints that text to standard output.
    pub to_stdout: bool,
}

impl Default for Cookie {
    fn default() -> Self {
        Self {
            key: "PLUGWIRE_PROBE".to_owned(),
            value: "plugwire".to_owned(),
            unchecked: false,
            any_value: false,
            exit: 1,
            text: "This program is a plugin. It is started by a host, not by hand.\n".to_owned(),
            to_stdout: false,
        }
    }
}

/// How a plugin interprets its environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Environment {
    /// How it picks the app protocol version.
    pub version: VersionChoice,
    /// Picks its highest version, not its lowest, where it has none in common with the host.
    pub falls_back_to_highest: bool,
    /// Ends with status 1 where it has no version in common with the host.
    pub dies_without_common_version: bool,
    /// Exits with status 1 at an entry of `PLUGIN_PROTOCOL_VERSIONS` that is not a number.
    pub dies_of_bad_version: bool,
    /// Creates its sockets in the system's temporary directory, whatever `PLUGIN_UNIX_SOCKET_DIR`
    /// says.
    pub ignores_socket_dir: bool,
    /// Does not change group and mode of its sockets, whatever `PLUGIN_UNIX_SOCKET_GROUP` says.
    pub ignores_socket_group: bool,
    /// Listens on any port, whatever `PLUGIN_MIN_PORT` and `PLUGIN_MAX_PORT` say, valid or not.
    pub ignores_ports: bool,
    /// Swaps the ports if the minimum is above the maximum.
    pub swaps_ports: bool,
    /// Treats a port that is not a number as absent.
    pub takes_bad_port_for_none: bool,
    /// Does not start without `PLUGIN_MIN_PORT` and `PLUGIN_MAX_PORT`, also where it needs no port.
    pub needs_ports: bool,
    /// Reads the ports, and ends with status 1 at bad ones, also where it needs no port.
    pub reads_ports_for_nothing: bool,
    /// Puts its sockets into the working directory where no directory is given.
    pub sockets_in_working_directory: bool,
    /// Takes a `PLUGIN_CLIENT_CERT` that cannot be read for none.
    pub bad_certificate_is_none: bool,
    /// Serves TLS but admits no peer if the host's certificate cannot be read.
    pub bad_certificate_is_nobodys: bool,
    /// Takes an empty `PLUGIN_CLIENT_CERT` for a certificate that cannot be read.
    pub empty_certificate_is_one: bool,
    /// Ends with status 1 at a `PLUGIN_…` variable that it does not know.
    pub dies_of_unknown_variable: bool,
}

/// How a plugin picks the app protocol version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VersionChoice {
    /// The highest version in common; its own lowest if there is none.
    #[default]
    Highest,
    /// The lowest that both have.
    Lowest,
    /// The first in the host's list that it has, as if the list were sorted.
    First,
    /// The last in the host's list that it has, as if the list were sorted.
    Last,
    /// One above its highest, which it does not serve, whatever the host offers.
    Foreign,
    /// Its own highest, whatever the host says.
    OwnHighest,
    /// Its own lowest, whatever the host says.
    OwnLowest,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Writes the text to standard output (descriptor 1).
    Stdout(String),
    /// Writes the text to standard error (descriptor 2).
    Stderr(String),
    /// Writes bytes, in hexadecimal, to standard output.
    StdoutHex(String),
    /// Writes bytes, in hexadecimal, to standard error.
    StderrHex(String),
    /// Writes at least this many bytes, in lines of 80, to standard output.
    StdoutFlood(u64),
    /// Writes at least this many bytes, in lines of 80, to standard error.
    StderrFlood(u64),
    /// Writes one line of this many `x` to standard output.
    StdoutLine(u64),
    /// Writes one line of this many `x` to standard error.
    StderrLine(u64),
    /// Writes `x` without a line's end to standard output until that fails.
    StdoutForever,
    /// Writes lines of 80 bytes to standard output until that fails.
    StdoutLinesForever,
    /// Writes lines of 80 bytes to standard error until that fails.
    StderrLinesForever,
    /// Closes standard output.
    CloseStdout,
    /// Closes standard error.
    CloseStderr,
    /// Waits this many milliseconds.
    WaitMs(u64),
    /// Does nothing more, until its life is over.
    Hang,
    /// Waits until the host has made a call.
    AwaitCall,
    /// Ends with this status, without any clean-up.
    Exit(u8),
    /// Sends itself this signal, such as `SIGKILL`.
    Signal(String),
    /// Starts a process that outlives the plugin.
    Grandchild(Grandchild),
}

/// A process that outlives the plugin that started it, up to the plugin's maximum life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Grandchild {
    /// It holds none of the plugin's descriptors, and is in its process group.
    Quiet,
    /// It holds the plugin's standard output and error.
    HoldsPipes,
    /// It has a session of its own, and none of the plugin's descriptors.
    OwnSession,
    /// It has a session of its own, and holds the plugin's standard output and error.
    OwnSessionHoldsPipes,
    /// As `own-session`, and it has an empty environment.
    CleanEnvironment,
    /// As `clean-environment`, and it works in `/`.
    Daemon,
}

/// How a plugin ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Shutdown {
    /// How it reacts to `plugin.GRPCController/Shutdown`.
    pub call: ShutdownCall,
    /// Delays the exit by this many milliseconds after the call.
    pub delay_ms: u64,
    /// Ends with this status instead of 0.
    pub exit: u8,
    /// Leaves its sockets.
    pub keeps_socket: bool,
    /// Does, in order, before it ends in good order.
    pub acts: Vec<Act>,
    /// Ends at SIGINT.
    pub sigint_ends: bool,
    /// Lives on after SIGTERM.
    pub ignores_sigterm: bool,
    /// Ends with status 0 at the end of its standard input.
    pub stdin_end_ends: bool,
    /// Ends with status 0 when the last connection has ended.
    pub last_connection_ends: bool,
    /// Stays alive when its host is gone: its standard output has no reader and there is no
    /// connection, or the multiplexed session has ended.
    pub outlives_host: bool,
    /// Ends by `Probe/Die` of a panic without a word on standard error.
    pub dies_silently: bool,
    /// Writes a panic as one line of JSON.
    pub panics_in_json: bool,
}

/// How a plugin reacts to `plugin.GRPCController/Shutdown`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownCall {
    /// Ends at once, with or without an answer: the host cannot count on one.
    #[default]
    Ends,
    /// Answers OK first, and ends once the host has had time to read that.
    AnswersThenEnds,
    /// Answers OK, and stays alive.
    AnswersOnly,
    /// Answers UNIMPLEMENTED, and stays alive.
    Unimplemented,
    /// Never answers, and stays alive.
    Hangs,
}
