//! The cookie that a host and its plugins share.

use std::borrow::Cow;

use plugwire_protocol::environment::MagicCookie;

/// Tells a plugin that it was started by the host it is made for. Both sides have the same one in their code.
///
/// It is a convenience for people who run a plugin by hand, and no security: mutual TLS is that.
/// go-plugin: `HandshakeConfig.MagicCookieKey` and `MagicCookieValue`; its `ProtocolVersion` is
/// [`Launch::version`](crate::host::Launch::version) and [`Plugin::version`](crate::plugin::Plugin::version) here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    key: Cow<'static, str>,
    value: Cow<'static, str>,
}

impl Handshake {
    /// A cookie: the name of an environment variable and its value.
    ///
    /// # Panics
    ///
    /// If one of them is empty; in a constant, when it is compiled.
    #[must_use]
    pub const fn new(key: &'static str, value: &'static str) -> Self {
        assert!(!key.is_empty() && !value.is_empty(), "a magic cookie needs a key and a value");
        Self { key: Cow::Borrowed(key), value: Cow::Borrowed(value) }
    }

    /// A cookie that is read when the program runs, for hosts of many kinds of plugins. An empty key or value is refused
    /// when a plugin is started or served with it.
    #[must_use]
    pub fn from_strings(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: Cow::Owned(key.into()), value: Cow::Owned(value.into()) }
    }

    pub(crate) fn cookie(&self) -> MagicCookie<'_> {
        MagicCookie::new(&self.key, &self.value)
    }
}
