//! Addresses that differ between host and plugin: a plugin in a container sees other paths.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use plugwire_protocol::evidence::excerpt;

use super::address::Address;

/// Translates addresses between a host and a plugin that sees other paths. Only a host translates.
/// go-plugin: `runner.AddrTranslator`.
pub trait AddrTranslator: Send + Sync {
    /// Returns the host's address for a socket that the plugin names: its main socket, or one that it
    /// announces through the broker. The plugin chose the address; return an error to refuse it.
    /// go-plugin: `PluginToHost`.
    fn to_host(&self, plugin: Address) -> io::Result<Address>;

    /// Returns the plugin's address for a socket of the host. go-plugin: `HostToPlugin`.
    fn to_plugin(&self, host: Address) -> io::Result<Address>;
}

/// Translates one directory that the plugin sees at another path. Sockets outside of it are refused;
/// TCP addresses pass unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    host: PathBuf,
    plugin: PathBuf,
}

impl Mounted {
    /// Translates the directory `host`, which the plugin sees at `plugin`.
    #[must_use]
    pub fn new(host: impl Into<PathBuf>, plugin: impl Into<PathBuf>) -> Self {
        Self { host: host.into(), plugin: plugin.into() }
    }
}

impl AddrTranslator for Mounted {
    fn to_host(&self, plugin: Address) -> io::Result<Address> {
        moved(plugin, &self.plugin, &self.host)
    }

    fn to_plugin(&self, host: Address) -> io::Result<Address> {
        moved(host, &self.host, &self.plugin)
    }
}

fn moved(address: Address, from: &Path, to: &Path) -> io::Result<Address> {
    let Address::Unix(path) = address else { return Ok(address) };
    let inside = path.strip_prefix(from).ok().filter(|inside| {
        // `..` would lead out of the directory again.
        inside.components().all(|part| matches!(part, Component::Normal(_)))
    });
    match inside {
        Some(inside) => Ok(Address::Unix(to.join(inside))),
        None => {
            let why = format!(
                "{} is not inside {}",
                excerpt(path.as_os_str().as_bytes()),
                from.display()
            );
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_directory_is_translated_and_other_paths_are_refused() {
        let mounted = Mounted::new("/tmp/plugwire-x", "/run/plugin");
        let unix = |path: &str| Address::Unix(path.into());
        let (inside, outside) = (unix("/run/plugin/plugin1"), unix("/tmp/plugwire-x/plugin1"));
        assert_eq!(mounted.to_host(inside.clone()).expect("inside"), outside);
        assert_eq!(mounted.to_plugin(outside).expect("inside"), inside);
        for other in ["/run/plugin1", "/run/plugin/../docker.sock", "/tmp/plugwire-x/plugin1"] {
            assert!(mounted.to_host(unix(other)).is_err(), "{other}");
        }
        let tcp = Address::Tcp("127.0.0.1:1".parse().expect("an address"));
        assert_eq!(mounted.to_host(tcp.clone()).expect("unchanged"), tcp);
    }
}
