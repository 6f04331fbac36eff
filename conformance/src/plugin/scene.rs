//! The words in which a plugin's case is written: what the suite does as the plugin's host, and what has to come of it.
//!
//! Texts may hold placeholders: `{version}` is the subject's highest app version and `{lowest}` its lowest, `{folder}` is
//! the case's own folder and `{temporary}` the plugin's temporary one, `{group}` the number of the suite's group.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::case::Span;
use crate::matching::Wanted;

/// What a case about a plugin has besides its header: steps, or the name of code.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scene {
    /// What happens, in order. The first step that does not come out as wanted ends the case.
    pub steps: Vec<Step>,
    /// In place of steps: a function of `conformance/src/plugin/code`, such as `broker::two_way`.
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

/// How the plugin is started.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Start {
    /// The cookie that it gets.
    pub cookie: Cookie,
    /// `PLUGIN_PROTOCOL_VERSIONS`; `{version}` where nothing is said.
    pub versions: Option<String>,
    /// Whether the host asks for mutual TLS, and with which key.
    pub tls: HostTls,
    /// `PLUGIN_MULTIPLEX_GRPC`.
    pub multiplex: Option<String>,
    /// Further variables, which win over all others.
    pub env: BTreeMap<String, String>,
    /// Variables that are not set, `PLUGIN_MIN_PORT` for one.
    pub unset: Vec<String>,
    /// A folder for sockets, made for the case and named in `PLUGIN_UNIX_SOCKET_DIR`.
    pub socket_dir: bool,
    /// What standard input is.
    pub stdin: Stdin,
    /// How long it takes to the line, for `session`.
    pub within: Option<Span>,
}

/// The cookie that a plugin gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cookie {
    /// The right one.
    #[default]
    Right,
    /// The right name with another value.
    Wrong,
    /// The right name with an empty value.
    Empty,
    /// None.
    Missing,
}

/// What the host shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostTls {
    /// Nothing: it does not ask for mutual TLS.
    #[default]
    None,
    /// A new certificate on P-256.
    Mutual,
    /// A certificate on P-521 that is an authority's, as Go's hosts have.
    MutualP521,
}

/// What standard input is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stdin {
    /// `/dev/null`: at its end from the beginning.
    #[default]
    Null,
    /// A pipe that stays open until `close-stdin`.
    Pipe,
}

/// What is wanted of the handshake line. It has four fields or more in any case.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LineWanted {
    /// How many fields it has.
    pub fields: Option<usize>,
    /// Field 1, to the letter.
    pub core: Option<String>,
    /// Field 2, as a number.
    pub version: Option<String>,
    /// Which field 2 must not be.
    pub version_is_not: Option<String>,
    /// Field 3.
    pub network: Option<Vec<String>>,
    /// In which folder the socket of field 4 is.
    pub folder: Option<String>,
    /// Between which ports field 4 lies, both included.
    pub ports: Option<(u16, u16)>,
    /// Field 5.
    pub protocol: Option<String>,
    /// Field 6.
    pub certificate: Option<CertificateWanted>,
    /// Field 7: any of these.
    pub multiplex: Option<Vec<String>>,
    /// How long it may take.
    pub within: Option<Span>,
}

/// What is wanted of the sixth field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateWanted {
    /// It is empty.
    None,
    /// The DER of a certificate for `localhost`, in base64 without padding.
    Good,
    /// As `good`, and another than in the line before.
    New,
}

/// See [`Step::Exit`].
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Exit {
    /// How long it may take.
    pub within: Option<Span>,
    /// The exit status; anything where nothing is said.
    pub code: Option<i32>,
    /// What the exit status must not be.
    pub code_is_not: Option<i32>,
    /// That a signal ended it, by its name.
    pub signal: Option<String>,
    /// That both pipes are at their end soon after, and no process is left.
    pub alone: bool,
}

/// What is wanted of the pipes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Output {
    /// Standard output has nothing at all.
    pub stdout_empty: bool,
    /// Standard output has the handshake line, and nothing before or after it.
    pub stdout_only_line: bool,
    /// Standard error has something.
    pub stderr_something: bool,
    /// Standard error has this text.
    pub stderr_contains: Option<String>,
    /// Each line of standard error that is a JSON object is as hclog writes it.
    pub stderr_hclog: bool,
    /// Standard error has a record of hclog with this level.
    pub stderr_level: Option<String>,
    /// No line of standard error that is a JSON object has this text in it.
    pub stderr_json_without: Option<String>,
    /// No line of standard error is longer than so many bytes.
    pub stderr_longest_line: Option<usize>,
    /// How long to wait until it is so.
    pub within: Option<Span>,
}

/// See [`Step::Alive`].
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Alive {
    /// How long it has to stay so, asked every 50 ms; once where nothing is said.
    pub throughout: Option<Span>,
}

/// What is wanted of the announced socket.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SocketWanted {
    /// Its permissions, such as `0660`.
    pub mode: Option<String>,
    /// Its group's number.
    pub group: Option<String>,
    /// It is not there any more.
    pub gone: bool,
    /// The sockets of brokered connections as well: nothing is left in its folder.
    pub folder_empty: bool,
}

/// How a connection is made.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Connect {
    /// Its name; `main` where nothing is said.
    pub name: Option<String>,
    /// That it has to be refused: no health check comes through, and the connection is cut.
    pub refused: bool,
    /// Speaks plaintext although mutual TLS was asked for.
    pub plaintext: bool,
    /// What it shows.
    pub certificate: Certificate,
    /// Which TLS it speaks.
    pub versions: TlsVersions,
    /// The server name that it asks for; `localhost` where nothing is said, none where it is empty.
    pub server_name: Option<String>,
    /// The `:authority` of its calls.
    pub authority: Option<String>,
    /// That `h2` was agreed on by ALPN.
    pub alpn: bool,
    /// How long it may take.
    pub within: Option<Span>,
}

/// What a connection of the host shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Certificate {
    /// The host's own, with its key.
    #[default]
    Right,
    /// None.
    None,
    /// Somebody else's, with its key.
    Other,
    /// The host's own with another key: what a thief of the environment has.
    Stolen,
}

/// Which versions of TLS a connection speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    #[serde(rename = "both")]
    Both,
    /// 1.2 alone.
    #[serde(rename = "1.2")]
    Only12,
    /// 1.3 alone.
    #[serde(rename = "1.3")]
    Only13,
}

/// See [`Step::Disconnect`].
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Disconnect {
    /// Which; `main` where nothing is said.
    pub name: Option<String>,
}

/// See [`Step::Raw`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Raw {
    /// What is sent, in hexadecimal digits; white space is left out.
    #[serde(default)]
    pub hex: String,
    /// What has to come of it.
    pub expect: RawWanted,
    /// How long that may take.
    #[serde(default)]
    pub within: Option<Span>,
}

/// What has to come of raw bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawWanted {
    /// Nothing is waited for: the connection is closed at once.
    Nothing,
    /// The plugin closes it.
    Closed,
    /// The plugin closes it, and no TLS handshake message came before.
    NoTls,
}

/// A call and what is wanted of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Call {
    /// `package.Service/Method`; Probe and BrokerProbe need no package.
    pub method: String,
    /// On which connection; `main` where nothing is said.
    #[serde(default)]
    pub on: Option<String>,
    /// The request, as JSON; bytes in base64.
    #[serde(default = "nothing")]
    pub request: Value,
    /// Fills the request's member `data` with so many bytes.
    #[serde(default)]
    pub fill: Option<usize>,
    /// Metadata that is sent.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The deadline that is sent as `grpc-timeout`.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// The status: one of these names. `OK` where nothing is said.
    #[serde(default = "ok")]
    pub code: Vec<String>,
    /// Statuses that are tolerated, and why.
    #[serde(default)]
    pub tolerated: BTreeMap<String, String>,
    /// The status's text.
    #[serde(default)]
    pub message: Option<Wanted>,
    /// What the first message of the answer has to have.
    #[serde(default)]
    pub reply: Option<Wanted>,
    /// That the reply's member `data` is what was sent.
    #[serde(default)]
    pub same: bool,
    /// How many messages come.
    #[serde(default)]
    pub messages: Option<usize>,
    /// How many bytes of `data` they have together.
    #[serde(default)]
    pub bytes: Option<usize>,
    /// What the answer's headers have to have.
    #[serde(default)]
    pub headers: Option<Wanted>,
    /// What its trailers have to have.
    #[serde(default)]
    pub trailers: Option<Wanted>,
    /// How long it may take.
    #[serde(default)]
    pub within: Option<Span>,
}

/// See [`Step::Concurrently`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Concurrently {
    /// How many.
    pub calls: usize,
    /// Of which method, whose answer is a stream that stays open.
    pub method: String,
    /// Its request.
    #[serde(default = "nothing")]
    pub request: Value,
    /// What the first message of each has to have.
    pub reply: Wanted,
    /// How long it may take until all have their first message.
    #[serde(default)]
    pub within: Option<Span>,
}

/// A call that is left open.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Open {
    /// Its name.
    pub name: String,
    /// As in [`Call`].
    pub method: String,
    /// On which connection; `main` where nothing is said.
    #[serde(default)]
    pub on: Option<String>,
    /// The only request.
    #[serde(default = "nothing")]
    pub request: Value,
    /// The deadline that is sent as `grpc-timeout`.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// See [`Step::Receive`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Receive {
    /// Which open call.
    pub name: String,
    /// What the next message has to have.
    #[serde(default)]
    pub reply: Option<Wanted>,
    /// That no message comes any more, and the call ends with one of these statuses, or breaks.
    #[serde(default)]
    pub ends: Option<Vec<String>>,
    /// How long it may take.
    #[serde(default)]
    pub within: Option<Span>,
}

/// See [`Step::Silent`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Silent {
    /// Which open call.
    pub name: String,
    /// For how long.
    pub throughout: Span,
}

/// The name of an open call.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Named {
    /// Which.
    pub name: String,
}

/// See [`Step::Shutdown`].
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Shutdown {
    /// On which connection; `main` where nothing is said.
    pub on: Option<String>,
}

/// See [`Step::Print`].
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Print {
    /// To standard output.
    pub stdout: String,
    /// To standard error.
    pub stderr: String,
    /// To standard output, all 256 bytes in their order, so many times.
    pub every_byte: usize,
    /// To standard output, so many bytes.
    pub fill: usize,
    /// How long it may take.
    pub within: Option<Span>,
}

/// See [`Step::Printed`].
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Printed {
    /// Which open call of `StreamStdio`; `stdio` where nothing is said.
    pub name: Option<String>,
    /// All that came on STDOUT since the call began.
    pub stdout: Option<String>,
    /// All that came on STDERR since the call began.
    pub stderr: Option<String>,
    /// As in [`Print`].
    pub every_byte: usize,
    /// As in [`Print`].
    pub fill: usize,
    /// That `stderr` may come by the pipe of standard error as well.
    pub or_pipe: bool,
    /// For how long no more than that may come, afterwards.
    pub then_silent: Option<Span>,
    /// How long it may take.
    pub within: Option<Span>,
}

/// See [`Step::Broker`].
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Broker {
    /// On which connection; `main` where nothing is said.
    pub on: Option<String>,
}

/// See [`Step::Offer`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Offer {
    /// What later steps call the id.
    pub name: String,
    /// How long the plugin waits until it accepts.
    #[serde(default)]
    pub delay: Option<Span>,
    /// On which connection the plugin is asked; `main` where nothing is said.
    #[serde(default)]
    pub on: Option<String>,
}

/// See [`Step::Announced`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Announced {
    /// Which id, by the name that `offer` gave it.
    pub name: String,
    /// In which folder its socket is.
    pub folder: String,
}

/// See [`Step::Serve`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Serve {
    /// The id.
    pub id: u32,
}

/// See [`Step::Dial`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dial {
    /// Which id, by the name that `offer` gave it.
    pub name: String,
    /// What later steps call the connection; the id's name where nothing is said.
    #[serde(default)]
    pub connection: Option<String>,
    /// What is shown, under mutual TLS.
    #[serde(default)]
    pub certificate: Certificate,
    /// Speaks plaintext although mutual TLS was asked for.
    #[serde(default)]
    pub plaintext: bool,
    /// That nobody is reached: the connection is refused or cut.
    #[serde(default)]
    pub refused: bool,
    /// Opens the stream without a knock, and has to reach the main connection's services.
    #[serde(default)]
    pub without_knock: bool,
    /// How long it may take.
    #[serde(default)]
    pub within: Option<Span>,
}

/// See [`Step::DialBack`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DialBack {
    /// The id of the host's side.
    pub id: u32,
    /// What the host does about it.
    #[serde(default)]
    pub host: HostAccepts,
    /// How long the host waits until it accepts, or answers the knock.
    #[serde(default)]
    pub delay: Option<Span>,
    /// That the plugin's dial, or its first call, fails.
    #[serde(default)]
    pub fails: bool,
    /// The deadline of the call that asks the plugin; 8 s where nothing is said.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// How long the plugin waits at the least.
    #[serde(default)]
    pub not_before: Option<Span>,
    /// How long it may take.
    #[serde(default)]
    pub within: Option<Span>,
}

/// What the host does when the plugin dials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostAccepts {
    /// It accepts: announces a socket of its own, or acknowledges the knock and takes the stream.
    #[default]
    Serves,
    /// As `serves`, and under mutual TLS it shows a certificate that is not the announced one.
    ServesWithOtherCertificate,
    /// Nothing further: what no `serve` did before is not done.
    Nothing,
    /// It answers the knock with an error.
    Refuses,
}

/// See [`Step::Knock`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Knock {
    /// The name of an id that was offered.
    #[serde(default)]
    pub name: Option<String>,
    /// Or an id that nobody accepts.
    #[serde(default)]
    pub id: Option<u32>,
    /// That no acknowledgement without an error comes for so long.
    pub not_acknowledged: Span,
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

fn ok() -> Vec<String> {
    vec!["OK".to_owned()]
}
