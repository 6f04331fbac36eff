//! A Rust host in a process of its own, to be killed at any moment.
//!
//! `mortal-host [--plaintext] [--socket-dir DIR] [--outlives-host] [--die N] -- PROGRAM [ARGUMENT…]`
//!
//! Starts a probe plugin, calls it again and again, ends it, and begins anew, until somebody kills it. Prints what it
//! does, a line for each step. With `--once` it only starts and ends one.

use std::error::Error;
use std::io::Write;

use plugwire::host::Launch;
use plugwire_interop::PROBE;
use plugwire_interop::probe::Payload;
use plugwire_interop::scenarios::probe;

/// Calls in one life of a plugin.
const CALLS: usize = 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let end = words.iter().position(|word| word == "--").ok_or("no `--`")?;
    let (options, command) = (&words[..end], &words[end + 1..]);
    let [program, arguments @ ..] = command else { return Err("no program".into()) };
    let has = |name: &str| options.iter().any(|option| option == name);
    let launch = || {
        let mut launch = Launch::new(PROBE, program).args(arguments).version(1).inherit_env_all();
        if has("--plaintext") {
            launch = launch.dangerous().plaintext();
        }
        if has("--outlives-host") {
            launch = launch.outlives_host();
        }
        launch
    };
    loop {
        say("start");
        let plugin = launch().start().await?;
        say(&format!("started {}", plugin.id()));
        say(&format!("record {}", plugin.record().to_json("probe")));
        for _ in 0..CALLS {
            probe(&plugin).echo(Payload { data: "word".into() }).await?;
        }
        say("called");
        if has("--wait") {
            std::future::pending::<()>().await;
        }
        plugin.shutdown().await?;
        say("ended");
        if has("--once") {
            return Ok(());
        }
    }
}

/// Nobody may be reading any more.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
