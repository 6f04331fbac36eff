//! The host's `Shutdown`, and what has to happen before its answer. Spec: SHD-1.

use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

use crate::generated::plugin::Empty;
use crate::generated::plugin::grpc_controller_server::GrpcController;

/// Passes `Shutdown` on to the plugin's main loop, and answers when that has finished the calls under way and sent what
/// was printed: hosts close the connection, or kill, soon after the answer.
pub(super) struct Controller {
    shutdowns: mpsc::Sender<oneshot::Sender<()>>,
}

impl Controller {
    /// The receiver yields one sender for each `Shutdown`; to use or drop it is to answer.
    pub(super) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<()>>) {
        let (shutdowns, requested) = mpsc::channel(1);
        (Self { shutdowns }, requested)
    }
}

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        let (answer, answered) = oneshot::channel();
        // The loop is gone only when the plugin is ending already, which is what was asked for.
        if self.shutdowns.send(answer).await.is_ok() {
            let _ = answered.await;
        }
        Ok(Response::new(Empty {}))
    }
}
