//! The host's `Shutdown`. Spec: SHD-1.

use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

use crate::generated::plugin::Empty;
use crate::generated::plugin::grpc_controller_server::GrpcController;

/// Passes `Shutdown` on to the plugin's main loop. It answers once the loop has finished the calls in
/// progress and sent what was printed: hosts close the connection, or kill, soon after the answer.
pub(super) struct Controller {
    shutdowns: mpsc::Sender<oneshot::Sender<()>>,
}

impl Controller {
    /// Creates the service. The receiver yields one sender for each `Shutdown`; using or dropping the
    /// sender answers the call.
    pub(super) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<()>>) {
        let (shutdowns, requested) = mpsc::channel(1);
        (Self { shutdowns }, requested)
    }
}

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        let (answer, answered) = oneshot::channel();
        // If the loop is gone, the plugin is already ending, which is what the host asks for.
        if self.shutdowns.send(answer).await.is_ok() {
            let _ = answered.await;
        }
        Ok(Response::new(Empty {}))
    }
}
