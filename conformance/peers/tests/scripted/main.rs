//! Checks that the scripted plugin follows its script, and that its witness records what it did.

mod broker;
mod calls;
mod process;
mod sockets;
mod stage;
