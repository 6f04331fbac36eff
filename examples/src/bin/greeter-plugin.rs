//! A greeter: answers `Hello, NAME!`.

use plugwire::plugin::Plugin;
use plugwire_examples::GREETER;
use plugwire_examples::greeter::greeter_server::{Greeter, GreeterServer};
use plugwire_examples::greeter::{DESCRIPTORS, GreetRequest, GreetResponse};
use tonic::{Request, Response, Status};

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
