//! The scripted plugin: one process that does what its script says, and writes down what it really did.
//!
//! [`play`] reads the environment, listens, writes the line and ends; `listen` accepts connections
//! and secures them; `calls` answers, with one file for each service. `broker` and `mux` are the
//! two ways to a brokered connection. Each deviation is handled where the healthy action would take
//! place.

mod acts;
mod broker;
mod broker_probe;
mod calls;
mod environment;
mod health;
mod line;
mod listen;
mod log;
mod mutants;
mod mux;
mod probe;
mod reflection;
mod shutdown;
mod stdio;
mod tls;
mod witness;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use plugwire_conformance_wire::identity::Identity;
use plugwire_conformance_wire::socket::Listener;
use plugwire_conformance_wire::trace::Trace;
use serde_json::json;

use crate::script::{Identity as Kind, Script};
use environment::{Asked, Refusal};
use witness::Witness;

pub use mutants::{Mutant, mutants};

/// The state of a plugin that all its connections share.
#[derive(Debug)]
struct Plugin {
    script: Script,
    witness: Witness,
    asked: Asked,
    identity: Identity,
    /// Never read: the witness shows what a script did.
    trace: Trace,
    ending: shutdown::Ending,
    connections: listen::Connections,
    sockets: listen::Sockets,
    calls: calls::Counters,
    stdio: stdio::Printed,
    hangs: probe::Hangs,
    broker: broker::Broker,
    mux: mux::Pairing,
}

/// Plays the script `script.json` in the directory of this program, if there is one, with
/// `witness.jsonl` beside it.
///
/// This turns the suite's own program into the plugin of a host case: arguments and environment
/// cannot say so, since both belong to the host.
pub fn play_if_scripted() -> Option<ExitCode> {
    let folder = std::env::current_exe().ok()?.parent()?.to_owned();
    let text = std::fs::read(folder.join("script.json")).ok()?;
    Some(match serde_json::from_slice(&text) {
        Ok(script) => play(script, Some(folder.join("witness.jsonl"))),
        Err(error) => failed(&format!("script.json: {error}")),
    })
}

/// Plays a plugin to its end and returns the exit status of the process. What it did is appended to
/// the file `witness`.
///
/// To be called on a program's main thread, before anything else was done with its standard streams and signals.
pub fn play(script: Script, witness: Option<PathBuf>) -> ExitCode {
    let witness = match Witness::new(witness.as_deref()) {
        Ok(witness) => witness,
        Err(error) => return failed(&format!("no witness: {error}")),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("no runtime: {error}")),
    };
    shutdown::limit_life(script.life_ms, &witness);
    let status = runtime.block_on(live(script, witness.clone()));
    witness.saw("exit", json!({ "status": status }));
    // Not by returning: threads blocked on a full pipe would delay the exit.
    std::process::exit(i32::from(status))
}

/// Reports a failure of the suite itself. The witness, or its absence, shows that this was not a
/// plugin.
fn failed(why: &str) -> ExitCode {
    eprintln!("the scripted plugin: {why}");
    ExitCode::from(70)
}

/// From the first look at the environment to the exit status.
async fn live(script: Script, witness: Witness) -> u8 {
    witness.saw("started", environment::given());
    let asked = environment::check_cookie(&script).and_then(|()| Asked::read(&script));
    let asked = match asked {
        Ok(asked) => asked,
        Err(refusal) => return refuse(&refusal, &witness).await,
    };
    let plugin = Arc::new(Plugin {
        identity: match script.tls.identity {
            Kind::P256 => Identity::new(),
            Kind::P521 => Identity::p521(),
            Kind::Expired => Identity::expired(),
        },
        script,
        witness,
        asked,
        trace: Trace::new(),
        ending: shutdown::Ending::default(),
        connections: listen::Connections::default(),
        sockets: listen::Sockets::default(),
        calls: calls::Counters::default(),
        stdio: stdio::Printed::default(),
        hangs: probe::Hangs::default(),
        broker: broker::Broker::default(),
        mux: mux::Pairing::default(),
    });
    if let Err(error) = shutdown::watch_signals(&plugin) {
        log::error(&format!("signals cannot be watched: {error}"));
        return 70;
    }
    match listen::bind(&plugin).await {
        Ok((address, listener)) => serve(&plugin, &address, listener).await,
        Err(error) => {
            plugin.witness.saw("not-listening", json!({ "error": error.to_string() }));
            if !plugin.script.listen.failure_is_silent {
                log::error(&format!("the plugin cannot listen: {error}"));
            }
            u8::from(!plugin.script.listen.failure_is_success)
        }
    }
}

async fn refuse(refusal: &Refusal, witness: &Witness) -> u8 {
    let to = if refusal.to_stdout { acts::Out::Stdout } else { acts::Out::Stderr };
    let written = acts::write(to, refusal.text.clone().into_bytes()).await.is_ok();
    witness.saw("refused", json!({ "text": refusal.text, "written": written }));
    refusal.exit
}

/// Writes the line, and serves until something ends it.
async fn serve(
    plugin: &Arc<Plugin>,
    address: &plugwire_conformance_wire::socket::Address,
    listener: Option<Listener>,
) -> u8 {
    log::debug(
        "plugin address",
        &[("network", address.network()), ("address", &address.to_string())],
    );
    acts::run(plugin, &plugin.script.before_line).await;
    write_line(plugin, address).await;
    tokio::spawn(listen::serve(plugin.clone(), address.clone(), listener));
    let after = plugin.clone();
    tokio::spawn(async move { acts::run(&after, &after.script.after_line).await });
    shutdown::watch(plugin);
    let status = plugin.ending.wait().await;
    shutdown::end(plugin, status).await
}

async fn write_line(plugin: &Plugin, address: &plugwire_conformance_wire::socket::Address) {
    let with_tls = tls::wanted(plugin);
    let facts = line::Facts {
        version: plugin.asked.version,
        address,
        certificate: with_tls.then_some(&plugin.identity),
        own: &plugin.identity,
        multiplex: plugin.asked.multiplex_field,
    };
    let text = facts.fill(&plugin.script.line);
    if text.is_empty() {
        plugin.witness.saw("no-line", json!({}));
        return;
    }
    let size = text.len();
    // The witness contains only the beginning of the line, which can be of any length.
    let shown: String = text.chars().take(2000).collect();
    // Exceptionally before the fact: a host that refuses the line may kill the plugin at once.
    plugin.witness.saw("line", json!({ "text": shown, "bytes": size }));
    match acts::write(acts::Out::Stdout, text.into_bytes()).await {
        Ok(()) => plugin.witness.saw("line-written", json!({})),
        Err(error) => plugin.witness.saw("line-failed", json!({ "error": error.to_string() })),
    }
}
