//! A plugin for the host of go-plugin's `examples/grpc`: a store that keeps each value in a file.
//!
//! `KV_PROTO=grpc KV_PLUGIN=target/debug/examples/kv-plugin grpc put hello world`

mod contracts;

use contracts::proto::kv_server::{Kv, KvServer};
use contracts::proto::{DESCRIPTORS, Empty, GetRequest, GetResponse, PutRequest};
use plugwire::Handshake;
use plugwire::plugin::Plugin;
use tonic::{Request, Response, Status};

const BASIC: Handshake = Handshake::new("BASIC_PLUGIN", "hello");

struct Files;

#[tonic::async_trait]
impl Kv for Files {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let file = format!("kv_{}", request.get_ref().key);
        let value = tokio::fs::read(&file)
            .await
            .map_err(|error| Status::not_found(format!("{file}: {error}")))?;
        Ok(Response::new(GetResponse { value: value.into() }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<Empty>, Status> {
        let PutRequest { key, value } = request.into_inner();
        let contents = [&value[..], b"\n\nWritten from kv-plugin in Rust"].concat();
        tokio::fs::write(format!("kv_{key}"), contents).await?;
        Ok(Response::new(Empty {}))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    Plugin::new(BASIC)
        .version(1, |services, _broker| services.add(KvServer::new(Files)).describe(DESCRIPTORS))
        .serve()
        .await
}
