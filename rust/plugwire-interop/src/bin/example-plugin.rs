//! The plugins of go-plugin's `examples/negotiated` and `examples/streaming` in Rust, for the hosts
//! of those examples.
//!
//! `example-plugin negotiated`, `example-plugin streaming`

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Mutex;

use futures_util::{Stream, stream};
use plugwire::plugin::Plugin;
use plugwire_interop::BASIC;
use plugwire_interop::generated::proto::kv_server::{Kv, KvServer};
use plugwire_interop::generated::proto::streamer_service_server::{
    StreamerService, StreamerServiceServer,
};
use plugwire_interop::generated::proto::{
    Empty, GetRequest, GetResponse, PutRequest, configure, read, write,
};
use tonic::{Request, Response, Status, Streaming};

/// Keeps values in files, and records which app protocol version wrote them.
struct Negotiated(u32);

#[tonic::async_trait]
impl Kv for Negotiated {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let mut value = std::fs::read(format!("kv_{}", request.get_ref().key))?;
        value.extend_from_slice(format!("Read by version {}\n", self.0).as_bytes());
        Ok(Response::new(GetResponse { value: value.into() }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<Empty>, Status> {
        let PutRequest { key, value } = request.into_inner();
        let note = format!("\n\nWritten from version {}\n", self.0);
        std::fs::write(format!("kv_{key}"), [&value[..], note.as_bytes()].concat())?;
        Ok(Response::new(Empty {}))
    }
}

/// A file that is written and read in chunks.
#[derive(Default)]
struct FileInPieces(Mutex<configure::Request>);

impl FileInPieces {
    fn configured(&self) -> configure::Request {
        self.0.lock().expect("not poisoned").clone()
    }
}

#[tonic::async_trait]
impl StreamerService for FileInPieces {
    async fn configure(
        &self,
        request: Request<configure::Request>,
    ) -> Result<Response<configure::Response>, Status> {
        *self.0.lock().expect("not poisoned") = request.into_inner();
        Ok(Response::new(configure::Response {}))
    }

    type ReadStream = Pin<Box<dyn Stream<Item = Result<read::ResponseChunk, Status>> + Send>>;

    async fn read(&self, _: Request<read::Request>) -> Result<Response<Self::ReadStream>, Status> {
        let configure::Request { path, chunk_size } = self.configured();
        let size = usize::try_from(chunk_size).unwrap_or(0).max(1);
        let pieces: Vec<_> = std::fs::read(path)?
            .chunks(size)
            .map(|piece| Ok(read::ResponseChunk { read_bytes: piece.to_vec().into() }))
            .collect();
        Ok(Response::new(Box::pin(stream::iter(pieces))))
    }

    async fn write(
        &self,
        request: Request<Streaming<write::RequestChunk>>,
    ) -> Result<Response<write::Response>, Status> {
        let (mut pieces, mut contents) = (request.into_inner(), Vec::new());
        while let Some(piece) = pieces.message().await? {
            contents.extend_from_slice(&piece.bytes_to_write);
        }
        std::fs::write(self.configured().path, contents)?;
        Ok(Response::new(write::Response {}))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let plugin = Plugin::new(BASIC);
    let plugin = match std::env::args().nth(1).as_deref() {
        Some("negotiated") => plugin
            .version(2, |services, _| services.add(KvServer::new(Negotiated(2))))
            .version(3, |services, _| services.add(KvServer::new(Negotiated(3)))),
        Some("streaming") => plugin.version(1, |services, _| {
            services.add(StreamerServiceServer::new(FileInPieces::default()))
        }),
        _ => {
            eprintln!("usage: example-plugin negotiated|streaming");
            return ExitCode::FAILURE;
        }
    };
    plugin.serve().await
}
