//! The plugin of the tutorial: it greets whom it is told to.

mod contracts;

use contracts::greeter::greeter_server::{Greeter, GreeterServer};
use contracts::greeter::{DESCRIPTORS, GreetRequest, GreetResponse};
use plugwire::Handshake;
use plugwire::plugin::Plugin;
use tonic::{Request, Response, Status};

const GREETER: Handshake = Handshake::new("GREETER_PLUGIN", "hello");

struct English;

#[tonic::async_trait]
impl Greeter for English {
    async fn greet(
        &self,
        request: Request<GreetRequest>,
    ) -> Result<Response<GreetResponse>, Status> {
        let message = format!("Hello, {}!", request.into_inner().name);
        Ok(Response::new(GreetResponse { message }))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    Plugin::new(GREETER)
        .version(1, |services, _broker| {
            services.add(GreeterServer::new(English)).describe(DESCRIPTORS)
        })
        .serve()
        .await
}
