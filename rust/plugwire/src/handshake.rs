//! The magic cookie that a host and its plugins share.

use std::borrow::Cow;

use plugwire_protocol::environment::MagicCookie;

/// Tells a plugin that it was started by a host that knows it. Both sides have the same value in their
/// code.
///
/// This is a usability check for people who run a plugin by hand, not a security measure; use mutual TLS
/// for that.
///
/// go-plugin: `HandshakeConfig.MagicCookieKey` and `MagicCookieValue`; its `ProtocolVersion` is
/// [`Launch::version`](crate::host::Launch::version) and [`Plugin::version`](crate::plugin::Plugin::version) here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    key: Cow<'static, str>,
    value: Cow<'static, str>,
}

impl Handshake {
    /// Creates a cookie from the name of an environment variable and its value.
    ///
    /// # Panics
    ///
    /// Panics if one of them is empty. In a constant, that is a compile error.
    #[must_use]
    pub const fn new(key: &'static str, value: &'static str) -> Self {
        assert!(!key.is_empty() && !value.is_empty(), "a magic cookie needs a key and a value");
        Self { key: Cow::Borrowed(key), value: Cow::Borrowed(value) }
    }

    /// Creates a cookie at run time, for hosts of many kinds of plugins. An empty key or value is refused
    /// when a plugin is started or served with it.
    #[must_use]
    pub fn from_strings(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: Cow::Owned(key.into()), value: Cow::Owned(value.into()) }
    }

    pub(crate) fn cookie(&self) -> MagicCookie<'_> {
        MagicCookie::new(&self.key, &self.value)
    }
}
