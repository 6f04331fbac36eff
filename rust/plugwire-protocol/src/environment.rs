//! The environment variables that a host sets when it starts a plugin, and that a plugin reads.

mod host;
mod plugin;
mod ports;

pub use host::{HostEnvironment, is_inherited_by_default, is_protocol_variable};
pub use plugin::{CookieError, PluginEnvironment};
pub use ports::{PortRange, PortRangeError};

/// The lowest port for a plugin that listens on TCP. go-plugin: `ClientConfig.MinPort`.
pub const PLUGIN_MIN_PORT: &str = "PLUGIN_MIN_PORT";
/// The highest port for a plugin that listens on TCP. go-plugin: `ClientConfig.MaxPort`.
pub const PLUGIN_MAX_PORT: &str = "PLUGIN_MAX_PORT";
/// The app protocol versions that the host offers, separated by commas.
pub const PLUGIN_PROTOCOL_VERSIONS: &str = "PLUGIN_PROTOCOL_VERSIONS";
/// The host's certificate for mutual TLS, in PEM. go-plugin: `ClientConfig.AutoMTLS`.
pub const PLUGIN_CLIENT_CERT: &str = "PLUGIN_CLIENT_CERT";
/// `true` if the host wants brokered connections multiplexed.
/// go-plugin: `ClientConfig.GRPCBrokerMultiplex`.
pub const PLUGIN_MULTIPLEX_GRPC: &str = "PLUGIN_MULTIPLEX_GRPC";
/// The directory for the plugin's Unix sockets. go-plugin: `EnvUnixSocketDir`.
pub const PLUGIN_UNIX_SOCKET_DIR: &str = "PLUGIN_UNIX_SOCKET_DIR";
/// The group, by number or by name, that may write to the plugin's Unix sockets.
/// go-plugin: `EnvUnixSocketGroup`.
pub const PLUGIN_UNIX_SOCKET_GROUP: &str = "PLUGIN_UNIX_SOCKET_GROUP";

/// A variable by which a plugin recognises its host.
///
/// The cookie is a usability check, not a security measure: a person who runs a plugin by hand gets
/// an explanation instead of a program that waits. go-plugin: `HandshakeConfig`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct MagicCookie<'a> {
    /// The variable's name. go-plugin: `HandshakeConfig.MagicCookieKey`.
    pub key: &'a str,
    /// The variable's value. go-plugin: `HandshakeConfig.MagicCookieValue`.
    pub value: &'a str,
}

impl<'a> MagicCookie<'a> {
    /// Creates a cookie from the variable's name and value. Both must be non-empty, or the plugin
    /// refuses to start.
    #[must_use]
    pub const fn new(key: &'a str, value: &'a str) -> Self {
        Self { key, value }
    }
}

#[cfg(test)]
mod tests;
