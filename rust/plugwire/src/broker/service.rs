//! The broker's stream as a gRPC service: the plugin's side. Spec: BRK-1.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use tokio_stream::StreamExt;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

use super::link::Link;
use super::stream::Attachment;
use super::wiring::Wiring;
use crate::generated::plugin::ConnInfo;
use crate::generated::plugin::grpc_broker_server::GrpcBroker;

/// Serves the stream as plugin.
pub(crate) struct BrokerService {
    pub(super) link: Arc<Link>,
    pub(super) wiring: Arc<Wiring>,
}

#[tonic::async_trait]
impl GrpcBroker for BrokerService {
    type StartStreamStream = Pin<Box<dyn Stream<Item = Result<ConnInfo, Status>> + Send>>;

    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        let (attachment, messages) = Attachment::new(self.link.clone(), self.wiring.clone());
        // The call ends when its response is dropped, and the reading task with it. Conversely the
        // response ends with the reading task, whose attachment holds the other end of `messages`.
        let reading = AbortOnDropHandle::new(tokio::spawn(attachment.read(request.into_inner())));
        let messages = messages.map(move |message| {
            let _ = &reading;
            Ok(message)
        });
        Ok(Response::new(Box::pin(messages)))
    }
}
