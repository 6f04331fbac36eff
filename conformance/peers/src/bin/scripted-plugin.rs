//! The scripted plugin as a separate program, healthy unless a script is in its directory.

use std::process::ExitCode;

use plugwire_conformance_peers::plugin::{play, play_if_scripted};
use plugwire_conformance_peers::script::Script;

fn main() -> ExitCode {
    play_if_scripted().unwrap_or_else(|| play(Script::default(), None))
}
