//! Starts a counter plugin and serves the addition that the plugin calls back for. The plugin is `counter-plugin`, or the
//! one of go-plugin's `examples/bidirectional`.
//!
//! ```text
//! COUNTER_PLUGIN=COMMAND counter-host [--multiplex] put KEY NUMBER
//! COUNTER_PLUGIN=COMMAND counter-host [--multiplex] get KEY
//! ```

use std::error::Error;

use plugwire::Services;
use plugwire::host::Launch;
use plugwire_examples::BASIC;
use plugwire_examples::counter::proto::add_helper_server::{AddHelper, AddHelperServer};
use plugwire_examples::counter::proto::counter_client::CounterClient;
use plugwire_examples::counter::proto::{GetRequest, PutRequest, SumRequest, SumResponse};
use tonic::{Request, Response, Status};

struct Add;

#[tonic::async_trait]
impl AddHelper for Add {
    async fn sum(&self, request: Request<SumRequest>) -> Result<Response<SumResponse>, Status> {
        let SumRequest { a, b } = request.into_inner();
        Ok(Response::new(SumResponse { r: a.wrapping_add(b) }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1).peekable();
    let multiplex = words.next_if_eq("--multiplex").is_some();
    let words: Vec<String> = words.collect();

    let command = std::env::var("COUNTER_PLUGIN")?;
    let mut launch = Launch::new(BASIC, "sh").arg("-c").arg(command).version(1);
    if multiplex {
        launch = launch.multiplex();
    }
    // Go's example uses no TLS. Without this line, the plugin must support mutual TLS.
    let plugin = launch.dangerous().plaintext().start().await?;
    let mut counter = CounterClient::new(plugin.channel());
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["get", key] => {
            let answer = counter.get(GetRequest { key: (*key).to_owned() }).await?;
            println!("{}", answer.into_inner().value);
        }
        ["put", key, value] => {
            let id = plugin.broker().next_id();
            let _serving =
                plugin.broker().serve(id, Services::new().add(AddHelperServer::new(Add))).await?;
            counter
                .put(PutRequest { add_server: id, key: (*key).to_owned(), value: value.parse()? })
                .await?;
        }
        _ => println!("Please only use 'get' or 'put'"),
    }
    plugin.shutdown().await?;
    Ok(())
}
