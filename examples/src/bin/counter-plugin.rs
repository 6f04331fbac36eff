//! A counter whose additions the host does: the plugin calls back over the broker. It runs under go-plugin's own
//! `examples/bidirectional` host, and keeps each sum in a file `kv_KEY` in the working directory, as that example does.

mod counter_contract;

use std::path::PathBuf;

use counter_contract::proto::add_helper_client::AddHelperClient;
use counter_contract::proto::counter_server::{Counter, CounterServer};
use counter_contract::proto::{
    DESCRIPTORS, Empty, GetRequest, GetResponse, PutRequest, SumRequest,
};
use plugwire::plugin::Plugin;
use plugwire::{Broker, Handshake};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

const BASIC: Handshake = Handshake::new("BASIC_PLUGIN", "hello");

struct Files {
    broker: Broker,
}

fn file(key: &str) -> PathBuf {
    PathBuf::from(format!("kv_{key}"))
}

fn read(key: &str) -> Result<i64, Status> {
    let text = std::fs::read_to_string(file(key))?;
    let value: Value =
        serde_json::from_str(&text).map_err(|error| Status::data_loss(error.to_string()))?;
    value["Value"].as_i64().ok_or_else(|| Status::data_loss("the file holds no sum"))
}

#[tonic::async_trait]
impl Counter for Files {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Ok(Response::new(GetResponse { value: read(&request.into_inner().key)? }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<Empty>, Status> {
        let PutRequest { add_server, key, value } = request.into_inner();
        let host = self
            .broker
            .dial(add_server)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let sum = SumRequest { a: read(&key).unwrap_or(0), b: value };
        let sum = AddHelperClient::new(host).sum(sum).await?.into_inner().r;
        std::fs::write(file(&key), json!({ "Value": sum }).to_string())?;
        Ok(Response::new(Empty {}))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    Plugin::new(BASIC)
        .version(1, |services, broker| {
            services.add(CounterServer::new(Files { broker })).describe(DESCRIPTORS)
        })
        .serve()
        .await
}
