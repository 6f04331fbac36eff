//! The broker's probe contract in Rust, for both sides. `proto/probe/broker_probe.proto` documents
//! it.

use std::collections::HashMap;
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use plugwire::broker::{ListenError, Serving};
use plugwire::{Broker, Channel, Services};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tower::util::MapResponseLayer;

pub use crate::generated::plugwire::probe::v1::broker_probe_client::BrokerProbeClient;
use crate::generated::plugwire::probe::v1::broker_probe_server::{BrokerProbe, BrokerProbeServer};
use crate::generated::plugwire::probe::v1::probe_client::ProbeClient;
use crate::generated::plugwire::probe::v1::*;
use crate::leaks::Holdings;
use crate::probe;

/// The header that names, in each answer on a brokered connection, the id that was reached.
const ID_HEADER: &str = "probe-broker-id";

/// Returns the id named in this metadata, or 0 if there is none or more than one.
pub fn served_id(metadata: &MetadataMap) -> u32 {
    let mut ids = metadata.get_all(ID_HEADER).iter();
    match (ids.next().and_then(|id| id.to_str().ok()), ids.next()) {
        (Some(id), None) => id.parse().unwrap_or(0),
        _ => 0,
    }
}

/// The number of streams this process holds (`Hold`).
static HELD: LazyLock<watch::Sender<usize>> = LazyLock::new(watch::Sender::default);

/// Waits until each held stream has ended and is recorded, for at most `limit`.
pub async fn none_held(limit: Duration) {
    let mut held = HELD.subscribe();
    let _ = tokio::time::timeout(limit, held.wait_for(|held| *held == 0)).await;
}

/// One side of a broker, with everything it serves until it is dropped.
#[derive(Debug, Clone)]
pub struct Side {
    broker: Broker,
    serving: Arc<Mutex<HashMap<u32, Serving>>>,
}

impl Side {
    /// Creates the side of this broker.
    pub fn new(broker: Broker) -> Self {
        Self { broker, serving: Arc::default() }
    }

    /// Adds both probe services.
    pub fn services(&self, services: Services) -> Services {
        probe::services(services).add(BrokerProbeServer::new(self.clone()))
    }

    /// Takes the next id and serves it for as long as this side lives.
    pub async fn serve(&self) -> Result<u32, ListenError> {
        self.serve_after(Duration::ZERO).await
    }

    /// Takes the next id and serves it once `delay` has passed. If serving fails, the peer's dial
    /// fails.
    pub async fn serve_after(&self, delay: Duration) -> Result<u32, ListenError> {
        let id = self.broker.next_id();
        if delay.is_zero() {
            self.serve_id(id).await?;
        } else {
            let side = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                side.serve_id(id).await
            });
        }
        Ok(id)
    }

    async fn serve_id(&self, id: u32) -> Result<(), ListenError> {
        let name_id = MapResponseLayer::new(move |mut response: http::Response<Body>| {
            response.headers_mut().insert(ID_HEADER, id.into());
            response
        });
        let services = self.services(Services::new()).layer(name_id);
        let serving = self.broker.serve(id, services).await?;
        self.serving.lock().expect("not poisoned").insert(id, serving);
        Ok(())
    }

    /// Stops serving an id; returns false if it is not served.
    pub fn stop_serving(&self, id: u32) -> bool {
        self.serving.lock().expect("not poisoned").remove(&id).is_some()
    }

    async fn dial(&self, id: u32) -> Result<Channel, Status> {
        self.broker.dial(id).await.map_err(|error| Status::unavailable(error.to_string()))
    }
}

/// Sends messages one at a time and returns how many come back intact.
pub async fn chat(client: &mut ProbeClient<Channel>, count: u64, size: u64) -> Result<u64, Status> {
    let (sender, messages) = mpsc::channel(1);
    let early = |_| Status::aborted("the chat ended early");
    // The first message is sent before the call: a Go server sends its headers only with its first
    // message.
    let mut next = Payload { data: probe::pattern(0, size).into() };
    sender.send(next.clone()).await.map_err(early)?;
    let mut answers = client.chat(ReceiverStream::new(messages)).await?.into_inner();
    let mut intact = 0;
    for n in 0..count {
        let answer =
            answers.message().await?.ok_or_else(|| Status::aborted("the chat ended early"))?;
        intact += u64::from(answer == next);
        next = Payload { data: probe::pattern(n + 1, size).into() };
        sender.send(next.clone()).await.map_err(early)?;
    }
    Ok(intact)
}

#[tonic::async_trait]
impl BrokerProbe for Side {
    async fn offer(&self, request: Request<OfferRequest>) -> Result<Response<OfferReply>, Status> {
        let delay = Duration::from_millis(request.into_inner().delay_ms);
        let served = self.serve_after(delay).await;
        let id = served.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(OfferReply { id }))
    }

    async fn dial_back(
        &self,
        request: Request<DialBackRequest>,
    ) -> Result<Response<DialBackReport>, Status> {
        let DialBackRequest { id, data, count, size } = request.into_inner();
        let mut report = DialBackReport::default();
        let began = Instant::now();
        let dialled = self.broker.dial(id).await;
        report.dial_ms = began.elapsed().as_millis() as u64;
        let channel = match dialled {
            Ok(channel) => channel,
            Err(error) => {
                report.dial_error = error.to_string();
                return Ok(Response::new(report));
            }
        };
        report.dialled = true;

        let began = Instant::now();
        let mut client = ProbeClient::new(channel);
        let echoed = client.echo(Payload { data }).await;
        report.call_ms = began.elapsed().as_millis() as u64;
        match echoed {
            Ok(echo) => {
                report.served_id = served_id(echo.metadata());
                report.data = echo.into_inner().data;
            }
            Err(status) => {
                report.code = i32::from(status.code()) as u32;
                report.message = status.message().to_owned();
                return Ok(Response::new(report));
            }
        }
        report.messages = chat(&mut client, count, size).await?;
        Ok(Response::new(report))
    }

    async fn nest(&self, request: Request<NestRequest>) -> Result<Response<NestReply>, Status> {
        let NestRequest { id, depth, data } = request.into_inner();
        if depth == 0 {
            return Ok(Response::new(NestReply { data }));
        }
        let mut caller = BrokerProbeClient::new(self.dial(id).await?);
        let own = self.serve().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let reply =
            caller.nest(NestRequest { id: own, depth: depth - 1, data }).await?.into_inner();
        let data = [&reply.data[..], &[depth as u8]].concat().into();
        Ok(Response::new(NestReply { data }))
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseReply>, Status> {
        if self.stop_serving(request.into_inner().id) {
            Ok(Response::new(ReleaseReply {}))
        } else {
            Err(Status::not_found("this id is not served"))
        }
    }

    async fn hold(&self, request: Request<HoldRequest>) -> Result<Response<HoldReply>, Status> {
        let HoldRequest { id, file } = request.into_inner();
        let mut client = ProbeClient::new(self.dial(id).await?);
        let mut stream = client.hang_stream(HangRequest { id: id.to_string() }).await?.into_inner();
        stream
            .message()
            .await?
            .ok_or_else(|| Status::aborted("the stream has no first message"))?;
        HELD.send_modify(|held| *held += 1);
        tokio::spawn(async move {
            let status = match stream.message().await {
                Err(status) => status,
                Ok(message) => {
                    Status::ok(format!("{} message", message.map_or("no", |_| "one more")))
                }
            };
            let line = json!({
                "id": id,
                "unix_ms": unix_ms(),
                "code": i32::from(status.code()),
                "message": status.message(),
                "causes": causes(&status),
            });
            let file = OpenOptions::new().append(true).create(true).open(file);
            let _ = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
            HELD.send_modify(|held| *held -= 1);
        });
        Ok(Response::new(HoldReply {}))
    }

    async fn holdings(
        &self,
        _: Request<HoldingsRequest>,
    ) -> Result<Response<HoldingsReply>, Status> {
        let now = Holdings::count();
        Ok(Response::new(HoldingsReply {
            descriptors: now.descriptors as u64,
            tasks: now.tasks as u64,
            resident_bytes: resident_bytes(),
        }))
    }
}

/// Returns the milliseconds since 1970.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

fn causes(error: &dyn Error) -> Vec<String> {
    let mut all = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        all.push(cause.to_string());
        next = cause.source();
    }
    all
}

/// Returns the resident memory of this process.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
