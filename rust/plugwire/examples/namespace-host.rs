//! A host whose plugins see other paths than it does. It runs a counter plugin, `counter-plugin` or the one of go-plugin's
//! own `examples/bidirectional`, in namespaces of its own; the plugin calls back for each addition all the same.
//!
//! `namespace-host [--as-root] PLUGIN` adds 37 to 5 there and prints the sum.

mod counter_contract;
mod namespace;

use std::error::Error;

use counter_contract::proto::add_helper_server::{AddHelper, AddHelperServer};
use counter_contract::proto::counter_client::CounterClient;
use counter_contract::proto::{GetRequest, PutRequest, SumRequest, SumResponse};
use namespace::Namespace;
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
    let mut words = std::env::args_os().skip(1).peekable();
    let user = words.next_if(|word| word == "--as-root").is_none();
    let program = words.next().ok_or("usage: namespace-host [--as-root] PLUGIN")?;
    // It keeps its sums in its working directory, which is forgotten with its `/tmp`.
    let launch = Launch::new(BASIC, program).current_dir("/tmp");
    let launch = launch.version(1).runner(Namespace { user });
    // As in Go's example; without this line the plugin has to know mutual TLS.
    let plugin = launch.dangerous().plaintext().start().await?;

    let mut counter = CounterClient::new(plugin.channel());
    for value in [5, 37] {
        // A plugin on go-plugin dials an id once.
        let add_server = plugin.broker().next_id();
        let add = Services::new().add(AddHelperServer::new(Add));
        let _serving = plugin.broker().serve(add_server, add).await?;
        counter.put(PutRequest { add_server, key: "sum".to_owned(), value }).await?;
    }
    println!("{}", counter.get(GetRequest { key: "sum".to_owned() }).await?.into_inner().value);
    plugin.shutdown().await?;
    Ok(())
}
