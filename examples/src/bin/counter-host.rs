//! The host of a counter plugin: it serves the addition that the plugin calls back for. It loads the plugin of
//! go-plugin's own `examples/bidirectional`.
//!
//! `COUNTER_PLUGIN=COMMAND counter-host [--multiplex] put KEY NUMBER`, `… get KEY`

mod counter_contract;

use std::error::Error;

use counter_contract::proto::add_helper_server::{AddHelper, AddHelperServer};
use counter_contract::proto::counter_client::CounterClient;
use counter_contract::proto::{GetRequest, PutRequest, SumRequest, SumResponse};
use plugwire::host::Launch;
use plugwire::{Handshake, Services};
use tonic::{Request, Response, Status};

const BASIC: Handshake = Handshake::new("BASIC_PLUGIN", "hello");

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
    // As in Go's example; without this line the plugin has to know mutual TLS.
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
