//! The program `plugwire-conformance`. In host mode it is also the plugin, if a script is in its
//! directory.

use std::process::ExitCode;

use plugwire_conformance::cli;
use plugwire_conformance_peers::plugin;

fn main() -> ExitCode {
    plugin::play_if_scripted().unwrap_or_else(cli::main)
}
