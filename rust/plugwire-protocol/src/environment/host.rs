//! What a host sets and hands on.

use super::{
    MagicCookie, PLUGIN_CLIENT_CERT, PLUGIN_MAX_PORT, PLUGIN_MIN_PORT, PLUGIN_MULTIPLEX_GRPC,
    PLUGIN_PROTOCOL_VERSIONS, PLUGIN_UNIX_SOCKET_DIR, PLUGIN_UNIX_SOCKET_GROUP, PortRange,
};

/// Everything that a host tells a plugin through its environment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HostEnvironment<'a> {
    /// The magic cookie. Both its parts must be non-empty, or the plugin refuses to start.
    pub cookie: MagicCookie<'a>,
    /// The app protocol versions that the host offers.
    pub app_versions: &'a [u32],
    /// The ports for a plugin that listens on TCP. Default: 10000 to 25000. `None` sends none, and
    /// the plugin takes any free port.
    pub ports: Option<PortRange>,
    /// Asks for multiplexed brokered connections. Default: no.
    pub multiplex: bool,
    /// The host's certificate under mutual TLS, in [PEM](crate::certificate::pem).
    /// Default: none, so no TLS.
    pub client_certificate_pem: Option<&'a str>,
    /// The group that may write to the plugin's sockets, by number or by name.
    /// Default: none. go-plugin: `UnixSocketConfig.Group`.
    pub socket_group: Option<&'a str>,
    /// The folder for the plugin's sockets. Default: none, so the plugin's own temporary folder.
    pub socket_dir: Option<&'a str>,
}

impl<'a> HostEnvironment<'a> {
    /// What a host sends by default; the fields change it.
    #[must_use]
    pub fn new(cookie: MagicCookie<'a>, app_versions: &'a [u32]) -> Self {
        Self {
            cookie,
            app_versions,
            ports: Some(PortRange::default()),
            multiplex: false,
            client_certificate_pem: None,
            socket_group: None,
            socket_dir: None,
        }
    }

    /// The variables to set for the plugin, as name and value.
    ///
    /// Whatever is off has no variable at all, so a host must also remove the
    /// [protocol's variables](is_protocol_variable) that it inherited itself.
    pub fn variables(&self) -> Vec<(String, String)> {
        let versions: Vec<String> = self.app_versions.iter().map(u32::to_string).collect();
        let always = [
            (self.cookie.key, Some(self.cookie.value.to_owned())),
            (PLUGIN_PROTOCOL_VERSIONS, Some(versions.join(","))),
        ];
        let only_if_on = [
            (PLUGIN_MIN_PORT, self.ports.map(|ports| ports.min().to_string())),
            (PLUGIN_MAX_PORT, self.ports.map(|ports| ports.max().to_string())),
            (PLUGIN_MULTIPLEX_GRPC, self.multiplex.then(|| true.to_string())),
            (PLUGIN_CLIENT_CERT, self.client_certificate_pem.map(str::to_owned)),
            (PLUGIN_UNIX_SOCKET_GROUP, self.socket_group.map(str::to_owned)),
            (PLUGIN_UNIX_SOCKET_DIR, self.socket_dir.map(str::to_owned)),
        ];
        always
            .into_iter()
            .chain(only_if_on)
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

/// Whether a plugin gets this variable of its host's environment without being asked for it:
/// `PATH`, `HOME`, `USER`, `LANG`, `LC_*`, `TZ` and `TMPDIR`. Everything else may be a secret of
/// the host.
pub fn is_inherited_by_default(name: &str) -> bool {
    matches!(name, "PATH" | "HOME" | "USER" | "LANG" | "TZ" | "TMPDIR") || name.starts_with("LC_")
}

/// Whether this variable belongs to the protocol (all except the magic cookie).
///
/// A host that is itself a plugin inherits such variables from its own host. It must never hand
/// them on: they speak of another connection, and a leaked `PLUGIN_CLIENT_CERT` makes the inner
/// plugin speak TLS to a host that does not expect it.
pub fn is_protocol_variable(name: &str) -> bool {
    [
        PLUGIN_CLIENT_CERT,
        PLUGIN_MAX_PORT,
        PLUGIN_MIN_PORT,
        PLUGIN_MULTIPLEX_GRPC,
        PLUGIN_PROTOCOL_VERSIONS,
        PLUGIN_UNIX_SOCKET_DIR,
        PLUGIN_UNIX_SOCKET_GROUP,
    ]
    .contains(&name)
}
