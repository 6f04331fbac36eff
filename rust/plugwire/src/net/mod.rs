//! Addresses, listeners, mutual TLS and multiplexing: the byte streams that HTTP/2 runs on.

mod address;
mod base_dir;
mod group;
mod identity;
mod io;
mod listener;
mod mux;
#[cfg(feature = "host")]
pub(crate) mod owner;
#[cfg(feature = "plugin")]
mod process;
mod provider;
mod tls;
mod translate;

pub use address::Address;
pub(crate) use base_dir::check as check_base_dir;
#[cfg(feature = "host")]
pub(crate) use group::group_id;
pub(crate) use identity::Identity;
pub(crate) use io::BoxIo;
#[cfg(feature = "plugin")]
pub(crate) use listener::Accepted;
pub(crate) use listener::{Listen, Listener};
pub(crate) use mux::{Mode, Mux};
#[cfg(feature = "plugin")]
pub(crate) use process::ProcessId;
pub use tls::Tls;
pub use translate::{AddrTranslator, Mounted};
