//! gRPC's health service. go-plugin's hosts ask it for the service `plugin`. Spec: HLT-1 to HLT-4.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use crate::generated::grpc::health::v1::health_check_response::ServingStatus;
use crate::generated::grpc::health::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse, health_server,
};

/// The service that go-plugin's hosts ask for.
const PLUGIN: &str = "plugin";
/// grpc-go's own limit for `List`.
const MAX_LISTED: usize = 100;

type Statuses = BTreeMap<String, ServingStatus>;

/// Sets what the plugin answers to health checks. By default, `plugin` and the empty name, which stands
/// for the whole server, are serving.
#[derive(Debug, Clone)]
pub struct Health {
    statuses: Arc<watch::Sender<Statuses>>,
}

impl Health {
    pub(super) fn new() -> Self {
        let serving = [PLUGIN, ""].map(|name| (name.to_owned(), ServingStatus::Serving));
        Self { statuses: Arc::new(watch::Sender::new(Statuses::from(serving))) }
    }

    /// Sets whether the plugin as a whole is serving: the answer for `plugin` and for the empty name.
    pub fn set_serving(&self, serving: bool) {
        self.set_service(PLUGIN, serving);
        self.set_service("", serving);
    }

    /// Sets whether one service is serving.
    pub fn set_service(&self, service: &str, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.statuses.send_if_modified(|statuses| {
            statuses.insert(service.to_owned(), status) != Some(status)
        });
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = self.statuses.borrow().get(&request.get_ref().service).copied();
        status
            .map(|status| Response::new(response(status)))
            .ok_or_else(|| Status::not_found("unknown service"))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let statuses = self.statuses.borrow();
        if statuses.len() > MAX_LISTED {
            return Err(Status::resource_exhausted("more services than one answer may list"));
        }
        let statuses =
            statuses.iter().map(|(name, status)| (name.clone(), response(*status))).collect();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let mut last = None;
        let changes = WatchStream::new(self.statuses.subscribe()).filter_map(move |statuses| {
            let status = statuses.get(&service).copied().unwrap_or(ServingStatus::ServiceUnknown);
            (last.replace(status) != Some(status)).then(|| Ok(response(status)))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
