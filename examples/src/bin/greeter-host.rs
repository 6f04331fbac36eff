//! Starts a greeter plugin, written in any language, and prints its greeting.
//!
//! ```text
//! greeter-host [--plaintext] [--json] COMMAND [ARGUMENT…]
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use plugwire::host::{Launch, StartError};
use plugwire_examples::GREETER;
use plugwire_examples::greeter::GreetRequest;
use plugwire_examples::greeter::greeter_client::GreeterClient;

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because: {cause}");
        source = cause.source();
    }
    if let Some(evidence) = error.downcast_ref::<StartError>().and_then(StartError::evidence) {
        eprintln!("{evidence}");
    }
    ExitCode::FAILURE
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1).peekable();
    let plaintext = words.next_if_eq("--plaintext").is_some();
    let json = words.next_if_eq("--json").is_some();
    let command =
        words.next().ok_or("usage: greeter-host [--plaintext] [--json] COMMAND [ARGUMENT…]")?;

    let begun = Instant::now();
    let mut launch = Launch::new(GREETER, command).args(words).version(1);
    if plaintext {
        launch = launch.dangerous().plaintext();
    }
    let plugin = launch.start().await?;
    let mut greeter = GreeterClient::new(plugin.channel());
    let greeting = greeter.greet(GreetRequest { name: "World".to_owned() }).await?.into_inner();
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    if json {
        println!("{{\"message\":{:?},\"first_reply_ms\":{took:.3}}}", greeting.message);
    } else {
        println!("{}", greeting.message);
    }
    plugin.shutdown().await?;
    Ok(())
}
