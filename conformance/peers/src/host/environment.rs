//! The plugin's environment (spec, chapter 4).

use std::collections::BTreeMap;
use std::ffi::OsString;

use plugwire_conformance_wire::environment as names;
use plugwire_conformance_wire::identity::Identity;

use super::Settings;
use super::flaw::Flaw;
use super::sockets::Sockets;

/// The variables of the host's own environment that are passed on (ENV-12).
const HANDED_ON: [&str; 9] =
    ["HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"];

/// Returns the plugin's whole environment. Later values override earlier ones (ENV-5).
pub(super) fn variables(
    settings: &Settings,
    identity: Option<&Identity>,
    sockets: &Sockets,
) -> BTreeMap<OsString, OsString> {
    let own = own(settings, identity, sockets);
    let users = settings.plugin.env.iter().map(|(name, value)| (name.into(), value.into()));
    let mut all = BTreeMap::new();
    all.extend(std::env::vars_os().filter(|(name, _)| is_handed_on(settings, name)));
    match settings.has(Flaw::UserValuesWin) {
        true => all.extend(own.into_iter().chain(users)),
        false => all.extend(users.chain(own)),
    }
    all
}

fn is_handed_on(settings: &Settings, name: &OsString) -> bool {
    let name = name.to_string_lossy();
    if names::ALL.contains(&&*name) {
        return settings.has(Flaw::HandsOnProtocolVariables);
    }
    settings.has(Flaw::HandsOnEverything) || HANDED_ON.contains(&&*name)
}

/// Returns the protocol's variables.
fn own(
    settings: &Settings,
    identity: Option<&Identity>,
    sockets: &Sockets,
) -> Vec<(OsString, OsString)> {
    let plugin = &settings.plugin;
    let mut own: Vec<(OsString, OsString)> = Vec::new();
    let mut set = |name: &str, value: OsString| own.push((name.into(), value));
    set(&plugin.cookie.key, plugin.cookie.value.clone().into());
    set(names::SOCKET_DIR, sockets.folder().into());
    if !settings.has(Flaw::SendsNoVersions) {
        set(names::PROTOCOL_VERSIONS, offered(settings).into());
    }
    if !settings.has(Flaw::SendsNoPorts) {
        set(names::MIN_PORT, "10000".into());
        set(names::MAX_PORT, "25000".into());
    }
    if let Some(identity) = identity {
        let pem = identity.pem();
        let pem = match settings.has(Flaw::CertificateOnOneLine) {
            true => pem.replace('\n', ""),
            false => pem,
        };
        set(names::CLIENT_CERT, pem.into());
    }
    match (plugin.multiplex, settings.flaw) {
        (true, Some(Flaw::MultiplexesUnasked)) => {}
        (true, _) => set(names::MULTIPLEX_GRPC, "true".into()),
        (false, Some(Flaw::SaysMultiplexFalse)) => set(names::MULTIPLEX_GRPC, "false".into()),
        (false, _) => {}
    }
    own
}

/// Returns the versions that are offered (HS-30).
fn offered(settings: &Settings) -> String {
    let mut versions = settings.plugin.app_versions.clone();
    if settings.has(Flaw::OffersOneVersion) {
        versions.truncate(1);
    }
    let texts: Vec<String> = versions.iter().map(ToString::to_string).collect();
    texts.join(",")
}
