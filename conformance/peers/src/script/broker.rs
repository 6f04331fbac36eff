//! Deviations of brokered connections.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Act, Code};

/// `plugin.GRPCBroker`, and the brokered connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Broker {
    /// The service is not there.
    pub absent: bool,
    /// Ends the broker's stream at once with this status.
    pub ends_with: Option<Code>,
    /// Ends the broker's stream with OK after this many messages of the host.
    pub ends_after: Option<u64>,
    /// Ends with status 1 when the broker's stream ends.
    pub stream_end_ends: bool,
    /// Refuses the broker's stream with UNAVAILABLE except for the first call.
    pub first_stream_only: bool,
    /// Puts the sockets of brokered connections into the system's temporary directory, wherever the main one is.
    pub ignores_socket_dir: bool,
    /// The ids that it accepts without being asked, as soon as the host has opened the broker's
    /// stream.
    pub accepts: Vec<u32>,
    /// What it announces then, true or not.
    pub announces: Vec<Announce>,
    /// What is behind a connection that it accepts.
    pub behind: Behind,
    /// Speaks plaintext on brokered connections although the main one has TLS.
    pub plaintext: bool,
    /// Says an id that is greater by so much than the one it serves.
    pub wrong_id: u32,
    /// Announces each connection this many times.
    pub times: u32,
    /// Announces first, and listens this many milliseconds later.
    pub listens_late_ms: u64,
    /// Never announces what it accepts.
    pub never_announces: bool,
    /// Announces the main connection's socket instead of one of its own.
    pub main_socket: bool,
    /// Leaves the sockets of brokered connections.
    pub keeps_sockets: bool,
    /// Serves all services of the main connection on brokered connections, too.
    pub serves_everything: bool,
    /// Accepts any certificate from the peer that it dials.
    pub trusts_anybody: bool,
    /// Does not dial what the host announced.
    pub never_dials: bool,
    /// How long it waits for an announcement, or for the answer to a knock, in milliseconds.
    /// Default: 5 s.
    pub patience_ms: u64,
    /// Claims, after its timeout, that the dial of an unannounced id succeeded.
    pub believes_in_unknown: bool,
    /// Dials an id once only.
    pub dials_once: bool,
    /// Drops an announcement that arrives before a dial waits for it.
    pub forgets_early: bool,
    /// Does, in order, when a brokered connection ends.
    pub at_connection_end: Vec<Act>,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            absent: false,
            ends_with: None,
            ends_after: None,
            stream_end_ends: false,
            first_stream_only: false,
            ignores_socket_dir: false,
            accepts: Vec::new(),
            announces: Vec::new(),
            behind: Behind::Probe,
            plaintext: false,
            wrong_id: 0,
            times: 1,
            listens_late_ms: 0,
            never_announces: false,
            main_socket: false,
            keeps_sockets: false,
            serves_everything: false,
            trusts_anybody: false,
            never_dials: false,
            patience_ms: 5_000,
            believes_in_unknown: false,
            dials_once: false,
            forgets_early: false,
            at_connection_end: Vec::new(),
        }
    }
}

/// An announcement as it is written to the broker's stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Announce {
    /// The id.
    pub id: u32,
    /// The network, such as `unix`.
    pub network: String,
    /// The address. `{address}` is the main socket, `{folder}` where that is, and `{elsewhere}` a Unix socket beside
    /// the program itself, which listens and takes note of who comes; `{tcp}` is such a one on 127.0.0.1.
    pub address: String,
    /// How often.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

/// What is behind a brokered connection that the plugin accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Behind {
    /// Probe and BrokerProbe.
    #[default]
    Probe,
    /// Nothing: it is closed at once.
    Closes,
    /// Nothing: it is held open, unread.
    Silent,
    /// 64 bytes of neither TLS nor HTTP/2.
    Garbage,
}

/// The broker of a multiplexed session. A healthy plugin multiplexes if the host asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mux {
    /// Does not multiplex, whatever the line says.
    pub never: bool,
    /// Multiplexes, whatever the host asked for.
    pub unasked: bool,
    /// How it answers a knock for an id that it accepts.
    pub knock: KnockAnswer,
    /// Answers knocks this many milliseconds late.
    pub ack_late_ms: u64,
    /// Takes one stream for each id that it accepts.
    pub once_per_id: bool,
    /// Acknowledges ids that it does not accept.
    pub acks_everything: bool,
    /// Acknowledges ids that it has accepted once and released.
    pub acks_released: bool,
    /// Cuts the session at a knock for an id that it has accepted once and released.
    pub cuts_at_released: bool,
    /// Sends this many unsolicited acknowledgements, for ids from 1000 on, when the broker's stream
    /// opens.
    pub acks_unasked: u32,
    /// Takes a stream without a knock for the last id that it accepts.
    pub needs_no_knock: bool,
    /// Takes every stream for a main connection.
    pub main_only: bool,
    /// Dials without a knock.
    pub dials_without_knock: bool,
    /// Opens its stream although the host's answer refuses it.
    pub ignores_refusal: bool,
    /// Opens its stream without waiting for the host's answer.
    pub ignores_answer: bool,
    /// Sends this many knocks, for ids from 2000 on, when the broker's stream opens, and ignores
    /// the answers.
    pub knocks_unasked: u32,
    /// Does not acknowledge the host's streams.
    pub never_acknowledges: bool,
    /// Opens this many streams without a knock when the broker's stream opens.
    pub opens_unasked: u32,
    /// TLS is left out inside the session.
    pub plaintext: bool,
    /// What happens to the session at the first knock.
    pub at_knock: MuxEnd,
}

/// How a plugin answers a knock for an id that it accepts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KnockAnswer {
    /// It acknowledges, and the next stream is that id's.
    #[default]
    Acknowledges,
    /// Not at all.
    Never,
    /// It refuses with this text.
    Refuses(String),
    /// It acknowledges an id that is greater by 1000.
    WrongId,
    /// It acknowledges twice.
    Twice,
    /// It announces a socket, as without multiplexing.
    Announces,
}

/// What happens to a multiplexed session at the first knock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MuxEnd {
    /// It goes on.
    #[default]
    GoesOn,
    /// It is cut.
    Cut,
    /// It gets a GoAway, and goes on.
    GoAway,
    /// These bytes, in hexadecimal, are written into it, raw.
    Hex(String),
}
