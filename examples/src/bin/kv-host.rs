//! The host of go-plugin's `examples/grpc`, for the plugins of that example and for `kv-plugin`.
//!
//! `KV_PLUGIN=COMMAND kv-host put KEY VALUE`, `KV_PLUGIN=COMMAND kv-host get KEY`

mod contracts;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use contracts::proto::kv_client::KvClient;
use contracts::proto::{GetRequest, PutRequest};
use plugwire::Handshake;
use plugwire::host::Launch;

const BASIC: Handshake = Handshake::new("BASIC_PLUGIN", "hello");

async fn run() -> Result<(), Box<dyn Error>> {
    let command = std::env::var("KV_PLUGIN").map_err(|_| "KV_PLUGIN is not set")?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();

    // The example's plugins have no TLS, and its host runs them through a shell.
    let launch = Launch::new(BASIC, "sh").arg("-c").arg(command).version(1);
    let plugin = launch.dangerous().plaintext().start().await?;
    let mut kv = KvClient::new(plugin.channel());
    match words[..] {
        ["get", key] => {
            let request = GetRequest { key: key.to_owned() };
            let value = kv.get(request).await.map_err(as_go)?.into_inner().value;
            std::io::stdout().write_all(&[&value[..], b"\n"].concat())?;
        }
        ["put", key, value] => {
            let request = PutRequest { key: key.to_owned(), value: value.to_owned().into() };
            kv.put(request).await.map_err(as_go)?;
        }
        _ => return Err("the words are `get KEY` and `put KEY VALUE`".into()),
    }
    plugin.shutdown().await?;
    Ok(())
}

/// A failed call in the words of grpc-go, since the example's host prints those.
fn as_go(status: tonic::Status) -> String {
    format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
