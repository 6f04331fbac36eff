//! Messages above tonic's limit of 4 MiB pass the generated client and server with default settings.

use plugwire_build_fixture::fixture::{
    shared::Blob,
    store::v1::{
        Total,
        store_client::StoreClient,
        store_server::{Store, StoreServer},
    },
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming};

const LARGE: usize = 9 * 1024 * 1024;
const TONICS_DEFAULT: usize = 4 * 1024 * 1024;

/// Echoes messages of any size.
struct Memory;

#[tonic::async_trait]
impl Store for Memory {
    async fn echo(&self, request: Request<Blob>) -> Result<Response<Blob>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn upload(&self, request: Request<Streaming<Blob>>) -> Result<Response<Total>, Status> {
        let mut blobs = request.into_inner();
        let mut total = Total::default();
        while let Some(blob) = blobs.message().await? {
            total.bytes += blob.data.len() as u64;
        }
        Ok(Response::new(total))
    }

    type DownloadStream = ReceiverStream<Result<Blob, Status>>;

    async fn download(
        &self,
        request: Request<Total>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let size =
            usize::try_from(request.into_inner().bytes).map_err(|_| Status::out_of_range(""))?;
        sender.try_send(Ok(blob(size))).map_err(|_| Status::internal("a new channel is full"))?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type ChatStream = Streaming<Blob>;

    async fn chat(
        &self,
        request: Request<Streaming<Blob>>,
    ) -> Result<Response<Self::ChatStream>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn clear(&self, _: Request<()>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }
}

/// Returns a client that calls the server directly, as a tower service, without a connection.
fn client() -> StoreClient<StoreServer<Memory>> {
    StoreClient::new(StoreServer::new(Memory))
}

fn blob(size: usize) -> Blob {
    Blob { data: vec![7; size].into(), place: None }
}

#[tokio::test]
async fn unary_calls_carry_large_messages_both_ways() {
    let answer = client().echo(blob(LARGE)).await.unwrap().into_inner();
    assert_eq!(answer, blob(LARGE));
}

#[tokio::test]
async fn streams_carry_large_messages_both_ways() {
    let total = client().upload(tokio_stream::once(blob(LARGE))).await.unwrap().into_inner();
    assert_eq!(total.bytes, LARGE as u64);

    let total = Total { bytes: LARGE as u64, ..Total::default() };
    let mut blobs = client().download(total).await.unwrap().into_inner();
    assert_eq!(blobs.message().await.unwrap(), Some(blob(LARGE)));

    let mut blobs = client().chat(tokio_stream::once(blob(LARGE))).await.unwrap().into_inner();
    assert_eq!(blobs.next().await.unwrap().unwrap(), blob(LARGE));
}

#[tokio::test]
async fn with_origin_raises_the_limit_too() {
    let origin = "http://localhost".parse().unwrap();
    let mut client = StoreClient::with_origin(StoreServer::new(Memory), origin);
    assert_eq!(client.echo(blob(LARGE)).await.unwrap().into_inner(), blob(LARGE));
}

/// Shows that calls in memory do check the limit, on both sides.
#[tokio::test]
async fn a_lower_limit_still_holds() {
    let mut cautious_client = client().max_decoding_message_size(TONICS_DEFAULT);
    let refused = cautious_client.echo(blob(LARGE)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");

    let cautious_server = StoreServer::new(Memory).max_decoding_message_size(TONICS_DEFAULT);
    let refused = StoreClient::new(cautious_server).echo(blob(LARGE)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
}
