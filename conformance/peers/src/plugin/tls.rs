//! The TLS of all sockets according to the script.

use std::io::Cursor;
use std::time::Duration;

use plugwire_conformance_wire::identity::Identity;
use plugwire_conformance_wire::socket::Io;
use plugwire_conformance_wire::tls::{self, Expect, Seen, Tls, Versions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Plugin;
use crate::script::{ClientCertificate, Served, TlsVersions};

/// No host takes this long for a handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// Returns whether the main connection has TLS and the line a certificate.
pub(super) fn wanted(plugin: &Plugin) -> bool {
    let script = &plugin.script.tls;
    !script.never && (plugin.asked.tls || script.unasked)
}

/// Secures a connection that the plugin has accepted. Returns none if that failed. `plaintext`
/// leaves TLS out.
pub(super) async fn accept(plugin: &Plugin, io: Io, name: &str, plaintext: bool) -> Option<Io> {
    let script = &plugin.script.tls;
    if !wanted(plugin) {
        return Some(io);
    }
    if script.plaintext || plaintext {
        plugin.witness.saw("plaintext", json!({ "connection": name }));
        return Some(io);
    }
    if script.hangs {
        plugin.witness.saw("tls-hangs", json!({ "connection": name }));
        let _held = io;
        return std::future::pending().await;
    }
    let io = match tokio::time::timeout(PATIENCE, without_tls(plugin, io, name)).await.ok()? {
        Begun::Tls(io) => io,
        Begun::Plaintext(io) => return Some(io),
        Begun::Ended => return None,
    };
    let shaken = match refused(plugin) {
        Some(why) => Err(why.to_owned()),
        None => tokio::time::timeout(PATIENCE, tls::accept(io, &accepting(plugin)))
            .await
            .unwrap_or_else(|_| Err("timed out".to_owned())),
    };
    let (io, seen) = match shaken {
        Ok(shaken) => shaken,
        Err(error) => {
            plugin.witness.saw("tls-failed", json!({ "connection": name, "error": error }));
            return None;
        }
    };
    plugin.witness.saw("tls", told(plugin, name, &seen));
    if script.cuts_after_handshake {
        plugin.witness.saw("tls-cut", json!({ "connection": name }));
        return None;
    }
    let wrong_name =
        script.demands_server_name.is_some() && script.demands_server_name != seen.server_name;
    (!wrong_name).then_some(io)
}

/// Secures a connection that the plugin has made to its host.
pub(super) async fn connect(plugin: &Plugin, io: Io, plaintext: bool) -> Result<Io, String> {
    let Some(host) = plugin.asked.certificate.as_ref().filter(|_| wanted(plugin) && !plaintext)
    else {
        return Ok(io);
    };
    let mut tls =
        Tls { present: Some(shown(plugin)), ..Tls::mutual(plugin.identity.clone(), host) };
    if plugin.script.broker.trusts_anybody {
        tls.expect = Expect::Any;
    }
    let shaken = tokio::time::timeout(PATIENCE, tls::connect(io, &tls)).await;
    let (io, seen) = shaken.unwrap_or_else(|_| Err("the handshake timed out".to_owned()))?;
    plugin.witness.saw("tls", told(plugin, "dialled", &seen));
    Ok(io)
}

fn accepting(plugin: &Plugin) -> Tls {
    let script = &plugin.script.tls;
    // An unreadable certificate admits no peer; without a certificate there is none to compare
    // with.
    let host = plugin.asked.certificate.clone().unwrap_or_default();
    let expect = match script.client {
        _ if !plugin.asked.tls => Expect::Nobody,
        ClientCertificate::Required => Expect::Exactly(host),
        ClientCertificate::Optional => Expect::OrNobody(host),
        ClientCertificate::Any => Expect::Any,
        ClientCertificate::Unproved => Expect::Unproved(host),
        ClientCertificate::NotAsked => Expect::Nobody,
    };
    Tls {
        present: Some(shown(plugin)),
        expect,
        server_name: None,
        versions: match script.versions {
            TlsVersions::Both => Versions::Both,
            TlsVersions::Only12 => Versions::Only12,
            TlsVersions::Only13 => Versions::Only13,
        },
        alpn: !script.no_alpn,
    }
}

fn shown(plugin: &Plugin) -> Identity {
    match plugin.script.tls.serves {
        Served::Announced => plugin.identity.clone(),
        Served::Another => Identity::new(),
        Served::AnnouncedWithAnotherKey => plugin.identity.with_key_of(&Identity::new()),
    }
}

fn told(plugin: &Plugin, name: &str, seen: &Seen) -> Value {
    let peer = match (&seen.peer, &plugin.asked.certificate) {
        (None, _) => "none",
        (Some(shown), Some(pinned)) if shown == pinned => "the host's",
        (Some(_), _) => "another",
    };
    json!({
        "connection": name,
        "version": seen.version,
        "alpn": seen.alpn,
        "peer": peer,
        "server-name": seen.server_name,
        "serves": plugin.script.tls.serves,
    })
}

/// Refuses before the handshake what the script refuses.
fn refused(plugin: &Plugin) -> Option<&'static str> {
    // The object identifier of the curve P-521, as it appears in a certificate with such a key.
    const P521: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
    let host = plugin.asked.certificate.as_ref()?;
    let has = host.windows(P521.len()).any(|window| window == P521);
    (plugin.script.tls.refuses_p521 && has).then_some("the host's key is on P-521")
}

/// How a connection begins.
enum Begun {
    Tls(Io),
    Plaintext(Io),
    Ended,
}

/// Looks at a connection's first bytes, where the script makes a difference between them.
async fn without_tls(plugin: &Plugin, mut io: Io, name: &str) -> Begun {
    let script = &plugin.script.tls;
    if !script.plaintext_too && !script.begins_tls11 {
        return Begun::Tls(io);
    }
    // A record's head, the handshake's head, and the version that the hello asks for.
    let mut head = [0; 11];
    if io.read_exact(&mut head).await.is_err() {
        return Begun::Ended;
    }
    let (is_tls, asks_for) = (head[0] == 22, u16::from_be_bytes([head[9], head[10]]));
    if script.plaintext_too && !is_tls {
        plugin.witness.saw("plaintext", json!({ "connection": name }));
        return Begun::Plaintext(replayed(&head, io));
    }
    if script.begins_tls11 && is_tls && asks_for < 0x0303 {
        let begun = io.write_all(&tls11_hello()).await.is_ok() && io.flush().await.is_ok();
        plugin.witness.saw("tls11-begun", json!({ "connection": name, "written": begun }));
        // The host continues the handshake or not; this side cannot finish it.
        let _ = io.read_to_end(&mut Vec::new()).await;
        return Begun::Ended;
    }
    Begun::Tls(replayed(&head, io))
}

/// Returns the connection as it was before these bytes were read.
pub(super) fn replayed(read: &[u8], io: Io) -> Io {
    let (reader, writer) = tokio::io::split(io);
    Box::new(tokio::io::join(Cursor::new(read.to_vec()).chain(reader), writer))
}

/// Returns a server's hello of TLS 1.1 that takes a common cipher.
fn tls11_hello() -> Vec<u8> {
    const VERSION: [u8; 2] = [3, 2];
    let mut hello = VERSION.to_vec();
    hello.extend([0x51; 32]);
    // No session, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, no compression.
    hello.extend([0, 0xc0, 0x09, 0]);
    let mut record = vec![22, VERSION[0], VERSION[1], 0, hello.len() as u8 + 4];
    record.extend([2, 0, 0, hello.len() as u8]);
    record.extend(hello);
    record
}
