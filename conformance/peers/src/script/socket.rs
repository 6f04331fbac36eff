//! Deviations of sockets and of TLS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a plugin listens, and how it treats connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Listen {
    /// Listens on 127.0.0.1 instead of a Unix socket.
    pub tcp: bool,
    /// Never listens. The address of the line is where it would have been.
    pub never: bool,
    /// Listens this many milliseconds after the line.
    pub late_ms: u64,
    /// Accepts only this many connections; then the socket is closed and removed.
    pub connections: Option<u32>,
    /// The socket's permissions, such as 0o600, whatever the umask and the group.
    pub mode: Option<u32>,
    /// How a connection is treated.
    pub accept: Accept,
    /// The number of connections that are treated this way; later ones are served. Default: all.
    pub accept_first: Option<u32>,
    /// Exits with status 0 when a connection closes without having sent a byte.
    pub empty_connection_ends: bool,
    /// Ends with status 1 when a connection turns out not to speak HTTP/2.
    pub garbage_ends: bool,
    /// Ends with status 0, as go-plugin does, where it cannot listen.
    pub failure_is_success: bool,
    /// Does not say why it cannot listen.
    pub failure_is_silent: bool,
}

/// How a connection is treated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Accept {
    /// It is served.
    #[default]
    Serve,
    /// It is closed at once.
    Close,
    /// It is closed at once, with a reset where the network has one.
    Reset,
    /// It is held open; nothing is read, nothing is written.
    Silent,
    /// It is read, and never answered.
    Deaf,
    /// It gets an answer of HTTP/1.1, status 400, and is closed.
    Http1,
    /// It gets these bytes, in hexadecimal, and is held open and read.
    Hex(String),
}

/// The TLS of a plugin's sockets. A healthy plugin uses it if the host sends a certificate, and
/// admits only the peer with that certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tls {
    /// Has neither TLS nor a certificate, whatever the host sends.
    pub never: bool,
    /// Has TLS and a certificate although the host sent none, and admits every peer.
    pub unasked: bool,
    /// Announces a certificate as it should, and speaks plaintext.
    pub plaintext: bool,
    /// Serves plaintext, too, on the same socket.
    pub plaintext_too: bool,
    /// The certificate that it makes for itself, and announces.
    pub identity: Identity,
    /// The certificate that it presents in the handshake.
    pub serves: Served,
    /// The client certificates that it accepts.
    pub client: ClientCertificate,
    /// Refuses a host whose certificate has a key on P-521, as libraries without that curve do.
    pub refuses_p521: bool,
    /// Refuses a handshake that does not ask for this name.
    pub demands_server_name: Option<String>,
    /// Negotiates no protocol by ALPN.
    pub no_alpn: bool,
    /// The versions that it speaks.
    pub versions: TlsVersions,
    /// Begins a handshake of TLS 1.1 with a host that has no newer one.
    pub begins_tls11: bool,
    /// Never answers the host's first message.
    pub hangs: bool,
    /// Cuts the connection after the handshake.
    pub cuts_after_handshake: bool,
}

/// The certificate that a plugin makes for itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// A key on P-256, valid, for `localhost`.
    #[default]
    P256,
    /// As go-plugin makes it: a key on P-521, and a CA.
    P521,
    /// As the first, but over for years.
    Expired,
}

/// The certificate that a plugin presents in the handshake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Served {
    /// The announced certificate, signed with its key.
    #[default]
    Announced,
    /// Another certificate with its own key.
    Another,
    /// The announced certificate, signed with another key: what a thief of the public half can do.
    AnnouncedWithAnotherKey,
}

/// Which peers a plugin with TLS admits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificate {
    /// Only the host with the announced certificate and its key.
    #[default]
    Required,
    /// Also a peer without a certificate.
    Optional,
    /// Any peer with a certificate and its key.
    Any,
    /// Any peer that presents the host's certificate, with or without its key.
    Unproved,
    /// Any peer; no certificate is requested.
    NotAsked,
}

/// The versions of TLS that a plugin speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    #[serde(rename = "both")]
    Both,
    /// 1.2 alone.
    #[serde(rename = "1.2")]
    Only12,
    /// 1.3 alone.
    #[serde(rename = "1.3")]
    Only13,
}
