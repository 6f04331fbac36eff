//! The scripted plugin as a program of its own, healthy where no script lies beside it.

use std::process::ExitCode;

use plugwire_conformance_peers::plugin::{play, play_if_scripted};
use plugwire_conformance_peers::script::Script;

fn main() -> ExitCode {
    play_if_scripted().unwrap_or_else(|| play(Script::default(), None))
}
