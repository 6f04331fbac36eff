//! What can go wrong with brokered connections.

use std::io;
use std::time::Duration;

use crate::http2::ConnectStep;

/// The other side has closed the main connection, or its process is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side is gone")]
#[non_exhaustive]
pub struct PeerGone;

/// Why a brokered connection could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The peer announced an address that this side refuses to connect to: a socket outside of the
    /// directories for sockets, or TCP to another machine. The peer misbehaves, or tries to redirect
    /// this side to another service.
    #[error("brokered connection {id} was announced at an address that is not allowed: {address}")]
    AddressRefused {
        /// The id.
        id: u32,
        /// The network and address that the peer announced, as printable text.
        address: String,
    },
    /// The peer accepts this id, and the connection failed.
    #[error("brokered connection {id} {}", failed(*.step))]
    Connect {
        /// The id.
        id: u32,
        /// Which step failed.
        step: ConnectStep,
        /// The error of the system or of the TLS library.
        #[source]
        cause: io::Error,
    },
    /// The peer is gone. It went before this call or during it.
    #[error("no brokered connection can be made")]
    PeerGone(#[source] PeerGone),
    /// The peer answered that it accepts no connections under this id.
    #[error("the other side refused brokered connection {id}: {why}")]
    Refused {
        /// The id.
        id: u32,
        /// The peer's reason, as printable text.
        why: String,
    },
    /// The peer did not accept the id in time. It does not serve the id, or its announcement is late.
    #[error("the other side did not accept brokered connection {id} within {limit:?}")]
    Timeout {
        /// The id.
        id: u32,
        /// The limit.
        limit: Duration,
    },
}

fn failed(step: ConnectStep) -> &'static str {
    match step {
        ConnectStep::Dial => "cannot be reached",
        ConnectStep::Tls => "failed in the TLS handshake",
        ConnectStep::Http2 => "did not answer in HTTP/2",
    }
}

impl DialError {
    /// Returns a stable name for this kind of failure.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            DialError::AddressRefused { .. } => "broker.address",
            DialError::Connect { .. } => "broker.connect",
            DialError::PeerGone(_) => "broker.peer-gone",
            DialError::Refused { .. } => "broker.refused",
            DialError::Timeout { .. } => "broker.timeout",
        }
    }
}

/// Why connections cannot be accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// This side already accepts connections under this id. Use another id, or drop the listener first.
    #[error("brokered connection {id} is accepted already")]
    InUse {
        /// The id.
        id: u32,
    },
    /// The peer is gone. It went before this call or during it.
    #[error("no brokered connection can be accepted")]
    PeerGone(#[source] PeerGone),
    /// No socket could be made.
    #[error("no socket can be made for a brokered connection")]
    Socket(#[source] io::Error),
    /// The id could not be announced, because no host has connected.
    #[error("brokered connection {id} cannot be announced: no host connected within {limit:?}")]
    Timeout {
        /// The id.
        id: u32,
        /// The limit.
        limit: Duration,
    },
}

impl ListenError {
    /// Returns a stable name for this kind of failure.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ListenError::InUse { .. } => "broker.in-use",
            ListenError::PeerGone(_) => "broker.peer-gone",
            ListenError::Socket(_) => "broker.socket",
            ListenError::Timeout { .. } => "broker.no-peer",
        }
    }
}
