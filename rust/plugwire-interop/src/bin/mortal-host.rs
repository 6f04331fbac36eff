//! A Rust host in a process of its own, to be killed at any moment.
//!
//! `mortal-host [--plaintext] [--outlives-host] [--copied] [--user ID] [--lives N] [--plugins N] [--on-demand] [--then wait|exit] [--die HOW] [--log] [--runner user|root]
//! -- PROGRAM [ARGUMENT…]`
//!
//! Starts probe plugins, calls them again and again, ends them, and begins anew, N times or until somebody kills it; with
//! `--then`, the last ones are left running, and it waits or exits. With `--on-demand` it reads a line before it starts each.
//! With `--die` it tells its first plugin to die instead. With `--copied` a verified copy is executed, with `--user` as that
//! user and group. Says on standard output what it does, and with `--log` on
//! standard error what the library has to say. With `--runner` its plugins are in a namespace, of a user's or of root's.

#[path = "../../../plugwire/examples/namespace/mod.rs"]
mod namespace;

use std::error::Error;
use std::io::Write;

use namespace::Namespace;

use plugwire::host::{Confinement, Launch};
use plugwire_interop::PROBE;
use plugwire_interop::probe::{DieRequest, Payload};
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

/// Nobody may be reading any more.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
