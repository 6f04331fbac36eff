//! What can go wrong with brokered connections.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::Broker;
use crate::http2::ConnectStep;
use crate::http2::channel::Autopsy;

/// The other side has closed the main connection, or its process is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerGone;

impl fmt::Display for PeerGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the other side is gone")
    }
}

impl Error for PeerGone {}

/// Why a brokered connection could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum DialError {
    /// The peer announced an address that this side does not connect to: a socket outside the folders for sockets, or TCP
    /// to another machine. The peer misbehaves, or tries to make us talk to somebody else.
    AddressRefused {
        /// The id.
        id: u32,
        /// The network and address announced, as printable text.
        address: String,
    },
    /// The peer's end is there and the connection failed.
    Connect {
        /// The id.
        id: u32,
        /// Which step failed.
        step: ConnectStep,
        /// What the system or the TLS library says.
        cause: io::Error,
    },
    /// The peer went, or went before.
    PeerGone(PeerGone),
    /// The peer says that it accepts nothing under this id.
    Refused {
        /// The id.
        id: u32,
        /// The peer's words, as printable text.
        why: String,
    },
    /// The peer did not accept the id in time: nobody there serves it, or its announcement is still to come.
    Timeout {
        /// The id.
        id: u32,
        /// The limit.
        limit: Duration,
    },
}

impl DialError {
    /// A stable name for this kind of failure.
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

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::AddressRefused { id, address } => {
                write!(
                    f,
                    "brokered connection {id} was announced at an address that is not allowed: {address}"
                )
            }
            DialError::Connect { id, step, .. } => {
                let what = match step {
                    ConnectStep::Dial => "cannot be reached",
                    ConnectStep::Tls => "failed in the TLS handshake",
                    ConnectStep::Http2 => "did not answer in HTTP/2",
                };
                write!(f, "brokered connection {id} {what}")
            }
            DialError::PeerGone(_) => write!(f, "no brokered connection can be made"),
            DialError::Refused { id, why } => {
                write!(f, "the other side refused brokered connection {id}: {why}")
            }
            DialError::Timeout { id, limit } => {
                write!(f, "the other side did not accept brokered connection {id} within {limit:?}")
            }
        }
    }
}

impl Error for DialError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            DialError::Connect { cause, .. } => Some(cause),
            DialError::PeerGone(cause) => Some(cause),
            _ => None,
        }
    }
}

/// Why connections cannot be accepted.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// This side accepts under this id already.
    InUse {
        /// The id.
        id: u32,
    },
    /// The peer went, or went before.
    PeerGone(PeerGone),
    /// No socket could be made.
    Socket(io::Error),
    /// There was nobody to tell: no host has connected.
    Timeout {
        /// The id.
        id: u32,
        /// The limit.
        limit: Duration,
    },
}

impl ListenError {
    /// A stable name for this kind of failure.
    pub fn code(&self) -> &'static str {
        match self {
            ListenError::InUse { .. } => "broker.in-use",
            ListenError::PeerGone(_) => "broker.peer-gone",
            ListenError::Socket(_) => "broker.socket",
            ListenError::Timeout { .. } => "broker.no-peer",
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::InUse { id } => write!(f, "brokered connection {id} is accepted already"),
            ListenError::PeerGone(_) => write!(f, "no brokered connection can be accepted"),
            ListenError::Socket(_) => write!(f, "no socket can be made for a brokered connection"),
            ListenError::Timeout { id, limit } => {
                write!(
                    f,
                    "brokered connection {id} cannot be announced: nobody connected within {limit:?}"
                )
            }
        }
    }
}

impl Error for ListenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ListenError::PeerGone(cause) => Some(cause),
            ListenError::Socket(cause) => Some(cause),
            _ => None,
        }
    }
}

/// How long a broken brokered call waits to learn whether the whole peer went.
const AUTOPSY: Duration = Duration::from_millis(700);

/// A plugin knows nothing of its host but whether it is there.
impl Autopsy for Broker {
    fn autopsy(&self) -> BoxFuture<'static, Option<Arc<dyn Error + Send + Sync>>> {
        let gone = self.gone();
        Box::pin(async move {
            tokio::time::timeout(AUTOPSY, gone).await.ok()?;
            Some(Arc::new(PeerGone) as Arc<dyn Error + Send + Sync>)
        })
    }

    fn gone(&self) -> BoxFuture<'static, ()> {
        let state = self.lock();
        let (gone, session) = (state.gone, state.session.clone());
        drop(state);
        if gone {
            // The session is the next peer's by now.
            return Box::pin(std::future::ready(()));
        }
        let closing = self.0.closing.clone();
        Box::pin(async move {
            tokio::select! {
                () = session.cancelled() => {}
                () = closing.cancelled() => {}
            }
        })
    }
}
