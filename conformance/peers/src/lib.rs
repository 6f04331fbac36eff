//! **Promise: internal.** The conformance suite's own peers: a plugin that does what a script says, and a host. Both are
//! healthy by default, and wrong in one stated way otherwise.

pub mod host;
pub mod plugin;
pub mod script;
