//! The flaws of which a scripted host can have one.
//!
//! The code consults a flaw where a healthy host does the right thing; nothing else differs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error;

/// A flaw of a scripted host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Flaw {
    // environment
    /// Does not say which app versions it accepts.
    SendsNoVersions,
    /// Offers the first of its app versions only.
    OffersOneVersion,
    /// Sets neither PLUGIN_MIN_PORT nor PLUGIN_MAX_PORT.
    SendsNoPorts,
    /// Sets PLUGIN_MULTIPLEX_GRPC=false where it does not want multiplexing.
    SaysMultiplexFalse,
    /// Multiplexes without having asked the plugin for it.
    MultiplexesUnasked,
    /// Sends its certificate without line breaks.
    CertificateOnOneLine,
    /// Lets its user's variables overwrite the protocol's.
    UserValuesWin,
    /// Hands on the protocol's variables that it has got itself.
    HandsOnProtocolVariables,
    /// Hands on its whole environment, secrets included.
    HandsOnEverything,
    // the line
    /// Does not take a line that the end of standard output completes.
    NeedsALineFeed,
    /// Skips lines that are no handshake lines until one is.
    SkipsNoise,
    /// Skips blank lines before the handshake line.
    SkipsBlankLines,
    /// Reads the line with the white space around it.
    KeepsWhiteSpace,
    /// Takes missing fields for empty ones.
    FillsInMissingFields,
    /// Wants six fields, or seven where it asked for multiplexing, and no others.
    CountsFieldsExactly,
    /// Takes any core version.
    AnyCoreVersion,
    /// Takes versions without sign and leading zeros only.
    WantsPlainDigits,
    /// Takes any app version.
    AnyAppVersion,
    /// Takes app version 0 for a version that is missing.
    #[serde(rename = "takes-version-0-for-none")]
    TakesVersion0ForNone,
    /// Takes any network, and connects by TCP.
    AnyNetwork,
    /// Knows unix sockets only.
    KnowsNoTcp,
    /// Takes any protocol for gRPC.
    AnyProtocol,
    /// Takes a line without a protocol for gRPC.
    FourFieldsAreGrpc,
    /// Takes the protocol in capitals, too.
    ProtocolInAnyCase,
    /// Takes a sixth field of any length for a certificate.
    ShortFieldIsACertificate,
    /// Multiplexes whatever the seventh field says.
    AnyMuxField,
    // process and start
    /// Waits to the end of the start timeout for another line, when the first is none or the plugin
    /// has ended.
    WaitsOutTheStartTimeout,
    /// Takes a plugin that ended with status 0 for one that has started.
    #[serde(rename = "takes-exit-0-for-a-start")]
    TakesExit0ForAStart,
    /// Waits one second for the line, whatever its user said.
    GivesUpEarly,
    /// Lets a plugin run that it refused.
    LeavesRefusedPlugins,
    /// Reads standard output no further than the line.
    StopsReadingStdout,
    /// Has no deadlines, and retries forever.
    WaitsForEver,
    /// Takes the line for a connection: looks neither at the address nor at what is there, and says
    /// that a plugin without a connection is well.
    BelievesTheLine,
    /// Connects with the first call only.
    ConnectsWithTheFirstCall,
    /// Connects at once or not at all.
    TriesOnce,
    /// Does not connect again when a connection has ended, and waits for one.
    ConnectsOnce,
    /// Cannot go on when the stdio stream ends.
    InsistsOnStdio,
    /// Cannot go on when the broker's stream ends.
    InsistsOnABroker,
    /// Waits for the headers of its two open streams before it goes on.
    WaitsForStreamHeaders,
    // TLS
    /// Shows no certificate in the handshake.
    ShowsNoCertificate,
    /// Offers no protocol by ALPN.
    OffersNoAlpn,
    /// Refuses keys on P-521.
    KnowsNoP521,
    /// Speaks TLS 1.3 only.
    #[serde(rename = "only-tls-13")]
    OnlyTls13,
    /// Takes any certificate where the announced one cannot be read.
    IgnoresBadCertificates,
    /// Takes a certificate in padded base64.
    TakesPadding,
    /// Takes any certificate, whatever was announced.
    TakesAnyCertificate,
    /// Compares the certificate, and does not verify who has its key.
    VerifiesNoSignature,
    /// Refuses a certificate that has expired.
    ReadsCertificateDates,
    /// Goes on in plaintext when there is no TLS.
    FallsBackToPlaintext,
    /// Dies of a certificate that it did not ask for.
    DiesOfAnUnaskedCertificate,
    // calls
    /// Takes any answer of the health service for a good one.
    PingTakesAnyAnswer,
    /// Asks for the health of an application's service.
    AsksForAnotherService,
    /// Sends calls without their metadata.
    LosesMetadata,
    /// Turns every error of a call into the same one.
    FlattensErrors,
    /// Does not tell the plugin of a call's deadline, nor of its end.
    KeepsDeadlinesToItself,
    /// Does not tell the plugin that a call is cancelled.
    KeepsCancellationToItself,
    /// Refuses messages of more than 4 MiB.
    #[serde(rename = "takes-4-mib")]
    Takes4Mib,
    /// Takes many small messages for an attack, and ends the call.
    TakesSmallFramesForAnAttack,
    /// Waits on for the answer of a plugin that is gone.
    WaitsForDeadPlugins,
    /// Takes the end of the connection for the end of a stream.
    TakesACutStreamForItsEnd,
    // what the plugin prints
    /// Swaps standard output and standard error.
    SwapsChannels,
    /// Takes what the plugin prints for UTF-8, and mends it.
    StdioIsText,
    /// Ends the stdio stream at a message of more than 1024 bytes.
    #[serde(rename = "stdio-takes-1024")]
    StdioTakes1024,
    /// Reads the first messages of the stdio stream only.
    StopsReadingStdio,
    /// Ends the stdio stream at a channel that it does not know.
    UnknownChannelEndsStdio,
    /// Reads the first line of standard error only.
    StopsReadingStderr,
    /// Takes every line of the log for text.
    LogsAreText,
    /// Drops records of a level that it does not know.
    UnknownLevelIsLost,
    /// Takes a record's timestamp in any form.
    AnyTimestamp,
    /// Logs text without a level at info.
    TextIsInfo,
    /// Dies of JSON that is no record, or whose message is no text.
    DiesOfOddJson,
    /// Reads numbers as floating point.
    NumbersAreFloats,
    /// Drops a last line without a line feed.
    LosesTheLastWords,
    /// Logs the text of a panic like any other.
    PanicsAreDebug,
    // broker
    /// Dials its plugin's main socket, whatever was announced.
    DialsTheMainSocket,
    /// Connects to whatever address is announced.
    DialsAnywhere,
    /// Does not wait for an announcement.
    DialsWithoutWaiting,
    /// Announces an id a while before it listens there.
    AnnouncesBeforeItListens,
    /// Takes an id of its own for the plugin's id of the same number.
    OneTableForBothDirections,
    /// Leaves TLS out of brokered connections.
    BrokeredPlaintext,
    /// Ends its broker at an announcement that it cannot use, such as a second one of the same id.
    SecondAnnouncementEndsTheBroker,
    // multiplexing
    /// Asks for multiplexing, and then speaks HTTP/2 on the connection itself.
    MultiplexesByHalf,
    /// Opens a stream for an id without knocking.
    DialsWithoutKnocking,
    /// Does not answer knocks.
    NeverAcknowledges,
    /// Puts TLS around the session, and none into its streams.
    TlsAroundTheSession,
    /// Opens the stream although the plugin refused the knock.
    OpensAfterARefusal,
    /// Opens the stream although no answer came.
    OpensWithoutAnAnswer,
    /// Takes any acknowledgement for its own, and waits a second for one before it knocks itself.
    AnyAcknowledgement,
    /// Ends its broker at a knock for an id that it does not serve.
    UnknownKnockEndsTheBroker,
    // end, and reattaching
    /// Kills the plugin without asking it to end.
    KillsWithoutShutdown,
    /// Takes it for an error when the plugin answers Shutdown.
    ShutdownMustNotAnswer,
    /// Neither kills a plugin that does not end, nor asks one to end that it has attached to.
    LeavesPlugins,
    /// Waits for the end of the plugin's pipes without a limit.
    WaitsForThePipes,
    /// Ends the plugin's own process only.
    LeavesTheProcessGroup,
    /// Leaves the directory with the plugin's sockets behind.
    LeavesSockets,
    /// Does nothing for the case that it is killed itself.
    PluginsOutliveIt,
    /// Ends a plugin in test mode.
    EndsTestPlugins,
}

impl Flaw {
    /// Returns the flaw of this name.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let name: serde::de::value::StrDeserializer<'_, Error> = name.into_deserializer();
        Self::deserialize(name).map_err(|error| error.to_string())
    }
}

/// Returns the names of all flaws, each with the sentence that documents it.
pub fn flaws() -> BTreeMap<String, String> {
    let schema = schemars::schema_for!(Flaw);
    let all = schema.get("oneOf").and_then(|all| all.as_array()).into_iter().flatten();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().replace('\n', " ");
    all.map(|flaw| (text(&flaw["const"]), text(&flaw["description"]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flaw_has_a_name_and_a_sentence() {
        let flaws = flaws();
        assert!(flaws.len() > 90);
        for (name, sentence) in &flaws {
            Flaw::named(name).unwrap();
            assert!(sentence.ends_with('.'), "{name}: {sentence}");
        }
        assert!(Flaw::named("sends-no-version").is_err());
    }
}
