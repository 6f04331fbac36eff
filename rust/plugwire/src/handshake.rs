//! The cookie that a host and its plugins share.

use plugwire_protocol::environment::MagicCookie;

/// Tells a plugin that it was started by the host it is made for. Both sides have the same one in their code.
///
/// It is a convenience for people who run a plugin by hand, and no security: mutual TLS is that.
/// go-plugin: `HandshakeConfig.MagicCookieKey` and `MagicCookieValue`; its `ProtocolVersion` is
/// [`Launch::version`](crate::host::Launch::version) and [`Plugin::version`](crate::plugin::Plugin::version) here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    key: &'static str,
    value: &'static str,
}

impl Handshake {
    /// A cookie: the name of an environment variable and its value. Neither may be empty.
    #[must_use]
    pub const fn new(key: &'static str, value: &'static str) -> Self {
        assert!(!key.is_empty() && !value.is_empty(), "a magic cookie needs a key and a value");
        Self { key, value }
    }

    pub(crate) fn cookie(self) -> MagicCookie<'static> {
        MagicCookie { key: self.key, value: self.value }
    }
}
