//! What can be proved without Go.

mod attached;
mod confined;
mod docs;
mod executables;
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

/// Who dies for want of memory anywhere on a machine may, for all that a host knows, have been its plugin. Held by the test
/// that lets somebody die so, and shared by those whose plugins are killed.
pub(crate) static WANT_OF_MEMORY: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());
