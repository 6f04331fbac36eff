//! Tests that do not need Go.

mod attached;
mod confined;
mod docs;
mod executables;
mod grpcio;
mod ignored_children;
mod last_words;
mod lifetimes;
mod logs;
mod misconfigured_hosts;
mod no_descriptors;
mod out_of_memory;
mod pairing;
mod reflection;
mod reports;
mod requests;
mod runner;
mod sandboxed_hosts;
mod scripts;
mod stdio;
mod stolen_certificates;
mod vectors;
mod verified;

/// Serializes the test that triggers the out-of-memory killer with the tests that kill plugins. The
/// kernel's counter covers the whole machine, so a host cannot tell which process was killed for
/// lack of memory. That test holds the lock exclusively; the others share it.
pub(crate) static OUT_OF_MEMORY: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());
