//! A Rust host in its own process, for tests that depend on the host's environment and standard
//! input.
//!
//! `inspect-host [--plaintext] [--stdin] [--inherit NAME]… [--inherit-all] [--withheld] -- PROGRAM [ARGUMENT…]`
//!
//! Starts a probe plugin and prints its environment, arguments and working directory as JSON. With
//! `--withheld` it starts a program that is not a plugin and prints the number of environment
//! variables withheld from it.

use std::error::Error;

use plugwire::host::Launch;
use plugwire_interop::PROBE;
use plugwire_interop::probe::{InspectReport, InspectRequest};
use plugwire_interop::scenarios::probe;
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let end = words.iter().position(|word| word == "--").ok_or("no `--`")?;
    let (options, command) = (&words[..end], &words[end + 1..]);
    let [program, arguments @ ..] = command else { return Err("no program".into()) };
    let mut launch = Launch::new(PROBE, program).args(arguments).version(1);
    let mut withheld = false;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        launch = match option.as_str() {
            "--plaintext" => launch.dangerous().plaintext(),
            "--stdin" => launch.inherit_stdin(),
            "--inherit" => launch.inherit_env(options.next()),
            "--inherit-all" => launch.inherit_env_all(),
            "--withheld" => {
                withheld = true;
                launch
            }
            other => return Err(format!("no option `{other}`").into()),
        };
    }
    if withheld {
        let error = launch.start().await.expect_err("the program is not a plugin");
        println!("{}", error.evidence().ok_or("no evidence")?.withheld);
        return Ok(());
    }
    let plugin = launch.start().await?;
    let report = probe(&plugin).inspect(InspectRequest {}).await?.into_inner();
    let InspectReport { args, env, cwd, stdin_eof, .. } = report;
    println!("{}", json!({ "args": args, "env": env, "cwd": cwd, "stdin_eof": stdin_eof }));
    plugin.shutdown().await?;
    Ok(())
}
