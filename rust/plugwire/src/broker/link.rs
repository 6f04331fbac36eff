//! What both ways of wiring share: the peer, as far as the broker knows it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::error::{DialError, ListenError, PeerGone};
use super::outbound::Outbound;
use crate::http2::{self, Cause, Channel, Peer, PeerLimits};
use crate::net::{BoxIo, Tls};

/// How long a broken brokered call waits to learn whether the whole peer is gone.
const PEER_ENDS_WITHIN: Duration = Duration::from_millis(700);

/// The peer: whether it is there, and how connections to it are made.
pub(super) struct Link {
    pub(super) tls: Option<Tls>,
    pub(super) limits: PeerLimits,
    /// `broker_timeout`.
    pub(super) timeout: Duration,
    /// Explains why a brokered connection broke. Without one, the link itself says "the peer is gone".
    process: Option<Arc<dyn Peer>>,
    /// Cancelled when the side that owns the broker ends.
    pub(super) closing: CancellationToken,
    state: Mutex<State>,
    /// Counts the changes of `state` and of what the wiring knows, for those who wait for one.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) outbound: Option<Outbound>,
    /// The peer was here and is gone.
    pub(super) gone: bool,
    /// Cancelled when the peer goes. The next peer gets a new one.
    session: CancellationToken,
}

impl Link {
    pub(super) fn new(
        tls: Option<Tls>,
        limits: PeerLimits,
        timeout: Duration,
        process: Option<Arc<dyn Peer>>,
    ) -> Self {
        Self {
            tls,
            limits,
            timeout,
            process,
            closing: CancellationToken::new(),
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// Registers the stream of a new peer, which replaces the previous one.
    pub(super) fn attach(&self, outbound: Outbound) {
        let mut state = self.state.lock();
        state.outbound = Some(outbound);
        state.gone = false;
        drop(state);
        self.changed();
    }

    /// Marks the peer as gone, unless another stream has replaced this one. `forget` then drops what the
    /// wiring knows about the peer, before a new one can attach.
    pub(super) fn detach(&self, outbound: &Outbound, forget: impl FnOnce()) {
        let mut state = self.state.lock();
        if !state.outbound.as_ref().is_some_and(|newest| newest.is(outbound)) {
            return;
        }
        state.outbound = None;
        state.gone = true;
        forget();
        std::mem::take(&mut state.session).cancel();
        drop(state);
        self.changed();
    }

    /// Wakes all that [wait](Link::wait_for).
    pub(super) fn changed(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Waits until `look` finds something. It runs under the lock of the state, and may take the wiring's
    /// own lock. The caller sets the deadline. Cancel safe.
    pub(super) async fn wait_for<T>(&self, mut look: impl FnMut(&State) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = look(&self.state.lock()) {
                return found;
            }
            // Never fails: `self` holds the sender.
            let _ = changes.changed().await;
        }
    }

    /// Waits for the peer's stream, for at most `broker_timeout`.
    pub(super) async fn attached(&self, id: u32) -> Result<Outbound, ListenError> {
        let limit = self.timeout;
        let attached = self.wait_for(|state| match &state.outbound {
            Some(outbound) => Some(Ok(outbound.clone())),
            None if state.gone => Some(Err(ListenError::PeerGone(PeerGone))),
            None => None,
        });
        tokio::select! {
            outbound = timeout(limit, attached) => {
                outbound.unwrap_or(Err(ListenError::Timeout { id, limit }))
            }
            () = self.closing.cancelled() => Err(ListenError::PeerGone(PeerGone)),
        }
    }

    /// Returns the newest peer's stream.
    pub(super) fn outbound(&self) -> Option<Outbound> {
        self.state.lock().outbound.clone()
    }

    /// Returns a token that is cancelled when the present peer, or the one that is awaited, goes.
    pub(super) fn session(&self) -> Result<CancellationToken, ListenError> {
        let state = self.state.lock();
        if state.gone || self.closing.is_cancelled() {
            return Err(ListenError::PeerGone(PeerGone));
        }
        Ok(state.session.clone())
    }

    /// Makes a connection out of a byte stream to the peer.
    pub(super) async fn establish(
        self: &Arc<Self>,
        id: u32,
        io: BoxIo,
    ) -> Result<Channel, DialError> {
        let peer = self.process.clone().unwrap_or_else(|| self.clone());
        let (tls, limits) = (self.tls.clone(), self.limits.clone());
        let settings = http2::Settings { tls, limits, cut: self.closing.child_token() };
        Channel::establish(io, settings, Some(peer), None)
            .await
            .map_err(|(step, cause)| DialError::Connect { id, step, cause })
    }
}

/// A plugin knows only whether its host is there.
impl Peer for Link {
    fn cause_of_end(&self) -> BoxFuture<'static, Option<Cause>> {
        let gone = self.gone();
        Box::pin(async move {
            timeout(PEER_ENDS_WITHIN, gone).await.ok()?;
            Some(Arc::new(PeerGone) as Cause)
        })
    }

    fn gone(&self) -> BoxFuture<'static, ()> {
        let state = self.state.lock();
        let (gone, session) = (state.gone, state.session.clone());
        drop(state);
        if gone {
            // By now the session is the next peer's.
            return Box::pin(std::future::ready(()));
        }
        let closing = self.closing.clone();
        Box::pin(async move {
            tokio::select! {
                () = session.cancelled() => {}
                () = closing.cancelled() => {}
            }
        })
    }
}
