//! A Rust host in its own process that attaches to a running probe plugin.
//!
//! `attached-host [--hang] < COMMANDS`
//!
//! Reads the plugin's record from the first line of standard input, attaches, calls the plugin and
//! prints `called`. After the second line it closes the connection and prints `closed`, and at the
//! end of its input it exits. With `--hang` it leaves a call behind whose handler never returns.

use std::error::Error;
use std::io;

use plugwire::host::Attach;
use plugwire::protocol::reattach;
use plugwire_interop::probe::{DieRequest, Payload};
use plugwire_interop::scenarios::probe;
use tokio::io::{AsyncBufReadExt, BufReader, Stdin, stdin};

// On one thread calls are sent in order.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut commands = BufReader::new(stdin());
    let records = reattach::parse_map(&line(&mut commands).await?)?;
    let host = Attach::new(records["probe"].clone()).connect().await?;
    if std::env::args().any(|argument| argument == "--hang") {
        let block = DieRequest { how: "block".to_owned() };
        let mut client = probe(&host);
        tokio::spawn(async move { client.die(block).await.map(drop) });
    }
    // The plugin's single thread takes calls in order: when the second of these returns, one that was
    // sent before them has started.
    for _ in 0..2 {
        probe(&host).echo(Payload::default()).await?;
    }
    println!("called");
    line(&mut commands).await?;
    drop(host);
    println!("closed");
    line(&mut commands).await?;
    Ok(())
}

async fn line(commands: &mut BufReader<Stdin>) -> io::Result<String> {
    let mut line = String::new();
    commands.read_line(&mut line).await?;
    Ok(line)
}
