//! Why a plugin could not serve.

use std::io;

use plugwire_protocol::environment::{CookieError, PortRangeError};
use plugwire_protocol::handshake::AddressError;

/// Why `Plugin::try_serve` returned before it served a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The author added a service under the name of one that every plugin has: health, reflection, or
    /// go-plugin's own. A Go plugin ends with the same complaint.
    #[error("every plugin has a service {0}; the plugin's author added another one of this name")]
    BuiltInService(&'static str),
    /// The handshake line cannot carry the path of the socket: it contains `|` or a line break. The directory for
    /// sockets (`PLUGIN_UNIX_SOCKET_DIR`, `TMPDIR`) must have another path.
    #[error("the plugin's address cannot be announced")]
    Address(#[source] AddressError),
    /// The descriptor set given to `Services::describe` cannot be read. The plugin's author has to fix it.
    #[error("the plugin's descriptor set cannot be read: {0}")]
    Descriptors(String),
    /// What the host sent as its certificate is not one (`PLUGIN_CLIENT_CERT`).
    #[error("the host's certificate in PLUGIN_CLIENT_CERT cannot be read: {0}")]
    HostCertificate(String),
    /// Listening failed: the directory is missing or its path too long, the group is unknown, or all ports
    /// are in use.
    #[error("the plugin cannot listen")]
    Listen(#[source] io::Error),
    /// The handshake line could not be written: the host has closed the other end of standard output.
    #[error("the handshake line cannot be written")]
    Line(#[source] io::Error),
    /// The plugin requires mutual TLS, and the host sent no certificate.
    #[error("this plugin requires mutual TLS, and the host sent no PLUGIN_CLIENT_CERT")]
    NoHostCertificate,
    /// The program was not started by a host that knows it, or its author left the cookie empty.
    #[error("the plugin was not started by its host")]
    NotStartedByHost(#[source] CookieError),
    /// No version was registered. The plugin's author has to add one.
    #[error("the plugin offers no app protocol version")]
    NoVersions,
    /// The host's port range is invalid.
    #[error("the host's port range cannot be used")]
    Ports(#[source] PortRangeError),
    /// Standard output could not be captured.
    #[error("standard output cannot be captured")]
    Stdio(#[source] io::Error),
    /// No key or certificate could be made, or rustls refused it.
    #[error("mutual TLS cannot be set up: {0}")]
    Tls(String),
}

impl ServeError {
    /// Returns a stable name for this kind of failure.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ServeError::BuiltInService(_) => "serve.built-in-service",
            ServeError::Address(error) => error.code(),
            ServeError::Descriptors(_) => "serve.descriptors",
            ServeError::HostCertificate(_) => "serve.host-certificate",
            ServeError::Listen(_) => "serve.listen",
            ServeError::Line(_) => "serve.line",
            ServeError::NoHostCertificate => "serve.no-host-certificate",
            ServeError::NotStartedByHost(error) => error.code(),
            ServeError::NoVersions => "serve.no-versions",
            ServeError::Ports(error) => error.code(),
            ServeError::Stdio(_) => "serve.stdio",
            ServeError::Tls(_) => "serve.tls",
        }
    }
}
