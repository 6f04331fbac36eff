//! Which addresses of the peer a side connects to.

#[cfg(any(test, feature = "host"))]
use std::path::{Path, PathBuf};

use crate::net::Address;

/// The addresses that a side connects to when the peer announces them.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// Any address. Used by plugins, whose host started them and can do anything without their help,
    /// and by hosts that set `any_broker_address`.
    Anywhere,
    /// Sockets directly inside one of these directories, and TCP on this machine. A plugin must not make
    /// its host talk to a service that the plugin itself cannot reach.
    #[cfg(any(test, feature = "host"))]
    Directories(Vec<PathBuf>),
}

impl Trust {
    pub(crate) fn allows(&self, address: &Address) -> bool {
        match (self, address) {
            (Trust::Anywhere, _) => true,
            #[cfg(any(test, feature = "host"))]
            (Trust::Directories(_), Address::Tcp(address)) => address.ip().is_loopback(),
            #[cfg(any(test, feature = "host"))]
            (Trust::Directories(directories), Address::Unix(path)) => is_inside(path, directories),
        }
    }
}

#[cfg(any(test, feature = "host"))]
fn is_inside(path: &Path, directories: &[PathBuf]) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let Some(parent) = path.parent().and_then(real) else { return false };
    // Connecting follows symbolic links, which could lead anywhere.
    !path.is_symlink()
        && directories.iter().any(|directory| real(directory) == Some(parent.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_connects_only_where_sockets_belong() {
        let directory = tempfile::tempdir().expect("a directory");
        let inside = directory.path().join("plugin1");
        let trust = Trust::Directories(vec![directory.path().to_owned()]);
        assert!(trust.allows(&Address::Unix(inside.clone())));
        assert!(trust.allows(&Address::Tcp("127.0.0.1:80".parse().expect("an address"))));
        for outside in ["/var/run/docker.sock", "/plugin1", "plugin1", "/nowhere/plugin1"] {
            assert!(!trust.allows(&Address::Unix(outside.into())), "{outside}");
        }
        let around = directory.path().join("../plugin1");
        assert!(!trust.allows(&Address::Unix(around)), "out by ..");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/var/run/docker.sock", &link).expect("a link");
        assert!(!trust.allows(&Address::Unix(link)), "out by a link");
        assert!(!trust.allows(&Address::Tcp("192.0.2.1:80".parse().expect("an address"))));
        assert!(Trust::Anywhere.allows(&Address::Unix("/var/run/docker.sock".into())));
    }
}
