//! Without multiplexing: the accepting side listens on a socket and announces its address. Spec: BRK-3 to BRK-8.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use plugwire_protocol::evidence::excerpt;
use plugwire_protocol::handshake::Network;

use super::{Broker, DialError, PeerGone};
use crate::generated::plugin::ConnInfo;
use crate::http2::{Channel, ConnectStep};
use crate::net::Address;
use crate::net::listener::Listen;

/// Announcements that nobody dials must not fill the memory. The oldest goes first.
const MOST: usize = 1024;
/// No address is longer. One that says it is can only be refused, which takes no more than its beginning.
const LONGEST: usize = 512;

/// What the peer has announced. go-plugin forgets an announcement after five seconds or one dial; here it stays until its
/// socket is gone, so that a dial may be late, and repeated.
#[derive(Default)]
pub(super) struct Announcements {
    by_id: HashMap<u32, Announcement>,
    count: u64,
}

#[derive(Clone, PartialEq)]
struct Announcement {
    number: u64,
    network: String,
    address: String,
}

impl Announcements {
    /// The newest of an id counts: an id that is announced again has a new socket.
    pub(super) fn add(&mut self, info: ConnInfo) {
        self.count += 1;
        let ConnInfo { service_id, network, address, .. } = info;
        let [network, address] = [network, address].map(shortened);
        self.by_id.insert(service_id, Announcement { number: self.count, network, address });
        if self.by_id.len() > MOST
            && let Some(oldest) =
                self.by_id.iter().min_by_key(|(_, it)| it.number).map(|(id, _)| *id)
        {
            self.by_id.remove(&oldest);
        }
    }

    pub(super) fn clear(&mut self) {
        self.by_id.clear();
    }

    /// Forgets one, unless a newer has taken its place.
    fn forget(&mut self, id: u32, stale: &Announcement) {
        if self.by_id.get(&id) == Some(stale) {
            self.by_id.remove(&id);
        }
    }
}

fn shortened(text: String) -> String {
    if text.len() > LONGEST { excerpt(text) } else { text }
}

/// Whose addresses a side connects to.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// Everybody's: a plugin does what its host says, which has started it and could do anything itself. And a host that
    /// was told to.
    Anywhere,
    /// Sockets right inside one of these folders, and TCP on this machine. A plugin must not be able to make
    /// its host talk to a service that the plugin itself cannot reach.
    Folders(Vec<PathBuf>),
}

impl Trust {
    pub(crate) fn allows(&self, address: &Address) -> bool {
        match (self, address) {
            (Trust::Anywhere, _) => true,
            (Trust::Folders(_), Address::Tcp(address)) => address.ip().is_loopback(),
            (Trust::Folders(folders), Address::Unix(path)) => {
                let real = |path: &Path| path.canonicalize().ok();
                let Some(parent) = path.parent().and_then(real) else { return false };
                // Connecting follows links, and so would lead anywhere.
                !path.is_symlink()
                    && folders
                        .iter()
                        .any(|folder| real(folder).is_some_and(|folder| folder == parent))
            }
        }
    }
}

impl Broker {
    /// Waits for the announcement, as often as it takes to find one whose socket is there. The caller sets the deadline.
    pub(super) async fn dial_announced(&self, id: u32) -> Result<Channel, DialError> {
        loop {
            let announced = self.announcement(id).await?;
            let address = self.address(id, &announced)?;
            match address.connect().await {
                Ok(io) => return self.establish(id, io).await,
                Err(cause) if is_stale(&cause) => self.lock().announcements.forget(id, &announced),
                Err(cause) => {
                    return Err(DialError::Connect { id, step: ConnectStep::Dial, cause });
                }
            }
        }
    }

    async fn announcement(&self, id: u32) -> Result<Announcement, DialError> {
        self.wait_for(|state| match state.announcements.by_id.get(&id) {
            Some(announced) => Some(Ok(announced.clone())),
            None if state.gone => Some(Err(DialError::PeerGone(PeerGone))),
            None => None,
        })
        .await
    }

    fn address(&self, id: u32, announced: &Announcement) -> Result<Address, DialError> {
        let Announcement { network, address, .. } = announced;
        let parsed =
            Network::from_name(network).and_then(|network| Address::parse(network, address).ok());
        let reached = match &self.0.settings.translate {
            Some(translate) => parsed.and_then(|address| translate.to_host(address).ok()),
            None => parsed,
        };
        reached.filter(|address| self.0.settings.trust.allows(address)).ok_or_else(|| {
            // Our own folder for sockets goes with the plugin, perhaps before the broker's stream says so.
            if let Listen::Unix { directory, .. } = &self.0.settings.listen
                && !directory.exists()
            {
                return DialError::PeerGone(PeerGone);
            }
            DialError::AddressRefused {
                id,
                address: format!("{} {}", excerpt(network), excerpt(address)),
            }
        })
    }
}

/// Whoever listened there has gone; the id may be announced again.
fn is_stale(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announce(id: u32, address: &str) -> ConnInfo {
        ConnInfo {
            service_id: id,
            network: "unix".to_owned(),
            address: address.to_owned(),
            knock: None,
        }
    }

    #[test]
    fn the_newest_announcement_of_an_id_counts() {
        let mut all = Announcements::default();
        all.add(announce(1, "old"));
        let old = all.by_id[&1].clone();
        all.add(announce(1, "new"));
        all.forget(1, &old);
        assert_eq!(all.by_id[&1].address, "new");
    }

    #[test]
    fn announcements_that_nobody_dials_are_bounded() {
        let mut all = Announcements::default();
        for id in 0..10_000 {
            all.add(announce(id, "somewhere"));
        }
        assert_eq!(all.by_id.len(), MOST);
        assert!(all.by_id.contains_key(&9_999) && !all.by_id.contains_key(&0));
    }

    #[test]
    fn announcements_are_short() {
        let mut all = Announcements::default();
        all.add(announce(1, &"/long".repeat(100_000)));
        let kept = &all.by_id[&1];
        assert!(kept.address.len() < 2 * LONGEST, "{}", kept.address.len());
        assert!(Address::parse(Network::Unix, &kept.address).is_err());
    }

    #[test]
    fn a_host_connects_only_where_sockets_belong() {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = folder.path().join("plugin1");
        let trust = Trust::Folders(vec![folder.path().to_owned()]);
        assert!(trust.allows(&Address::Unix(inside.clone())));
        assert!(trust.allows(&Address::Tcp("127.0.0.1:80".parse().expect("an address"))));
        for outside in ["/var/run/docker.sock", "/plugin1", "plugin1", "/nowhere/plugin1"] {
            assert!(!trust.allows(&Address::Unix(outside.into())), "{outside}");
        }
        let around = folder.path().join("../plugin1");
        assert!(!trust.allows(&Address::Unix(around)), "out by ..");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/var/run/docker.sock", &link).expect("a link");
        assert!(!trust.allows(&Address::Unix(link)), "out by a link");
        assert!(!trust.allows(&Address::Tcp("192.0.2.1:80".parse().expect("an address"))));
        assert!(Trust::Anywhere.allows(&Address::Unix("/var/run/docker.sock".into())));
    }
}
