//! A counter that lets its host do the additions: the plugin calls back over the broker. It also runs under the host of
//! go-plugin's `examples/bidirectional`. As in that example, each sum is kept in the file `kv_KEY` of the working
//! directory.

use std::path::PathBuf;

use plugwire::Broker;
use plugwire::plugin::Plugin;
use plugwire_examples::BASIC;
use plugwire_examples::counter::proto::add_helper_client::AddHelperClient;
use plugwire_examples::counter::proto::counter_server::{Counter, CounterServer};
use plugwire_examples::counter::proto::{
    DESCRIPTORS, Empty, GetRequest, GetResponse, PutRequest, SumRequest,
};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

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
    value["Value"].as_i64().ok_or_else(|| Status::data_loss("the file does not hold a sum"))
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
