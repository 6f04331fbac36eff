//! The host of go-plugin's `examples/grpc` in Rust. It runs the plugins of that example, and `kv-plugin`.
//!
//! ```text
//! KV_PLUGIN=COMMAND kv-host put KEY VALUE
//! KV_PLUGIN=COMMAND kv-host get KEY
//! ```

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use plugwire::host::Launch;
use plugwire_examples::BASIC;
use plugwire_examples::proto::kv_client::KvClient;
use plugwire_examples::proto::{GetRequest, PutRequest};

async fn run() -> Result<(), Box<dyn Error>> {
    let command = std::env::var("KV_PLUGIN").map_err(|_| "KV_PLUGIN is not set")?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();

    // Go's example uses no TLS, and its host runs the plugin through a shell.
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
        _ => return Err("usage: kv-host put KEY VALUE | get KEY".into()),
    }
    plugin.shutdown().await?;
    Ok(())
}

/// Formats a failed call as grpc-go does, because the host in Go prints it that way.
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
