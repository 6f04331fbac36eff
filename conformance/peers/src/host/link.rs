//! The way to the plugin: its address, the TLS and the session around or inside it, and the connection for calls.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plugwire_conformance_wire::caller::Caller;
use plugwire_conformance_wire::identity::Identity;
use plugwire_conformance_wire::socket::{Address, Io};
use plugwire_conformance_wire::tls::{self, Tls, Versions};
use plugwire_conformance_wire::yamux::{self, Side};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::failure::Failure;
use super::flaw::Flaw;
use super::greeting;
use super::handshake::Announced;
use super::{FOR_EVER, Settings};

/// How long the host retries if the socket is not there yet (SOCK-8).
const TRY: Duration = Duration::from_secs(1);
/// The pause between two tries: the file system does not notify.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest wait for the first words of a plugin.
const GREETING: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Link {
    settings: Arc<Settings>,
    pub(super) address: Address,
    tls: Option<Tls>,
    session: Mutex<Option<yamux::Session>>,
    main: Mutex<Option<Caller>>,
    was_connected: AtomicBool,
    closed: AtomicBool,
    /// Held from a knock until the plugin has taken the stream (MUX-15).
    pub(super) turn: Mutex<()>,
}

impl Link {
    pub(super) fn new(
        settings: &Arc<Settings>,
        announced: Announced,
        identity: Option<Identity>,
    ) -> Self {
        let tls = announced.certificate.map(|expect| Tls {
            present: identity,
            expect,
            server_name: Some("localhost".to_owned()),
            versions: match settings.has(Flaw::OnlyTls13) {
                true => Versions::Only13,
                false => Versions::Both,
            },
            alpn: !settings.has(Flaw::OffersNoAlpn),
        });
        Self {
            settings: settings.clone(),
            address: announced.address,
            tls,
            session: Mutex::default(),
            main: Mutex::default(),
            was_connected: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            turn: Mutex::default(),
        }
    }

    /// Returns the connection for calls: the one that there is, or a new one (SOCK-7).
    pub(super) async fn caller(&self) -> Result<Caller, Failure> {
        let mut main = self.main.lock().await;
        if let Some(caller) = main.as_ref().filter(|caller| caller.has_ended().is_none()) {
            return Ok(caller.clone());
        }
        let over = self.closed.load(Ordering::Relaxed)
            || (self.settings.has(Flaw::ConnectsOnce)
                && self.was_connected.load(Ordering::Relaxed));
        if over {
            return Err(Failure::new("gone", "the connection has ended"));
        }
        let caller = self.patiently(|| self.connect()).await?;
        self.was_connected.store(true, Ordering::Relaxed);
        *main = Some(caller.clone());
        Ok(caller)
    }

    /// Drops this connection, since the plugin accepts no more calls on it.
    pub(super) async fn leave(&self) {
        if self.settings.has(Flaw::ConnectsOnce) {
            std::future::pending::<()>().await;
        }
        self.main.lock().await.take();
    }

    /// Ends all connections.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.main.lock().await.take();
        if let Some(session) = self.session.lock().await.take() {
            session.cut();
        }
    }

    pub(super) fn multiplexes(&self) -> bool {
        self.settings.plugin.multiplex && !self.settings.has(Flaw::MultiplexesByHalf)
    }

    /// Applies the time limit for connecting. A host that waits forever also retries forever.
    async fn patiently<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Failure> {
        if self.settings.has(Flaw::WaitsForEver) {
            loop {
                match attempt().await {
                    Ok(connected) => return Ok(connected),
                    Err(_) => sleep(PAUSE).await,
                }
            }
        }
        let patience = GREETING.min(self.settings.start_timeout());
        let silent = || Failure::new("start.connect", format!("{} is silent", self.address));
        timeout(patience, attempt()).await.unwrap_or_else(|_| Err(silent()))
    }

    async fn connect(&self) -> Result<Caller, Failure> {
        let io = match self.secure(self.stream().await?).await {
            Err(_) if self.settings.has(Flaw::FallsBackToPlaintext) => self.stream().await?,
            secured => secured?,
        };
        self.begin(io, "main").await
    }

    /// Secures a connection or a stream and begins HTTP/2 on it, as on a brokered connection.
    pub(super) async fn brokered(&self, io: Io, name: &str) -> Result<Caller, Failure> {
        match self.settings.has(Flaw::BrokeredPlaintext) {
            true => self.begin(io, name).await,
            false => self.begin(self.secure(io).await?, name).await,
        }
    }

    async fn begin(&self, io: Io, name: &str) -> Result<Caller, Failure> {
        let authority = if self.tls.is_some() { "localhost" } else { "unused" };
        greeting::connect(io, authority, name, &self.settings.trace)
            .await
            .map_err(|why| Failure::new("start.connect", why))
    }

    /// Returns a socket connection, or a stream of the session for the main connection.
    async fn stream(&self) -> Result<Io, Failure> {
        if !self.multiplexes() {
            return self.socket().await;
        }
        let session = self.session().await?;
        let _turn = self.turn.lock().await;
        open(&session).await
    }

    /// Returns the session, which is there from the first connection on.
    pub(super) async fn session(&self) -> Result<yamux::Session, Failure> {
        let mut session = self.session.lock().await;
        if let Some(session) = &*session {
            return match session.has_ended() {
                None => Ok(session.clone()),
                Some(how) => Err(Failure::new("gone", format!("the session has ended: {how}"))),
            };
        }
        let mut io = self.socket().await?;
        if let (true, Some(tls)) = (self.settings.has(Flaw::TlsAroundTheSession), &self.tls) {
            io = shake(io, tls).await?;
        }
        let begun = yamux::Session::start(io, Side::Host, &self.settings.trace);
        Ok(session.insert(begun).clone())
    }

    async fn socket(&self) -> Result<Io, Failure> {
        let give_up = match self.settings.flaw {
            Some(Flaw::TriesOnce) => Instant::now(),
            _ => Instant::now() + TRY,
        };
        loop {
            let error = match self.address.connect().await {
                Ok(io) => return Ok(io),
                Err(error) => error,
            };
            let may_come =
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
            if !may_come || Instant::now() >= give_up {
                let kind = match error.kind() {
                    io::ErrorKind::InvalidInput => "start.address",
                    _ => "start.connect",
                };
                return Err(Failure::new(kind, format!("{}: {error}", self.address)));
            }
            sleep(PAUSE).await;
        }
    }

    async fn secure(&self, io: Io) -> Result<Io, Failure> {
        match self.inner_tls() {
            Some(tls) => shake(io, tls).await,
            None => Ok(io),
        }
    }

    /// Secures a connection that the plugin has made.
    pub(super) async fn secure_accepted(&self, io: Io) -> Result<Io, String> {
        match self.inner_tls() {
            Some(tls) if !self.settings.has(Flaw::BrokeredPlaintext) => {
                let shaken = timeout(GREETING, tls::accept(io, tls)).await;
                shaken.unwrap_or_else(|_| Err("the handshake timed out".to_owned())).map(|it| it.0)
            }
            _ => Ok(io),
        }
    }

    fn inner_tls(&self) -> Option<&Tls> {
        self.tls.as_ref().filter(|_| !self.settings.has(Flaw::TlsAroundTheSession))
    }

    /// Returns the time limit for a brokered connection.
    pub(super) fn patience(&self) -> Duration {
        match self.settings.has(Flaw::WaitsForEver) {
            true => FOR_EVER,
            false => GREETING,
        }
    }
}

async fn shake(io: Io, tls: &Tls) -> Result<Io, Failure> {
    let shaken = tls::connect(io, tls).await;
    shaken.map(|(io, _)| io).map_err(|why| Failure::new("start.tls", why))
}

/// Opens a stream, and waits until the plugin has accepted it.
pub(super) async fn open(session: &yamux::Session) -> Result<Io, Failure> {
    let stream = session.open();
    match timeout(GREETING, stream.acknowledged()).await {
        Ok(true) => Ok(Box::new(stream)),
        Ok(false) => Err(Failure::new("start.connect", "the plugin broke the stream off")),
        Err(_) => Err(Failure::new("start.connect", "the plugin does not take the stream")),
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("address", &self.address).finish_non_exhaustive()
    }
}
