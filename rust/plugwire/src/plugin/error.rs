//! Why a plugin could not serve.

use std::error::Error;
use std::fmt;
use std::io;

use plugwire_protocol::environment::{CookieError, PortRangeError};

/// Why [`Plugin::try_serve`](super::Plugin::try_serve) returned before it served anybody.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The descriptor set given to [`Services::describe`](crate::Services::describe) cannot be read. The plugin's
    /// author has to mend it.
    Descriptors(String),
    /// The host sent a certificate that is none (`PLUGIN_CLIENT_CERT`).
    HostCertificate(String),
    /// Listening failed: the folder is missing or its path too long, the group is unknown, all ports are taken.
    Listen(io::Error),
    /// The handshake line could not be written: the host closed the other end.
    Line(io::Error),
    /// The plugin asks for mutual TLS and the host sent no certificate.
    NoHostCertificate,
    /// The program was not started by the host it is meant for, or its author left the cookie empty.
    NotStartedByHost(CookieError),
    /// No version was registered. The plugin's author has to add one.
    NoVersions,
    /// The host's port range makes no sense.
    Ports(PortRangeError),
    /// Standard output could not be captured.
    Stdio(io::Error),
    /// No key or certificate could be made, or rustls refused it.
    Tls(String),
}

impl ServeError {
    /// A stable name for this kind of failure.
    pub fn code(&self) -> &'static str {
        match self {
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

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Descriptors(why) => {
                write!(f, "the plugin's descriptor set cannot be read: {why}")
            }
            ServeError::HostCertificate(why) => {
                write!(f, "the host's certificate in PLUGIN_CLIENT_CERT cannot be read: {why}")
            }
            ServeError::Listen(_) => write!(f, "the plugin cannot listen"),
            ServeError::Line(_) => write!(f, "the handshake line cannot be written"),
            ServeError::NoHostCertificate => {
                write!(
                    f,
                    "this plugin requires mutual TLS, and the host sent no PLUGIN_CLIENT_CERT"
                )
            }
            ServeError::NotStartedByHost(_) => write!(f, "the plugin was not started by its host"),
            ServeError::NoVersions => write!(f, "the plugin offers no app protocol version"),
            ServeError::Ports(_) => write!(f, "the host's port range cannot be used"),
            ServeError::Stdio(_) => write!(f, "standard output cannot be captured"),
            ServeError::Tls(why) => write!(f, "mutual TLS cannot be set up: {why}"),
        }
    }
}

impl Error for ServeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ServeError::Listen(error) | ServeError::Line(error) | ServeError::Stdio(error) => {
                Some(error)
            }
            ServeError::NotStartedByHost(error) => Some(error),
            ServeError::Ports(error) => Some(error),
            _ => None,
        }
    }
}
