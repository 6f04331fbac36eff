//! The protocol's environment variables (spec, chapter 4).

/// The app protocol versions that the host accepts, `1,2`.
pub const PROTOCOL_VERSIONS: &str = "PLUGIN_PROTOCOL_VERSIONS";
/// The lowest port for a plugin on TCP.
pub const MIN_PORT: &str = "PLUGIN_MIN_PORT";
/// The highest one.
pub const MAX_PORT: &str = "PLUGIN_MAX_PORT";
/// The host's certificate as PEM: mutual TLS is wanted.
pub const CLIENT_CERT: &str = "PLUGIN_CLIENT_CERT";
/// Multiplexing is wanted.
pub const MULTIPLEX_GRPC: &str = "PLUGIN_MULTIPLEX_GRPC";
/// The directory for sockets.
pub const SOCKET_DIR: &str = "PLUGIN_UNIX_SOCKET_DIR";
/// The group that may use the sockets.
pub const SOCKET_GROUP: &str = "PLUGIN_UNIX_SOCKET_GROUP";

/// All of them: a plugin must not inherit these from the suite's own environment.
pub const ALL: [&str; 7] =
    [PROTOCOL_VERSIONS, MIN_PORT, MAX_PORT, CLIENT_CERT, MULTIPLEX_GRPC, SOCKET_DIR, SOCKET_GROUP];

/// Go's `strconv.ParseBool`; none for anything that it refuses.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
