//! The scripted plugin as a program: plays `script.json` beside it, healthy where there is none.

use std::process::ExitCode;

use plugwire_conformance_peers::plugin::play;

fn main() -> ExitCode {
    let folder = std::env::current_exe().ok().and_then(|exe| exe.parent().map(ToOwned::to_owned));
    let Some(folder) = folder else { return ExitCode::from(70) };
    let script = match std::fs::read(folder.join("script.json")) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(script) => script,
            Err(error) => {
                eprintln!("script.json: {error}");
                return ExitCode::from(70);
            }
        },
        Err(_) => Default::default(),
    };
    play(script, Some(folder.join("witness.jsonl")))
}
