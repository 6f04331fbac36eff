//! The plugin role: a program that a host starts and calls.
//!
//! The directory reads in the order of a plugin's life. [`Plugin`] collects what the author configures.
//! `serve` reads the environment, listens and prints the handshake line. `running` accepts connections
//! until the plugin ends. `capture` and `stdio` carry what it prints.

mod builder;
mod capture;
mod controller;
mod error;
mod exit;
mod health;
mod log;
mod reflection;
mod running;
mod serve;
mod stderr;
mod stdio;
mod test_mode;

pub use builder::Plugin;
pub use error::ServeError;
pub use health::Health;
pub use stdio::StdioWriter;
pub use test_mode::TestPlugin;
