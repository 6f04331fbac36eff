//! The variables that a plugin reads.

use std::ffi::OsString;

use thiserror::Error;

use super::{
    MagicCookie, PLUGIN_CLIENT_CERT, PLUGIN_MULTIPLEX_GRPC, PLUGIN_PROTOCOL_VERSIONS,
    PLUGIN_UNIX_SOCKET_DIR, PLUGIN_UNIX_SOCKET_GROUP, PortRange, PortRangeError,
};
use crate::evidence::excerpt;
use crate::handshake::parse_bool;

/// Everything that a plugin learns from environment variables. An empty variable counts as absent.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PluginEnvironment {
    /// The app protocol versions that the host offers, in no meaningful order. Empty if the host is
    /// older than version negotiation.
    pub offered_versions: Vec<u32>,
    /// Entries of that list that are not versions, as [excerpts](excerpt), for a warning on stderr.
    pub skipped_versions: Vec<String>,
    /// The ports for TCP, or `None` for any free port. An error only matters to a plugin that listens
    /// on TCP.
    pub ports: Result<Option<PortRange>, PortRangeError>,
    /// Whether the host mentions multiplexing, with any value. Only then may the handshake line have
    /// a seventh field. Plugins in Go answer `true` ("supported") to any value, even to `false`.
    pub multiplex_asked: bool,
    /// Whether the host asks for multiplexing: the value is true in one of Go's spellings.
    pub multiplex: bool,
    /// The host's certificate, for [`from_pem`](crate::certificate::from_pem).
    pub client_certificate_pem: Option<String>,
    /// The group that may write to the sockets, by number or by name.
    pub socket_group: Option<String>,
    /// The directory for sockets.
    pub socket_dir: Option<OsString>,
}

impl PluginEnvironment {
    /// Checks the magic cookie, and reads all other variables.
    ///
    /// `lookup` returns the value of a variable, as `std::env::var_os` does. What is not UTF-8 in a value
    /// is replaced by U+FFFD, except in the directory for sockets.
    ///
    /// # Errors
    ///
    /// Fails only if the cookie is wrong, that is, if the program was not started by its host. It
    /// should then print [`CookieError::explanation`] and exit with status 1.
    pub fn read<V: Into<OsString>>(
        cookie: MagicCookie<'_>,
        lookup: impl Fn(&str) -> Option<V>,
    ) -> Result<Self, CookieError> {
        let lookup = |name: &str| lookup(name).map(Into::into);
        check_cookie(cookie, lookup)?;
        let non_empty_bytes = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let non_empty = |name: &str| Some(non_empty_bytes(name)?.to_string_lossy().into_owned());

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
            socket_dir: non_empty_bytes(PLUGIN_UNIX_SOCKET_DIR),
        })
    }
}

fn check_cookie(
    cookie: MagicCookie<'_>,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<(), CookieError> {
    let key = || excerpt(cookie.key);
    if cookie.key.is_empty() || cookie.value.is_empty() {
        return Err(CookieError::Misconfigured { key: key(), value: excerpt(cookie.value) });
    }
    match lookup(cookie.key) {
        None => Err(CookieError::Missing { key: key() }),
        Some(got) if got != cookie.value => Err(CookieError::Wrong {
            key: key(),
            got: excerpt(got.as_encoded_bytes()),
            expected: excerpt(cookie.value),
        }),
        Some(_) => Ok(()),
    }
}

/// Splits a list into versions and entries that are not versions. Plugins in Go skip those too.
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
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CookieError {
    /// The plugin's own cookie has an empty key or value. The plugin's author must set both.
    #[error("the plugin's magic cookie is incomplete: key \"{key}\", value \"{value}\"")]
    Misconfigured {
        /// The plugin's key.
        key: String,
        /// The plugin's value.
        value: String,
    },
    /// The variable is not set. The program was run by hand, or by a host of other plugins.
    #[error("not started by a host: the magic cookie {key} is not set")]
    Missing {
        /// The plugin's key.
        key: String,
    },
    /// The variable has a different value. The host is meant for other plugins.
    #[error(
        "not started by the right host: the magic cookie {key} is \"{got}\" instead of \"{expected}\""
    )]
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
    /// Returns the stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Misconfigured { .. } => "serve.cookie-misconfigured",
            Self::Missing { .. } => "serve.cookie-missing",
            Self::Wrong { .. } => "serve.cookie-wrong",
        }
    }

    /// Returns an explanation for the person who ran the program: three lines for a terminal, without
    /// a final newline.
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
