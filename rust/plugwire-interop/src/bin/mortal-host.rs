//! A Rust host in its own process, which tests kill at any moment.
//!
//! `mortal-host [--plaintext] [--outlives-host] [--copied] [--user ID] [--lives N] [--plugins N] [--on-demand] [--then wait|exit] [--die HOW] [--log] [--runner user|root]
//! -- PROGRAM [ARGUMENT…]`
//!
//! Starts probe plugins, calls them repeatedly, ends them and starts again, N times or until it is
//! killed. With `--then`, the last plugins are left running, and the host waits or exits. With
//! `--on-demand` it reads a line before each start. With `--die` it tells its first plugin to die.
//! With `--copied` it executes a verified copy, with `--user` as that user and group. With
//! `--runner` its plugins run in a namespace, of a user or of root. It reports what it does on
//! standard output and, with `--log`, writes the library's log to standard error.

use std::error::Error;
use std::io::Write;

use plugwire::host::{Confinement, Launch};
use plugwire_examples::namespace::Namespace;
use plugwire_interop::PROBE;
use plugwire_interop::probe::{DieRequest, Payload};
use plugwire_interop::scenarios::probe;

/// The calls made to each plugin before it is ended.
const CALLS: usize = 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let end = words.iter().position(|word| word == "--").ok_or("no `--`")?;
    let (options, command) = (&words[..end], &words[end + 1..]);
    let [program, arguments @ ..] = command else { return Err("no program".into()) };
    let has = |name: &str| options.iter().any(|option| option == name);
    let value = |name: &str| {
        options.iter().position(|option| option == name).map(|at| options[at + 1].as_str())
    };
    if has("--log") {
        tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    }
    let user: Option<u32> = value("--user").map(str::parse).transpose()?;
    let launch = || {
        let launch = Launch::new(PROBE, program).args(arguments).version(1).inherit_env_all();
        let launch = if has("--plaintext") { launch.dangerous().plaintext() } else { launch };
        let launch = if has("--outlives-host") { launch.outlives_host() } else { launch };
        let launch = match has("--copied") {
            true => launch.verify_with(|_| Ok(())).with_neighbours(),
            false => launch,
        };
        let launch = match value("--runner") {
            Some(who) => launch.runner(Namespace { user: who == "user" }),
            None => launch,
        };
        match user {
            Some(user) => launch.confine(Confinement::new().user(user, user)),
            None => launch,
        }
    };
    let lives: usize = value("--lives").map_or(Ok(usize::MAX), str::parse)?;
    let count: usize = value("--plugins").map_or(Ok(1), str::parse)?;
    for life in 1..=lives {
        say("starting");
        let mut plugins = Vec::new();
        for _ in 0..count {
            if has("--on-demand") {
                std::io::stdin().read_line(&mut String::new())?;
            }
            let plugin = launch().start().await?;
            say(&format!("started {}", plugin.pid().unwrap_or_default()));
            say(&format!("record {}", plugin.record().to_json("probe")));
            plugins.push(plugin);
        }
        if let Some(how) = value("--die") {
            let died = probe(&plugins[0]).die(DieRequest { how: how.to_owned() }).await;
            say(&format!("died {}", died.expect_err("it dies").message()));
            return Ok(());
        }
        for call in 0..CALLS {
            probe(&plugins[call % count]).echo(Payload { data: "word".into() }).await?;
        }
        say("called");
        match value("--then") {
            Some("wait") if life == lives => std::future::pending().await,
            Some("exit") if life == lives => std::process::exit(0),
            _ => {}
        }
        for plugin in plugins {
            let stop = plugin.shutdown().await?;
            let exit = stop.exit.ok_or("a plugin of this host has an end")?;
            say(&format!("ended {:?}: {exit}", stop.phase));
        }
    }
    Ok(())
}

/// Prints a line. Errors are ignored: the reader may be gone.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
