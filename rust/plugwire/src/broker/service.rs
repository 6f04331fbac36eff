//! The broker's stream, at the plugin.

use futures_util::Stream;
use futures_util::stream::{self, StreamExt};
use std::pin::Pin;
use tonic::{Request, Response, Status, Streaming};

use super::Broker;
use crate::generated::plugin::ConnInfo;
use crate::generated::plugin::grpc_broker_server::{GrpcBroker, GrpcBrokerServer};

impl Broker {
    pub(crate) fn service(&self) -> GrpcBrokerServer<Self> {
        GrpcBrokerServer::new(self.clone())
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
        Ok(Response::new(Box::pin(announcements.chain(stream::empty()))))
    }
}
