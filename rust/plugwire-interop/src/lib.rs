//! **Promise: internal.** Proof against real Go peers.

pub mod generated;
