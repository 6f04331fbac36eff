//! Checks the variables that this crate sets as host, and what it reads from them as plugin.

use std::collections::BTreeMap;

use plugwire_protocol::certificate;
use plugwire_protocol::environment::{
    CookieError, HostEnvironment, MagicCookie, PluginEnvironment, PortRange, is_protocol_variable,
};

use super::checks::same;
use super::model::{
    Conclusions, Cookie, Environment, HostConfig, PortChoice, PortWord, Ports, Refusal,
};

pub(crate) fn check(case: &Environment) -> Result<(), String> {
    match case {
        Environment::Host { name, config, set, absent, .. } => host(name, config, set, absent),
        Environment::Plugin { name, cookie, environment, concludes, refuses, .. } => {
            let want = refuses
                .map_or_else(|| Ok(concludes.as_deref().cloned().expect("one of the two")), Err);
            same(name, conclude(cookie, environment), want)
        }
    }
}

fn host(
    name: &str,
    config: &HostConfig,
    set: &BTreeMap<String, String>,
    absent: &[String],
) -> Result<(), String> {
    let cookie = MagicCookie::new(&config.cookie.key, &config.cookie.value);
    let Ports { min, max } = config.ports;
    let environment = HostEnvironment::new(cookie, &config.versions)
        .with_ports(Some(PortRange::new(min, max).expect("a range")))
        .with_multiplex(config.multiplex)
        .with_client_certificate_pem(config.client_certificate.as_deref())
        .with_socket_group(config.socket_group.as_deref())
        .with_socket_dir(config.socket_dir.as_deref());
    // Inherited variables come first, without those of the protocol. The host's own settings override them.
    let mut plugin = config.inherited.clone();
    plugin.retain(|name, _| !is_protocol_variable(name));
    let text = |value: std::ffi::OsString| value.into_string().expect("text");
    plugin.extend(environment.variables().into_iter().map(|(name, value)| (name, text(value))));
    same(name, &plugin, set)?;
    let present = absent.iter().find(|name| plugin.contains_key(*name));
    same(name, present, None)
}

fn conclude(
    cookie: &Cookie,
    environment: &BTreeMap<String, String>,
) -> Result<Conclusions, Refusal> {
    let cookie = MagicCookie::new(&cookie.key, &cookie.value);
    let read = PluginEnvironment::read(cookie, |name| environment.get(name).cloned());
    let read = read.map_err(|error| match error {
        CookieError::Misconfigured { .. } => Refusal::Misconfigured,
        _ => Refusal::Cookie,
    })?;
    let certificate = read.client_certificate_pem.as_deref().map(certificate::from_pem);
    let certificate = certificate.transpose().map_err(|_| Refusal::ClientCertificate)?;
    Ok(Conclusions {
        offered: read.offered_versions,
        multiplex_field: read.multiplex_asked,
        multiplex: read.multiplex,
        mutual_tls: certificate.is_some(),
        socket_dir: read.socket_dir.map(|directory| directory.into_string().expect("text")),
        socket_group: read.socket_group,
        ports: match read.ports {
            Err(_) => PortChoice::Word(PortWord::Error),
            Ok(None) => PortChoice::Word(PortWord::Any),
            Ok(Some(range)) => PortChoice::Range(Ports { min: range.min(), max: range.max() }),
        },
    })
}

pub(crate) fn spoil(case: &mut Environment) {
    match case {
        Environment::Host { set, .. } => {
            set.insert("PLUGIN_FROM_NOWHERE".to_owned(), String::new());
        }
        Environment::Plugin { concludes: Some(conclusions), .. } => {
            conclusions.multiplex = !conclusions.multiplex;
        }
        Environment::Plugin { refuses, .. } => {
            *refuses = match refuses {
                Some(Refusal::Cookie) => Some(Refusal::Misconfigured),
                _ => Some(Refusal::Cookie),
            }
        }
    }
}
