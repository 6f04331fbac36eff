//! This side's half of the broker's stream.

use futures_util::Stream;
use plugwire_protocol::handshake::Network;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};

use crate::generated::plugin::{ConnInfo, Knock};

/// How many answers to knocks may wait for the peer to read them. A peer that behaves needs one.
const MAX_ANSWERS: usize = 64;

/// Sends messages to the peer. A clone sends on the same stream.
///
/// Announcements and knocks need no bound, because the peer cannot cause more of them. Answers do: a peer
/// could knock forever and never read.
#[derive(Clone)]
pub(super) struct Outbound {
    own: mpsc::UnboundedSender<ConnInfo>,
    answers: mpsc::Sender<ConnInfo>,
}

impl Outbound {
    /// Returns the sending half, and the messages in the order in which they go out.
    pub(super) fn new() -> (Self, impl Stream<Item = ConnInfo> + Send + 'static) {
        let (own, own_messages) = mpsc::unbounded_channel();
        let (answers, answer_messages) = mpsc::channel(MAX_ANSWERS);
        let messages =
            UnboundedReceiverStream::new(own_messages).merge(ReceiverStream::new(answer_messages));
        (Self { own, answers }, messages)
    }

    /// Tells the peer where this side accepts an id.
    pub(super) fn announce(&self, id: u32, network: Network, address: String) {
        let _ = self.own.send(ConnInfo {
            service_id: id,
            network: network.as_str().to_owned(),
            address,
            knock: None,
        });
    }

    /// Asks the peer whether it accepts an id. Returns whether the stream is still open.
    pub(super) fn knock(&self, id: u32) -> bool {
        self.own.send(knock(id, false)).is_ok()
    }

    /// Tells the peer that this side accepts the id it asked for. Returns false if the stream is closed
    /// or the peer does not read it.
    pub(super) fn acknowledge(&self, id: u32) -> bool {
        self.answers.try_send(knock(id, true)).is_ok()
    }

    /// Returns whether both send on the same stream.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.own.same_channel(&other.own)
    }
}

fn knock(id: u32, ack: bool) -> ConnInfo {
    let knock = Knock { knock: true, ack, error: String::new() };
    ConnInfo { service_id: id, knock: Some(knock), ..ConnInfo::default() }
}
