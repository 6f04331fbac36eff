//! The program `plugwire-conformance`.

use std::path::PathBuf;
use std::process::ExitCode;

use plugwire_conformance::cli;
use plugwire_conformance_peers::plugin;

/// In host mode the program is the plugin, too: its script then lies beside it, since a host may change arguments and
/// environment.
const SCRIPT: &str = "script.json";
/// Where it says what it did.
const WITNESS: &str = "witness.jsonl";

fn main() -> ExitCode {
    match beside(SCRIPT).filter(|script| script.is_file()) {
        Some(script) => play(&script),
        None => cli::main(),
    }
}

fn play(script: &PathBuf) -> ExitCode {
    let read = std::fs::read(script).map_err(|error| error.to_string());
    match read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string())) {
        Ok(script) => plugin::play(script, beside(WITNESS)),
        Err(error) => {
            eprintln!("{}: {error}", script.display());
            ExitCode::from(2)
        }
    }
}

/// A file in this program's folder.
fn beside(name: &str) -> Option<PathBuf> {
    std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join(name)))
}
