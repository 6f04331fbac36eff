//! The broker's stream, on which both sides tell each other about connections. Spec: BRK-1 and BRK-2.

use std::sync::Arc;

use futures_util::Stream;
#[cfg(feature = "host")]
use plugwire_protocol::evidence::excerpt;
use tonic::Streaming;

use super::link::Link;
use super::outbound::Outbound;
use super::wiring::Wiring;
use crate::generated::plugin::ConnInfo;
#[cfg(feature = "host")]
use crate::generated::plugin::grpc_broker_client::GrpcBrokerClient;

/// One stream's life. When the stream ends, the broker regards the peer as gone.
pub(super) struct Attachment {
    link: Arc<Link>,
    wiring: Arc<Wiring>,
    outbound: Outbound,
}

impl Attachment {
    /// Attaches a new peer, which replaces the previous one. The messages are what this side sends.
    pub(super) fn new(
        link: Arc<Link>,
        wiring: Arc<Wiring>,
    ) -> (Self, impl Stream<Item = ConnInfo> + Send + 'static) {
        let (outbound, messages) = Outbound::new();
        link.attach(outbound.clone());
        (Self { link, wiring, outbound }, messages)
    }

    pub(super) async fn read(self, mut messages: Streaming<ConnInfo>) {
        while let Ok(Some(message)) = messages.message().await {
            self.wiring.hear(message);
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.link.detach(&self.outbound, || self.wiring.forget());
    }
}

/// Opens the stream as host, and holds it as long as the connection lasts.
#[cfg(feature = "host")]
pub(super) fn open(channel: crate::http2::Channel, link: Arc<Link>, wiring: Arc<Wiring>) {
    let (attachment, messages) = Attachment::new(link, wiring);
    tokio::spawn(async move {
        // A Go plugin sends its headers with its first announcement, perhaps never. Nothing may wait for
        // them.
        match GrpcBrokerClient::new(channel).start_stream(messages).await {
            Ok(announcements) => attachment.read(announcements.into_inner()).await,
            Err(status) => {
                let (code, message) = (status.code(), excerpt(status.message()));
                tracing::debug!(%code, message, "the plugin has no broker");
            }
        }
    });
}
