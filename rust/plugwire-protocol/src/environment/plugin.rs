//! What a plugin reads.

use std::error::Error;
use std::fmt;

use super::{
    MagicCookie, PLUGIN_CLIENT_CERT, PLUGIN_MULTIPLEX_GRPC, PLUGIN_PROTOCOL_VERSIONS,
    PLUGIN_UNIX_SOCKET_DIR, PLUGIN_UNIX_SOCKET_GROUP, PortRange, PortRangeError,
};
use crate::evidence::excerpt;
use crate::handshake::parse_bool;

/// Everything that a plugin learns from its environment. An empty variable counts as absent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PluginEnvironment {
    /// The app protocol versions that the host offers; their order means nothing. Empty: the host
    /// is older than version negotiation.
    pub offered_versions: Vec<u32>,
    /// Entries of that list that are no versions, as [excerpts](excerpt), to be named on stderr.
    pub skipped_versions: Vec<String>,
    /// The ports for TCP, `None` for any free port. An error matters only to a plugin that listens
    /// on TCP.
    pub ports: Result<Option<PortRange>, PortRangeError>,
    /// Whether the host mentions multiplexing at all, whatever its value. Only then may the
    /// handshake line have a seventh field. Go's plugins answer `true` ("I know of it") to any
    /// value, even to `false`.
    pub multiplex_asked: bool,
    /// Whether the host wants multiplexing: its value is true in one of Go's spellings.
    pub multiplex: bool,
    /// The host's certificate, to be read with [`from_pem`](crate::certificate::from_pem).
    pub client_certificate_pem: Option<String>,
    /// The group that may write to the sockets, by number or by name.
    pub socket_group: Option<String>,
    /// The folder for sockets.
    pub socket_dir: Option<String>,
}

impl PluginEnvironment {
    /// Checks the magic cookie and reads everything else.
    ///
    /// `lookup` gives the value of a variable, such as `|name| std::env::var(name).ok()`.
    ///
    /// # Errors
    ///
    /// Only for the cookie: the program was not started by its host and should say so
    /// ([`CookieError::explanation`]) and exit with status 1.
    pub fn read(
        cookie: MagicCookie<'_>,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, CookieError> {
        check_cookie(cookie, &lookup)?;
        let non_empty = |name: &str| lookup(name).filter(|value| !value.is_empty());

        let versions = non_empty(PLUGIN_PROTOCOL_VERSIONS).unwrap_or_default();
        let (offered_versions, skipped_versions) = parse_versions(&versions);
        let multiplex = non_empty(PLUGIN_MULTIPLEX_GRPC);
        Ok(Self {
            offered_versions,
            skipped_versions,
            ports: PortRange::read(non_empty),
            multiplex_asked: multiplex.is_some(),
            multiplex: multiplex.as_deref().and_then(parse_bool).unwrap_or(false),
            client_certificate_pem: non_empty(PLUGIN_CLIENT_CERT),
            socket_group: non_empty(PLUGIN_UNIX_SOCKET_GROUP),
            socket_dir: non_empty(PLUGIN_UNIX_SOCKET_DIR),
        })
    }
}

fn check_cookie(
    cookie: MagicCookie<'_>,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<(), CookieError> {
    let key = || excerpt(cookie.key);
    if cookie.key.is_empty() || cookie.value.is_empty() {
        return Err(CookieError::Misconfigured { key: key(), value: excerpt(cookie.value) });
    }
    match lookup(cookie.key) {
        None => Err(CookieError::Missing { key: key() }),
        Some(got) if got != cookie.value => Err(CookieError::Wrong {
            key: key(),
            got: excerpt(got),
            expected: excerpt(cookie.value),
        }),
        Some(_) => Ok(()),
    }
}

/// The versions of a list, and the entries that are none. Go's plugins skip those too.
fn parse_versions(list: &str) -> (Vec<u32>, Vec<String>) {
    let mut versions = Vec::new();
    let mut skipped = Vec::new();
    if list.is_empty() {
        return (versions, skipped);
    }
    for entry in list.split(',') {
        match entry.parse() {
            Ok(version) => versions.push(version),
            Err(_) => skipped.push(excerpt(entry)),
        }
    }
    (versions, skipped)
}

/// Why a plugin refuses to start.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CookieError {
    /// The plugin's own cookie has an empty key or value. Its author must set both.
    Misconfigured {
        /// The plugin's key.
        key: String,
        /// The plugin's value.
        value: String,
    },
    /// The variable is not set: the program was run by hand, or by a host of other plugins.
    Missing {
        /// The plugin's key.
        key: String,
    },
    /// The variable has another value: the host is one of other plugins.
    Wrong {
        /// The plugin's key.
        key: String,
        /// The value that the host sent.
        got: String,
        /// The plugin's value.
        expected: String,
    },
}

impl CookieError {
    /// The stable name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Misconfigured { .. } => "serve.cookie-misconfigured",
            Self::Missing { .. } => "serve.cookie-missing",
            Self::Wrong { .. } => "serve.cookie-wrong",
        }
    }

    /// What to tell the person who ran the program: three lines for a terminal, the last one
    /// without its line end.
    pub fn explanation(&self) -> &'static str {
        match self {
            Self::Misconfigured { .. } => {
                "This program is a plugin, and it was built with an incomplete configuration.\n\
                 The key and the value of its magic cookie must both be set, and one is empty.\n\
                 Only the plugin's author can repair that; please report it there."
            }
            Self::Missing { .. } | Self::Wrong { .. } => {
                "This program is a plugin: on its own it does nothing.\n\
                 It is meant to be started by a host, the program that loads its plugins.\n\
                 Please run that host program instead; it will start this plugin when needed."
            }
        }
    }
}

impl fmt::Display for CookieError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misconfigured { key, value } => write!(
                f,
                "the plugin's magic cookie is incomplete: key \"{key}\", value \"{value}\""
            ),
            Self::Missing { key } => {
                write!(f, "not started by a host: the magic cookie {key} is not set")
            }
            Self::Wrong { key, got, expected } => write!(
                f,
                "not started by the right host: the magic cookie {key} is \"{got}\" instead of \"{expected}\""
            ),
        }
    }
}

impl Error for CookieError {}
