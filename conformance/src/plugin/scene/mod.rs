//! The words in which a plugin's case is written: what the suite does as the plugin's host, and what has to come of it.
//!
//! Texts may hold placeholders: `{version}` is the subject's highest app version and `{lowest}` its lowest, `{folder}` is
//! the case's own directory and `{temporary}` the plugin's temporary one, `{group}` the number of the suite's group.

mod broker;
mod calls;
mod connect;
mod process;

use schemars::JsonSchema;
use serde::Deserialize;

pub use broker::{Announced, Broker, Dial, DialBack, HostAccepts, Knock, Offer, Serve};
pub use calls::{Call, Concurrently, Open, Print, Printed, Receive, Shutdown, Silent};
pub use connect::{Alive, Certificate, Connect, Disconnect, Raw, RawWanted, TlsVersions};
pub use process::{
    CertificateWanted, Cookie, Exit, HostTls, LineWanted, Output, SocketWanted, Start, Stdin,
};

/// What a case about a plugin has besides its header: steps, or the name of code.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scene {
    /// What happens, in order. The first step that does not come out as wanted ends the case.
    pub steps: Vec<Step>,
    /// Instead of steps: a function of `conformance/src/plugin/code`, such as `broker::two_way`.
    pub code: Option<String>,
}

/// One step. A step that waits has `within`; 5 s where nothing is said.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Step {
    /// `start`, `line` and `connect` in one, with nothing to check in particular.
    Session(Start),
    /// Starts the plugin. One that was started before is killed.
    Start(Start),
    /// Reads the handshake line.
    Line(LineWanted),
    /// Waits for the end of the process.
    Exit(Exit),
    /// Looks at what was printed to the pipes so far.
    Output(Output),
    /// Makes sure that the process lives and answers a health check on the connection `main`.
    Alive(Alive),
    /// Sends a signal, such as `SIGINT`.
    Signal(String),
    /// Closes the plugin's standard input.
    CloseStdin(Nothing),
    /// Looks at the socket that the line announced.
    Socket(SocketWanted),
    /// Connects, and makes sure that it is served, or refused.
    Connect(Connect),
    /// Closes a connection, with all its streams, without a word.
    Disconnect(Disconnect),
    /// Connects and sends bytes as they are.
    Raw(Raw),
    /// Makes a call, and compares what comes.
    Call(Call),
    /// Makes many calls at once, each on a stream of its own, all open at the same time.
    Concurrently(Concurrently),
    /// Begins a call and leaves it open.
    Open(Open),
    /// Waits for messages of an open call.
    Receive(Receive),
    /// Makes sure that an open call stays open and silent.
    Silent(Silent),
    /// Cancels an open call.
    Cancel(Named),
    /// Calls `Shutdown`. Any outcome of the call will do: `exit` is what counts.
    Shutdown(Shutdown),
    /// Has the plugin print, by `Probe/Print`.
    Print(Print),
    /// Waits for what was printed on an open call of `StreamStdio`.
    Printed(Printed),
    /// Opens the broker's stream, and holds it.
    Broker(Broker),
    /// Ends the broker's stream.
    CloseBroker(Nothing),
    /// Makes sure that the plugin has not ended the broker's stream.
    BrokerOpen(Nothing),
    /// Has the plugin accept an id, by `BrokerProbe/Offer`.
    Offer(Offer),
    /// Looks at the socket that was announced for an id when it was dialled.
    Announced(Announced),
    /// Has the plugin stop accepting an id, by `BrokerProbe/Release`.
    Release(Named),
    /// Accepts an id as host.
    Serve(Serve),
    /// Dials an id that the plugin accepts: waits for its announcement, or knocks; and calls `Probe/Echo` there.
    Dial(Dial),
    /// Accepts an id as host, and has the plugin dial it, by `BrokerProbe/DialBack`.
    DialBack(DialBack),
    /// Knocks, and waits for the answer; opens no stream.
    Knock(Knock),
}

impl Step {
    /// Returns whether the plugin may exit during the step.
    pub fn may_end_it(&self) -> bool {
        matches!(self, Self::Shutdown(_) | Self::Signal(_) | Self::CloseStdin(_) | Self::Exit(_))
    }

    /// Its word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::Start(_) => "start",
            Self::Line(_) => "line",
            Self::Exit(_) => "exit",
            Self::Output(_) => "output",
            Self::Alive(_) => "alive",
            Self::Signal(_) => "signal",
            Self::CloseStdin(_) => "close-stdin",
            Self::Socket(_) => "socket",
            Self::Connect(_) => "connect",
            Self::Disconnect(_) => "disconnect",
            Self::Raw(_) => "raw",
            Self::Call(_) => "call",
            Self::Concurrently(_) => "concurrently",
            Self::Open(_) => "open",
            Self::Receive(_) => "receive",
            Self::Silent(_) => "silent",
            Self::Cancel(_) => "cancel",
            Self::Shutdown(_) => "shutdown",
            Self::Print(_) => "print",
            Self::Printed(_) => "printed",
            Self::Broker(_) => "broker",
            Self::CloseBroker(_) => "close-broker",
            Self::BrokerOpen(_) => "broker-open",
            Self::Offer(_) => "offer",
            Self::Announced(_) => "announced",
            Self::Release(_) => "release",
            Self::Serve(_) => "serve",
            Self::Dial(_) => "dial",
            Self::DialBack(_) => "dial-back",
            Self::Knock(_) => "knock",
        }
    }
}

/// A step without settings.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// The name of an open call.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Named {
    /// Which.
    pub name: String,
}
