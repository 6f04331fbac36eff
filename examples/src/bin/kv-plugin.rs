//! A key-value store that keeps each value in a file. It also runs under the host of go-plugin's `examples/grpc`:
//!
//! ```text
//! KV_PROTO=grpc KV_PLUGIN=target/debug/kv-plugin grpc put hello world
//! ```

use plugwire::plugin::Plugin;
use plugwire_examples::BASIC;
use plugwire_examples::proto::kv_server::{Kv, KvServer};
use plugwire_examples::proto::{DESCRIPTORS, Empty, GetRequest, GetResponse, PutRequest};
use tonic::{Request, Response, Status};

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
