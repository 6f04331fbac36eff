//! The scripted plugin does what its script says, and its witness tells what it did.

mod broker;
mod calls;
mod process;
mod sockets;
mod stage;
