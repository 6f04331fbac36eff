//! Which service a call goes to.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;
use tower_service::Service;

/// One service, or all services that a connection's calls can reach.
pub(crate) type Dispatch = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Services by their full gRPC name.
#[derive(Clone)]
pub(crate) struct Routes(Arc<BTreeMap<&'static str, Dispatch>>);

impl Routes {
    pub(crate) fn new(services: BTreeMap<&'static str, Dispatch>) -> Self {
        Self(Arc::new(services))
    }
}

impl Service<Request<Body>> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // "/package.Service/Method"
        let name = request.uri().path().split('/').nth(1).unwrap_or_default();
        match self.0.get(name) {
            Some(service) => {
                let mut service = service.clone();
                Box::pin(async move {
                    poll_fn(|cx| service.poll_ready(cx)).await?;
                    service.call(request).await
                })
            }
            None => {
                let status = Status::unimplemented(format!("unknown service {name}"));
                Box::pin(ready(Ok(status.into_http())))
            }
        }
    }
}
