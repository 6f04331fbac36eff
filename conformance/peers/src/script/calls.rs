//! Deviations of calls, and of the services that every plugin has.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Act;

/// How a plugin answers calls in general. Methods are paths, such as `/plugwire.probe.v1.Probe/Echo`; a path that ends
/// in `/` stands for every method of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Calls {
    /// Methods that fail with this status instead of what they do.
    pub status: BTreeMap<String, Code>,
    /// Methods that never answer.
    pub hang: Vec<String>,
    /// Methods whose stream is reset with RST_STREAM instead of an answer.
    pub reset: Vec<String>,
    /// Methods whose connection is closed instead of an answer, without a GOAWAY.
    pub cut: Vec<String>,
    /// The acts in the middle of a call.
    pub acts: Vec<ActsAt>,
    /// The answer to an unknown method.
    pub unknown_method: UnknownMethod,
    /// Loses the request's metadata: Echo answers without.
    pub loses_metadata: bool,
    /// Takes the next call of `Probe` and `BrokerProbe` only when the last has ended.
    pub one_at_a_time: bool,
    /// The largest request that it accepts, in bytes. Default: 4 MiB, as in Go.
    pub request_limit: usize,
    /// The answer to a larger request.
    pub too_large: TooLarge,
    /// Exits with status 1 instead of sending an answer of more than this many bytes.
    pub dies_of_answer_over: Option<usize>,
    /// Changes one byte in each Payload of more than this many bytes.
    pub damages_over: Option<usize>,
    /// Ends a connection with GOAWAY after this many calls, which are answered.
    pub goaway_after: Option<u32>,
    /// Ends a connection with GOAWAY after this many calls that were cancelled before it took them.
    pub most_resets: Option<usize>,
    /// Resets calls that ask for another `:authority`.
    pub demands_authority: Option<String>,
    /// Answers INTERNAL to a request with a field that it does not know.
    pub chokes_on_unknown_fields: bool,
    /// Does not notice that a call was cancelled.
    pub ignores_cancel: bool,
    /// Does not notice that a call's deadline has passed.
    pub ignores_deadline: bool,
    /// Sends the code of an error, and neither its text nor its metadata.
    pub loses_error_texts: bool,
    /// Loses the metadata that goes with a status, the details of an error included.
    pub loses_trailers: bool,
    /// Sends its answers without trailers: the stream just ends.
    pub no_trailers: bool,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            status: BTreeMap::new(),
            hang: Vec::new(),
            reset: Vec::new(),
            cut: Vec::new(),
            acts: Vec::new(),
            unknown_method: UnknownMethod::Unimplemented,
            loses_metadata: false,
            one_at_a_time: false,
            request_limit: 4 << 20,
            too_large: TooLarge::Refused,
            dies_of_answer_over: None,
            damages_over: None,
            goaway_after: None,
            most_resets: None,
            demands_authority: None,
            chokes_on_unknown_fields: false,
            ignores_cancel: false,
            ignores_deadline: false,
            loses_error_texts: false,
            loses_trailers: false,
            no_trailers: false,
        }
    }
}

/// The acts in the middle of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ActsAt {
    /// The method.
    pub method: String,
    /// After this many messages of the answer; 0 = before the first.
    #[serde(default)]
    pub after_messages: u64,
    /// The acts, in order.
    pub acts: Vec<Act>,
}

/// The answer to an unknown method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownMethod {
    /// UNIMPLEMENTED.
    #[default]
    Unimplemented,
    /// OK, and an empty message.
    Ok,
    /// INTERNAL.
    Internal,
    /// No answer.
    Hangs,
    /// The end of the process, with status 1.
    Exits,
}

/// The answer to a request that is larger than the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TooLarge {
    /// RESOURCE_EXHAUSTED.
    #[default]
    Refused,
    /// No answer.
    Hangs,
    /// The end of the process, with status 1.
    Exits,
}

/// A gRPC status code by its name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum Code {
    Ok,
    #[serde(rename = "CANCELLED")]
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Code {
    /// Returns the number on the wire.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Returns the name.
    pub fn name(self) -> &'static str {
        plugwire_conformance_wire::grpc::CODES[self as usize]
    }
}

/// `grpc.health.v1.Health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Health {
    /// The service is not there.
    pub absent: bool,
    /// The name under which it knows itself.
    pub name: String,
    /// The status that it reports.
    pub status: HealthStatus,
    /// Says the same of every name.
    pub knows_everything: bool,
    /// Never answers.
    pub hangs: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            absent: false,
            name: "plugin".to_owned(),
            status: HealthStatus::Serving,
            knows_everything: false,
            hangs: false,
        }
    }
}

/// A status of the health service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum HealthStatus {
    Unknown,
    #[default]
    Serving,
    NotServing,
    ServiceUnknown,
}

/// `grpc.reflection.v1.ServerReflection` and `v1alpha`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Reflection {
    /// The service is not there in its version `v1`.
    pub no_v1: bool,
    /// The service is not there in its version `v1alpha`.
    pub no_v1alpha: bool,
    /// Lists the services in the order of their registration.
    pub unsorted: bool,
    /// Names that are missing in the list.
    pub leaves_out: Vec<String>,
    /// Answers a second question on the same stream with its end.
    pub one_question: bool,
}

/// `plugin.GRPCStdio`: sends what `Probe/Print` printed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stdio {
    /// The service is not there.
    pub absent: bool,
    /// Ends the stream at once with this status.
    pub ends_with: Option<Code>,
    /// Sends what was printed to standard output under standard error's name, and the other way around.
    pub swaps_channels: bool,
    /// Sends everything as standard output.
    pub all_is_stdout: bool,
    /// Loses what is printed to standard output.
    pub loses_stdout: bool,
    /// Loses what is printed to standard error.
    pub loses_stderr: bool,
    /// Sends on a channel that does not exist, first, and then what was printed.
    pub unknown_channel_first: bool,
    /// Turns line feeds into CR LF.
    pub crlf: bool,
    /// Takes what was printed for UTF-8, and replaces what is none.
    pub lossy_utf8: bool,
    /// Sends each piece twice.
    pub twice: bool,
    /// Blocks the printer until a host listens.
    pub blocks_printer: bool,
    /// Loses what is printed while no host listens.
    pub loses_unheard: bool,
    /// Ends the process when a second caller listens.
    pub dies_of_second: bool,
    /// Sends this many bytes as standard output, in messages of 1024, before anything else.
    pub flood: u64,
    /// The largest piece of one message. 1024, as Go's.
    pub piece: Option<usize>,
    /// Writes to descriptors 1 and 2, too.
    pub to_descriptors_too: bool,
}
