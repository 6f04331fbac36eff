//! The broker's stream, which either side announces its connections on.

use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream::{self, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::Broker;
use crate::generated::plugin::ConnInfo;
use crate::generated::plugin::grpc_broker_client::GrpcBrokerClient;
use crate::generated::plugin::grpc_broker_server::{GrpcBroker, GrpcBrokerServer};
use crate::transport::Channel;

impl Broker {
    /// The plugin's end.
    pub(crate) fn service(&self) -> GrpcBrokerServer<Self> {
        GrpcBrokerServer::new(self.clone())
    }

    /// The host's end: opens the stream and holds it as long as the connection lives.
    pub(crate) fn open(&self, channel: Channel) {
        tokio::spawn(async move {
            // A Go plugin sends its headers with its first announcement, perhaps never: nothing may wait for them.
            match GrpcBrokerClient::new(channel).start_stream(stream::pending()).await {
                Ok(announcements) => {
                    let mut announcements = announcements.into_inner();
                    while let Ok(Some(_)) = announcements.message().await {}
                }
                Err(status) => tracing::debug!(%status, "the plugin has no broker"),
            }
        });
    }
}

#[tonic::async_trait]
impl GrpcBroker for Broker {
    type StartStreamStream = Pin<Box<dyn Stream<Item = Result<ConnInfo, Status>> + Send>>;

    /// Held open for as long as the host wants it.
    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        let announcements = request.into_inner().filter_map(|_| std::future::ready(None));
        Ok(Response::new(Box::pin(announcements)))
    }
}
