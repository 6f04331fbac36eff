//! Connections to the plugin, right and wrong.

use std::time::Duration;

use plugwire_conformance_wire::caller::{Caller, Options};
use plugwire_conformance_wire::identity::Identity;
use plugwire_conformance_wire::messages::{self, method};
use plugwire_conformance_wire::socket::{Address, Io};
use plugwire_conformance_wire::tls::{self, Expect, Seen, Tls, Versions};
use plugwire_conformance_wire::yamux::{Session, Side};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::host::{Failure, Host, MAIN, Outcome, within};
use super::scene::{Alive, Certificate, Connect, Disconnect, Raw, RawWanted, TlsVersions};
use crate::matching::unhex;

impl Host<'_> {
    pub(super) async fn connect(&mut self, wanted: &Connect) -> Outcome {
        let name = wanted.name.as_deref().unwrap_or(MAIN);
        let io = self.channel(self.limit(wanted.within)).await?;
        let tls = self.tls(wanted)?;
        let authority = match (&wanted.authority, &tls) {
            (Some(authority), _) => authority,
            (None, Some(_)) => "localhost",
            (None, None) => "unused",
        };
        let served = self.serves(io, tls.as_ref(), authority, name);
        match (tokio::time::timeout(self.limit(wanted.within), served).await, wanted.refused) {
            (Ok(Ok((caller, seen))), false) => {
                if wanted.alpn && seen.and_then(|seen| seen.alpn).as_deref() != Some("h2") {
                    return Err(Failure::differs("ALPN agrees on h2", "nothing was agreed on"));
                }
                self.connections.insert(name.to_owned(), caller);
                Ok(())
            }
            (Ok(Err(error)), false) => Err(Failure::differs("the connection is served", error)),
            (Ok(Err(_)), true) => Ok(()),
            (Ok(Ok(_)), true) => {
                Err(Failure::differs("the connection is refused", "a health check was answered"))
            }
            (Err(_), refused) => {
                let wanted = if refused { "refused" } else { "served" };
                let expected = format!("the connection is {wanted}");
                Err(Failure::differs(expected, "it is neither served nor cut"))
            }
        }
    }

    /// Opens a byte stream to the plugin: a socket, or a stream of the shared session.
    async fn channel(&mut self, limit: Duration) -> Outcome<Io> {
        let line = self.announced()?;
        let address = Address::parse(line.network(), line.address())
            .map_err(|error| Failure::differs("an address that one can connect to", error))?;
        if self.session.is_none() {
            let io = within(limit, "a connection", address.connect()).await?.map_err(|error| {
                Failure::differs(format!("a connection to {address}"), error.to_string())
            })?;
            if !self.multiplexes() {
                return Ok(io);
            }
            self.session = Some(Session::start(io, Side::Host, self.trace));
        }
        let Some(session) = &self.session else {
            return Err(Failure::engine("yamux", "no session"));
        };
        let stream = session.open();
        match within(limit, "an acknowledgement of the stream", stream.acknowledged()).await? {
            true => Ok(Box::new(stream)),
            false => Err(Failure::differs("the stream is acknowledged", "it was broken off")),
        }
    }

    /// Returns whether host and plugin have agreed on multiplexing.
    pub(super) fn multiplexes(&self) -> bool {
        let says_so = self.line.as_ref().is_some_and(|line| line.multiplex() == Some("true"));
        self.multiplex && says_so
    }

    /// Returns the TLS of this connection; none for plaintext.
    fn tls(&self, wanted: &Connect) -> Outcome<Option<Tls>> {
        if wanted.plaintext {
            return Ok(None);
        }
        let Some(mut tls) = self.mutual_tls(wanted.certificate)? else { return Ok(None) };
        tls.versions = match wanted.versions {
            TlsVersions::Both => Versions::Both,
            TlsVersions::Only12 => Versions::Only12,
            TlsVersions::Only13 => Versions::Only13,
        };
        if let Some(name) = &wanted.server_name {
            tls.server_name = Some(name.clone()).filter(|name| !name.is_empty());
        }
        Ok(Some(tls))
    }

    /// Returns the agreed TLS; none where the host did not ask for any.
    pub(super) fn mutual_tls(&self, shown: Certificate) -> Outcome<Option<Tls>> {
        let Some(own) = &self.identity else { return Ok(None) };
        let announced = self.announced()?.certificate();
        let announced = announced
            .map_err(|error| Failure::differs("a certificate in field 6", error.to_string()))?
            .ok_or_else(|| Failure::differs("a certificate in field 6", "there is none"))?;
        let mut tls = Tls::mutual(own.clone(), &announced);
        tls.present = match shown {
            Certificate::Right => Some(own.clone()),
            Certificate::None => None,
            Certificate::Other => Some(Identity::new()),
            Certificate::Stolen => Some(own.with_key_of(&Identity::new())),
        };
        // Here the suite breaks the rules; whether the plugin presents the right certificate does
        // not matter.
        if shown != Certificate::Right {
            tls.expect = Expect::Any;
        }
        Ok(Some(tls))
    }

    /// Secures the connection and makes a health check. In TLS 1.3 a refusal shows only after the
    /// handshake.
    async fn serves(
        &self,
        io: Io,
        tls: Option<&Tls>,
        authority: &str,
        name: &str,
    ) -> Result<(Caller, Option<Seen>), String> {
        let (io, seen) = self.secured(io, tls, name).await?;
        let caller = Caller::connect(io, authority, name, self.trace).await;
        let caller = caller.map_err(|error| error.to_string())?;
        check(&caller).await?;
        Ok((caller, seen))
    }

    pub(super) async fn secured(
        &self,
        io: Io,
        tls: Option<&Tls>,
        name: &str,
    ) -> Result<(Io, Option<Seen>), String> {
        let Some(tls) = tls else { return Ok((io, None)) };
        let shaken = tls::connect(io, tls).await;
        match &shaken {
            Ok((_, seen)) => self.trace.event("tls", format!("{name}: {seen}")),
            Err(error) => self.trace.event("tls", format!("{name}: {error}")),
        }
        shaken.map(|(io, seen)| (io, Some(seen)))
    }

    pub(super) async fn disconnect(&mut self, which: &Disconnect) -> Outcome {
        let name = which.name.as_deref().unwrap_or(MAIN);
        self.connection(Some(name))?;
        if name == MAIN {
            // Open calls hold their connection, and all share one session.
            self.calls.clear();
            self.broker = None;
            self.session = None;
        }
        self.connections.remove(name);
        let Some(alone_for) = which.alone_for else { return Ok(()) };
        match self.process()?.exited(self.scaled(*alone_for)).await {
            None => Ok(()),
            Some(exit) => Err(Failure::differs("the plugin lives", format!("it ended: {exit}"))),
        }
    }

    pub(super) async fn alive(&mut self, wanted: &Alive) -> Outcome {
        let end = tokio::time::Instant::now()
            + wanted.throughout.map_or(Duration::ZERO, |span| self.scaled(*span));
        loop {
            if let Some(how) = self.process()?.ended() {
                return Err(Failure::differs("the plugin lives", format!("it ended: {how}")));
            }
            let check = check(self.connection(None)?);
            within(self.limit(None), "an answer to a health check", check)
                .await?
                .map_err(|error| Failure::differs("the plugin answers", error))?;
            if tokio::time::Instant::now() >= end {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn raw(&mut self, raw: &Raw) -> Outcome {
        let digits: String = raw.hex.split_whitespace().collect();
        let bytes = unhex(&digits).map_err(|error| Failure::engine("the case's bytes", error))?;
        let mut io = self.channel(self.limit(raw.within)).await?;
        self.trace.event("suite", format!("sends {} raw bytes", bytes.len()));
        // The plugin may close before it has read everything; only its answer matters.
        let _ = io.write_all(&bytes).await;
        let _ = io.flush().await;
        if raw.expect == RawWanted::Nothing {
            return Ok(());
        }
        let came =
            within(self.limit(raw.within), "the end of the connection", read_to_end(&mut io))
                .await?;
        self.trace.event("suite", format!("got {} bytes: {}", came.len(), hex(&came, 64)));
        // A handshake message is record type 22; a refusal is an alert, type 21, or nothing.
        if raw.expect == RawWanted::NoTls && came.first() == Some(&22) {
            return Err(Failure::differs(
                "no handshake",
                format!("it begins one: {}", hex(&came, 16)),
            ));
        }
        Ok(())
    }
}

/// Makes a health check, which every plugin serves. Any status will do: the answer proves that a
/// server is there.
async fn check(caller: &Caller) -> Result<(), String> {
    let request = messages::encode_request(method::CHECK, &json!({"service": "plugin"}))?;
    let reply = caller.unary(method::CHECK, request, &Options::default()).await;
    reply.map(|_| ()).map_err(|error| error.to_string())
}

/// Reads until the other side closes in whatever way, and returns the beginning.
async fn read_to_end(io: &mut Io) -> Vec<u8> {
    const KEPT: usize = 64 * 1024;
    let mut came = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(size @ 1..) = io.read(&mut piece).await {
        if came.len() < KEPT {
            came.extend_from_slice(&piece[..size]);
        }
    }
    came
}

fn hex(bytes: &[u8], most: usize) -> String {
    bytes.iter().take(most).map(|byte| format!("{byte:02x}")).collect()
}
