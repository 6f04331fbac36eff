//! The broker's stream: what the two sides tell each other. Spec: BRK-1 and BRK-2.

use std::pin::Pin;

use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::Broker;
use crate::generated::plugin::ConnInfo;
use crate::generated::plugin::grpc_broker_client::GrpcBrokerClient;
use crate::generated::plugin::grpc_broker_server::{GrpcBroker, GrpcBrokerServer};
use crate::http2::Channel;
use crate::net::Address;

/// Answers to knocks that wait for the peer to read them. A peer that behaves has one at a time.
const MOST_ANSWERS: usize = 64;

/// Our end of the stream. What we say of our own accord needs no bound: nothing that a peer does makes it more. Answers
/// do, since a peer may ask without end and read none.
#[derive(Clone)]
pub(super) struct Outbound {
    own: mpsc::UnboundedSender<ConnInfo>,
    answers: mpsc::Sender<ConnInfo>,
}

impl Outbound {
    pub(super) fn announce(&self, id: u32, address: &Address) {
        let _ = self.own.send(ConnInfo {
            service_id: id,
            network: address.network().as_str().to_owned(),
            address: address.to_string(),
            knock: None,
        });
    }
}

/// One stream's life. Its end is the peer's end, as far as the broker knows.
struct Attachment {
    broker: Broker,
    outbound: Outbound,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut state = self.broker.lock();
        let is_newest =
            state.outbound.as_ref().is_some_and(|it| it.own.same_channel(&self.outbound.own));
        if !is_newest {
            return;
        }
        state.outbound = None;
        state.gone = true;
        state.announcements.clear();
        std::mem::replace(&mut state.session, CancellationToken::new()).cancel();
        drop(state);
        self.broker.forget_knocks();
        self.broker.changed();
    }
}

impl Broker {
    /// The plugin's end.
    pub(crate) fn service(&self) -> GrpcBrokerServer<Self> {
        GrpcBrokerServer::new(self.clone())
    }

    /// The host's end: opens the stream and holds it as long as the connection lives.
    pub(crate) fn open(&self, channel: Channel) {
        let (attachment, messages) = self.attach();
        tokio::spawn(async move {
            // A Go plugin sends its headers with its first announcement, perhaps never: nothing may wait for them.
            match GrpcBrokerClient::new(channel).start_stream(messages).await {
                Ok(announcements) => attachment.read(announcements.into_inner()).await,
                Err(status) => tracing::debug!(%status, "the plugin has no broker"),
            }
        });
    }

    /// A new peer takes the place of the one before.
    fn attach(&self) -> (Attachment, impl Stream<Item = ConnInfo> + Send + 'static) {
        let (own, own_messages) = mpsc::unbounded_channel();
        let (answers, answer_messages) = mpsc::channel(MOST_ANSWERS);
        let messages =
            UnboundedReceiverStream::new(own_messages).merge(ReceiverStream::new(answer_messages));
        let outbound = Outbound { own, answers };
        let mut state = self.lock();
        state.outbound = Some(outbound.clone());
        state.gone = false;
        drop(state);
        self.changed();
        (Attachment { broker: self.clone(), outbound }, messages)
    }

    /// Sends a message; false if there is nobody to take it.
    pub(super) fn tell(&self, message: ConnInfo) -> bool {
        let outbound = self.lock().outbound.clone();
        outbound.is_some_and(|outbound| outbound.own.send(message).is_ok())
    }

    /// Sends an answer; false if there is nobody to take it, or nobody who reads.
    pub(super) fn answer(&self, message: ConnInfo) -> bool {
        let outbound = self.lock().outbound.clone();
        outbound.is_some_and(|outbound| outbound.answers.try_send(message).is_ok())
    }

    fn hear(&self, mut message: ConnInfo) {
        match (message.knock.take(), self.0.settings.multiplexed) {
            (Some(knock), true) => self.take_knock(message.service_id, knock),
            (None, false) => {
                self.lock().announcements.add(message);
                self.changed();
            }
            (knock, _) => tracing::debug!(
                id = message.service_id,
                knock = knock.is_some(),
                "a broker's message of the other mode was ignored"
            ),
        }
    }
}

impl Attachment {
    async fn read(self, mut messages: Streaming<ConnInfo>) {
        while let Ok(Some(message)) = messages.message().await {
            self.broker.hear(message);
        }
    }
}

#[tonic::async_trait]
impl GrpcBroker for Broker {
    type StartStreamStream = Pin<Box<dyn Stream<Item = Result<ConnInfo, Status>> + Send>>;

    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        let (attachment, messages) = self.attach();
        let reading = tokio::spawn(attachment.read(request.into_inner()));
        let reading = AbortOnDrop(reading.abort_handle());
        // Our stream ends with theirs: the attachment holds the only other sender.
        let messages = messages.map(move |message| {
            let _ = &reading;
            Ok(message)
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

/// The call is over when its response is dropped; so is the reading then.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
