//! The plugin role: a program that a host starts and calls.
//!
//! The folder reads in the order of a plugin's life: [`Plugin`] gathers what the author offers, `serve` reads the
//! environment, listens, prints the handshake line and serves; `capture` and `stdio` carry what it prints.

mod builder;
mod capture;
mod controller;
mod exit;
mod error;
mod health;
mod log;
mod reflection;
mod serve;
mod stdio;
mod test_mode;

pub use builder::Plugin;
pub use error::ServeError;
pub use health::Health;
pub use stdio::StdioWriter;
pub use test_mode::TestPlugin;
