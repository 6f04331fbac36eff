//! A socket for each brokered connection: the accepting side listens on it and announces its address.
//! Spec: BRK-3 to BRK-8.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use plugwire_protocol::evidence::excerpt;
use plugwire_protocol::handshake::Network;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::error::{DialError, ListenError, PeerGone};
use super::link::Link;
use super::trust::{NotConnected, Trust};
use crate::generated::plugin::ConnInfo;
use crate::http2::{Channel, ConnectStep};
use crate::net::{AddrTranslator, Address, Listen, Listener};

/// The most announcements that are kept, so that those that are never dialled do not fill the memory. The
/// oldest is dropped first.
const MAX_ANNOUNCEMENTS: usize = 1024;
/// No valid address is longer. The beginning of a longer one is enough to refuse it.
const MAX_ADDRESS: usize = 512;

/// Brokered connections on sockets of their own.
pub(super) struct PerSocket {
    link: Arc<Link>,
    listen: Listen,
    trust: Trust,
    /// Set where the other side sees other paths.
    translator: Option<Arc<dyn AddrTranslator>>,
    /// Locked after the link's state where both are needed.
    announcements: Mutex<Announcements>,
}

impl PerSocket {
    pub(super) fn new(
        link: Arc<Link>,
        listen: Listen,
        trust: Trust,
        translator: Option<Arc<dyn AddrTranslator>>,
    ) -> Self {
        Self { link, listen, trust, translator, announcements: Mutex::default() }
    }

    /// Listens on a new socket and announces it. The token is cancelled when the peer goes that it was
    /// announced to.
    pub(super) async fn listen(
        &self,
        id: u32,
    ) -> Result<(Listener, CancellationToken), ListenError> {
        let listener = Listener::bind(&self.listen).await.map_err(ListenError::Socket)?;
        let mut address = listener.address();
        if let Some(translator) = &self.translator {
            address = translator.to_plugin(address).map_err(ListenError::Socket)?;
        }
        let network = address.network();
        let address = text(&address).map_err(ListenError::Socket)?;
        let outbound = self.link.attached(id).await?;
        let session = self.link.session()?;
        outbound.announce(id, network, address);
        Ok((listener, session))
    }

    pub(super) async fn dial(&self, id: u32) -> Result<Channel, DialError> {
        let limit = self.link.timeout;
        let dialled = timeout(limit, self.dial_announced(id)).await;
        dialled.unwrap_or(Err(DialError::Timeout { id, limit }))
    }

    /// Takes an announcement of the peer.
    pub(super) fn hear(&self, message: ConnInfo) {
        self.announcements.lock().add(message);
        self.link.changed();
    }

    /// Drops the announcements of a peer that is gone.
    pub(super) fn forget(&self) {
        self.announcements.lock().by_id.clear();
    }

    /// Waits for announcements until the socket of one exists. The caller sets the deadline.
    async fn dial_announced(&self, id: u32) -> Result<Channel, DialError> {
        loop {
            let announced = self.announcement(id).await?;
            let Some(address) = self.address(&announced) else {
                return Err(self.refused(id, &announced));
            };
            match self.trust.connect(&address).await {
                Ok(io) => return self.link.establish(id, io).await,
                Err(NotConnected::Refused) => return Err(self.refused(id, &announced)),
                Err(NotConnected::Io(cause)) if is_stale(&cause) => {
                    self.announcements.lock().forget(id, &announced);
                }
                Err(NotConnected::Io(cause)) => {
                    return Err(DialError::Connect { id, step: ConnectStep::Dial, cause });
                }
            }
        }
    }

    async fn announcement(&self, id: u32) -> Result<Announcement, DialError> {
        self.link
            .wait_for(|state| match self.announcements.lock().by_id.get(&id) {
                Some(announced) => Some(Ok(announced.clone())),
                None if state.gone => Some(Err(DialError::PeerGone(PeerGone))),
                None => None,
            })
            .await
    }

    fn address(&self, announced: &Announcement) -> Option<Address> {
        let Announcement { network, address, .. } = announced;
        let address =
            Address::parse(Network::from_name(network)?, &address.as_str().into()).ok()?;
        match &self.translator {
            Some(translator) => translator.to_host(address).ok(),
            None => Some(address),
        }
    }

    fn refused(&self, id: u32, announced: &Announcement) -> DialError {
        // The directory for sockets is removed with the plugin, perhaps before the broker's stream ends.
        if let Listen::Unix { directory, .. } = &self.listen
            && !directory.exists()
        {
            return DialError::PeerGone(PeerGone);
        }
        let Announcement { network, address, .. } = announced;
        let address = format!("{} {}", excerpt(network), excerpt(address));
        DialError::AddressRefused { id, address }
    }
}

/// Returns the address as the broker's messages carry it: as a string of protobuf, which is text. A plugin in Go fails
/// here, too: protobuf refuses to encode another string.
fn text(address: &Address) -> io::Result<String> {
    let bytes = address.to_bytes();
    let text = bytes.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        let why = format!("its path is not UTF-8, which the broker's messages require: {bytes}");
        io::Error::new(io::ErrorKind::InvalidInput, why)
    })
}

/// The socket is gone. The id may be announced again.
fn is_stale(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// What the peer has announced.
///
/// go-plugin forgets an announcement after five seconds or one dial. Here it stays until its socket is
/// gone, so that a dial may be late or repeated.
#[derive(Default)]
struct Announcements {
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
    /// Adds an announcement. It replaces an earlier one of the same id: an id that is announced again has
    /// a new socket.
    fn add(&mut self, info: ConnInfo) {
        self.count += 1;
        let ConnInfo { service_id, network, address, .. } = info;
        let [network, address] = [network, address].map(shortened);
        self.by_id.insert(service_id, Announcement { number: self.count, network, address });
        if self.by_id.len() > MAX_ANNOUNCEMENTS
            && let Some(oldest) =
                self.by_id.iter().min_by_key(|(_, it)| it.number).map(|(id, _)| *id)
        {
            self.by_id.remove(&oldest);
        }
    }

    /// Drops an announcement, unless a newer one has replaced it.
    fn forget(&mut self, id: u32, stale: &Announcement) {
        if self.by_id.get(&id) == Some(stale) {
            self.by_id.remove(&id);
        }
    }
}

fn shortened(text: String) -> String {
    if text.len() > MAX_ADDRESS { excerpt(text) } else { text }
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
    fn announcements_that_are_never_dialled_are_bounded() {
        let mut all = Announcements::default();
        for id in 0..10_000 {
            all.add(announce(id, "somewhere"));
        }
        assert_eq!(all.by_id.len(), MAX_ANNOUNCEMENTS);
        assert!(all.by_id.contains_key(&9_999) && !all.by_id.contains_key(&0));
    }

    #[test]
    fn announcements_are_shortened() {
        let mut all = Announcements::default();
        all.add(announce(1, &"/long".repeat(100_000)));
        let kept = &all.by_id[&1];
        assert!(kept.address.len() < 2 * MAX_ADDRESS, "{}", kept.address.len());
        assert!(Address::parse(Network::Unix, &kept.address.as_str().into()).is_err());
    }
}
