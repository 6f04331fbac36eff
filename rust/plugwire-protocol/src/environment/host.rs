//! The variables that a host sets, and those that a plugin may inherit.

use std::ffi::{OsStr, OsString};

use super::{
    MagicCookie, PLUGIN_CLIENT_CERT, PLUGIN_MAX_PORT, PLUGIN_MIN_PORT, PLUGIN_MULTIPLEX_GRPC,
    PLUGIN_PROTOCOL_VERSIONS, PLUGIN_UNIX_SOCKET_DIR, PLUGIN_UNIX_SOCKET_GROUP, PortRange,
};

/// Everything that a host tells a plugin through environment variables.
///
/// ```
/// use plugwire_protocol::environment::{HostEnvironment, MagicCookie};
///
/// let cookie = MagicCookie::new("GREETER_PLUGIN", "hello");
/// let environment = HostEnvironment::new(cookie, &[1]).with_multiplex(true);
/// for (name, value) in environment.variables() {
///     println!("{name}={}", value.display());
/// }
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HostEnvironment<'a> {
    /// The magic cookie.
    pub cookie: MagicCookie<'a>,
    /// The app protocol versions that the host offers.
    pub app_versions: &'a [u32],
    /// The ports for a plugin that listens on TCP. Default: 10000 to 25000. With `None`, no range is
    /// sent, and the plugin takes any free port.
    pub ports: Option<PortRange>,
    /// Whether the host asks for multiplexed brokered connections. Default: no.
    pub multiplex: bool,
    /// The host's certificate for mutual TLS, in [PEM](crate::certificate::pem).
    /// Default: none, which means no TLS.
    pub client_certificate_pem: Option<&'a str>,
    /// The group that may write to the plugin's sockets, by number or by name.
    /// Default: none. go-plugin: `UnixSocketConfig.Group`.
    pub socket_group: Option<&'a str>,
    /// The directory for the plugin's sockets. Default: none, and the plugin uses its temporary
    /// directory.
    pub socket_dir: Option<&'a OsStr>,
}

impl<'a> HostEnvironment<'a> {
    /// Creates the environment that a host sends by default.
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

    /// Sets the ports for a plugin that listens on TCP.
    #[must_use]
    pub fn with_ports(mut self, ports: Option<PortRange>) -> Self {
        self.ports = ports;
        self
    }

    /// Sets whether the host asks for multiplexed brokered connections.
    #[must_use]
    pub fn with_multiplex(mut self, multiplex: bool) -> Self {
        self.multiplex = multiplex;
        self
    }

    /// Sets the host's certificate for mutual TLS, in [PEM](crate::certificate::pem).
    #[must_use]
    pub fn with_client_certificate_pem(mut self, pem: Option<&'a str>) -> Self {
        self.client_certificate_pem = pem;
        self
    }

    /// Sets the group that may write to the plugin's sockets, by number or by name.
    #[must_use]
    pub fn with_socket_group(mut self, group: Option<&'a str>) -> Self {
        self.socket_group = group;
        self
    }

    /// Sets the directory for the plugin's sockets.
    #[must_use]
    pub fn with_socket_dir<D: AsRef<OsStr> + ?Sized>(mut self, directory: Option<&'a D>) -> Self {
        self.socket_dir = directory.map(AsRef::as_ref);
        self
    }

    /// Returns the variables to set for the plugin, as pairs of name and value.
    ///
    /// A setting that is off has no variable. The host must therefore also remove the
    /// [protocol's variables](is_protocol_variable) that it inherited from its own environment.
    pub fn variables(&self) -> Vec<(String, OsString)> {
        let versions: Vec<String> = self.app_versions.iter().map(u32::to_string).collect();
        let always = [
            (self.cookie.key, Some(self.cookie.value.into())),
            (PLUGIN_PROTOCOL_VERSIONS, Some(versions.join(",").into())),
        ];
        let only_if_on = [
            (PLUGIN_MIN_PORT, self.ports.map(|ports| ports.min().to_string().into())),
            (PLUGIN_MAX_PORT, self.ports.map(|ports| ports.max().to_string().into())),
            (PLUGIN_MULTIPLEX_GRPC, self.multiplex.then(|| true.to_string().into())),
            (PLUGIN_CLIENT_CERT, self.client_certificate_pem.map(OsString::from)),
            (PLUGIN_UNIX_SOCKET_GROUP, self.socket_group.map(OsString::from)),
            (PLUGIN_UNIX_SOCKET_DIR, self.socket_dir.map(OsString::from)),
        ];
        always
            .into_iter()
            .chain(only_if_on)
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

/// Returns whether a plugin inherits this variable from its host by default: `PATH`, `HOME`, `USER`,
/// `LANG`, `LC_*`, `TZ` and `TMPDIR`. Any other variable may hold a secret of the host.
pub fn is_inherited_by_default(name: &str) -> bool {
    matches!(name, "PATH" | "HOME" | "USER" | "LANG" | "TZ" | "TMPDIR") || name.starts_with("LC_")
}

/// Returns whether this variable belongs to the protocol. The magic cookie does not count.
///
/// A host that is itself a plugin inherits such variables from its own host, and must not pass them
/// on: they describe another connection. A leaked `PLUGIN_CLIENT_CERT` would make the inner plugin
/// use TLS with a host that does not expect it.
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
