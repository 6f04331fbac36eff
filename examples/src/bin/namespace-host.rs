//! Runs a counter plugin in its own Linux namespaces, where it sees different paths than its host. Callbacks over the
//! broker work anyway. The plugin is `counter-plugin`, or the one of go-plugin's `examples/bidirectional`.
//!
//! ```text
//! namespace-host [--as-root] PLUGIN
//! ```
//!
//! Adds 37 to 5 in the plugin, and prints the sum. `--as-root` skips the user namespace, for systems that do not allow one.

use std::error::Error;

use plugwire::Services;
use plugwire::host::Launch;
use plugwire_examples::BASIC;
use plugwire_examples::counter::proto::add_helper_server::{AddHelper, AddHelperServer};
use plugwire_examples::counter::proto::counter_client::CounterClient;
use plugwire_examples::counter::proto::{GetRequest, PutRequest, SumRequest, SumResponse};
use plugwire_examples::namespace::Namespace;
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
    let mut words = std::env::args_os().skip(1).peekable();
    let user = words.next_if(|word| word == "--as-root").is_none();
    let program = words.next().ok_or("usage: namespace-host [--as-root] PLUGIN")?;
    // The plugin keeps its sums in its working directory, which disappears together with its private `/tmp`.
    let launch = Launch::new(BASIC, program).current_dir("/tmp");
    let launch = launch.version(1).runner(Namespace { user });
    // Go's example uses no TLS. Without this line, the plugin must support mutual TLS.
    let plugin = launch.dangerous().plaintext().start().await?;

    let mut counter = CounterClient::new(plugin.channel());
    for value in [5, 37] {
        // A plugin built with go-plugin dials each id only once.
        let add_server = plugin.broker().next_id();
        let add = Services::new().add(AddHelperServer::new(Add));
        let _serving = plugin.broker().serve(add_server, add).await?;
        counter.put(PutRequest { add_server, key: "sum".to_owned(), value }).await?;
    }
    println!("{}", counter.get(GetRequest { key: "sum".to_owned() }).await?.into_inner().value);
    plugin.shutdown().await?;
    Ok(())
}
