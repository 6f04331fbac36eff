//! Checks this crate's answers for handshake lines, negotiations, certificates and reattach records.

use std::collections::BTreeMap;
use std::fmt::Debug;

use plugwire_protocol::certificate;
use plugwire_protocol::environment::{MagicCookie, PLUGIN_PROTOCOL_VERSIONS, PluginEnvironment};
use plugwire_protocol::handshake::{Expectation, HandshakeError, HandshakeLine, MultiplexWish};
use plugwire_protocol::negotiation;
use plugwire_protocol::reattach::{self, ReattachError};
use sha2::{Digest, Sha256};

use super::model::{
    Certificate, HandshakeLine as LineCase, Identity, Line, LineError, Negotiation,
    ReattachRecords, Record, Verdict,
};

pub(crate) fn same<T: Debug + PartialEq>(name: &str, got: T, want: T) -> Result<(), String> {
    match got == want {
        true => Ok(()),
        false => Err(format!("{name}: {got:?}, and the vector says {want:?}")),
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn handshake_line(case: &LineCase) -> Result<(), String> {
    let stdout = case.stdout.bytes();
    let first = stdout.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let multiplex = if case.host.multiplex { MultiplexWish::Require } else { MultiplexWish::No };
    let expected = Expectation::new(&case.host.versions).with_multiplex(multiplex);
    let parsed = HandshakeLine::parse(first, &expected).map_err(|error| kind(&error));
    // Whether a certificate is required or forbidden is decided after parsing, by the host that knows its settings.
    let parsed = parsed.and_then(|line| match (case.host.mutual_tls, &line.certificate) {
        (true, None) => Err(LineError::CertificateMissing),
        (false, Some(_)) => Err(LineError::CertificateUnasked),
        _ => Ok(Line {
            version: line.app_version,
            network: line.network.to_string(),
            address: line.address.to_str().expect("text").to_owned(),
            certificate_sha256: line.certificate.as_deref().map(sha256),
            multiplex: line.multiplex,
        }),
    });
    same(
        &case.name,
        parsed,
        case.error.map_or_else(|| Ok(case.line.clone().expect("one of the two")), Err),
    )
}

fn kind(error: &HandshakeError) -> LineError {
    match error {
        HandshakeError::Address { .. } => LineError::Address,
        HandshakeError::AppVersionNotANumber { .. } => LineError::AppVersionNotANumber,
        HandshakeError::AppVersionNotOffered { .. } => LineError::AppVersion,
        HandshakeError::Certificate { .. } => LineError::Certificate,
        HandshakeError::CoreVersionNotANumber { .. } => LineError::CoreVersionNotANumber,
        HandshakeError::CoreVersionUnsupported { .. } => LineError::CoreVersion,
        HandshakeError::MultiplexMissing { .. } => LineError::MultiplexMissing,
        HandshakeError::MultiplexNotABool { .. } => LineError::MultiplexNotABool,
        HandshakeError::MultiplexRefused { .. } => LineError::MultiplexRefused,
        HandshakeError::NetRpc { .. } => LineError::Netrpc,
        HandshakeError::NetworkUnknown { .. } => LineError::Network,
        HandshakeError::ProtocolUnknown { .. } => LineError::Protocol,
        HandshakeError::Unrecognized { .. } => LineError::Unrecognized,
        other => panic!("an error without a kind: {other}"),
    }
}

pub(crate) fn spoil_handshake_line(case: &mut LineCase) {
    match &mut case.line {
        Some(line) => line.version += 1,
        None if case.error == Some(LineError::Network) => case.error = Some(LineError::Protocol),
        None => case.error = Some(LineError::Network),
    }
}

pub(crate) fn negotiation(case: &Negotiation) -> Result<(), String> {
    let cookie = MagicCookie::new("COOKIE", "x");
    let environment = PluginEnvironment::read(cookie, |name| match name {
        "COOKIE" => Some("x".to_owned()),
        PLUGIN_PROTOCOL_VERSIONS => case.offered.clone(),
        _ => None,
    });
    let environment = environment.expect("the cookie is right");
    let chosen = negotiation::choose(&case.own, &environment.offered_versions);
    same(&case.name, chosen, Some(case.chosen))?;
    match &case.skipped {
        Some(skipped) => same(&case.name, &environment.skipped_versions, skipped),
        None => Ok(()),
    }
}

pub(crate) fn certificate(
    known: &BTreeMap<String, Identity>,
    case: &Certificate,
) -> Result<(), String> {
    let want =
        |certificate: &Option<String>| certificate.as_ref().map(|name| known[name].sha256.clone());
    match case {
        Certificate::Field { name, field, certificate, error, .. } => {
            let got = certificate::decode_field(field);
            let code = got.as_ref().err().map(|error| match error.code() {
                "certificate.not-a-certificate" => "not-a-certificate",
                _ => "not-base64",
            });
            same(name, code, error.as_deref())?;
            same(name, got.ok().as_deref().map(sha256), want(certificate))
        }
        Certificate::Variable { name, pem, certificate, error, .. } => {
            let got = certificate::from_pem(pem).ok();
            same(name, got.is_none(), error.is_some())?;
            same(name, got.as_deref().map(sha256), want(certificate))
        }
        // This crate only compares certificates. Whether the key matches is for the TLS library to check.
        Certificate::Peer { name, announced, presented, key, result, .. } => {
            let der = |name: &String| certificate::from_pem(&known[name].pem).expect("PEM");
            let field = certificate::encode_field(&der(announced));
            let pinned = certificate::decode_field(&field).map_err(|e| e.to_string())?;
            let right = pinned == der(presented) && key == presented;
            same(name, if right { Verdict::Accept } else { Verdict::Refuse }, *result)
        }
    }
}

pub(crate) fn spoil_certificate(case: &mut Certificate) {
    match case {
        Certificate::Field { certificate, error, .. }
        | Certificate::Variable { certificate, error, .. } => match error.take() {
            Some(_) => *certificate = Some("p521-ca".to_owned()),
            None => (*certificate, *error) = (None, Some("another".to_owned())),
        },
        Certificate::Peer { result, .. } => {
            *result = match result {
                Verdict::Accept => Verdict::Refuse,
                Verdict::Refuse => Verdict::Accept,
            }
        }
    }
}

pub(crate) fn reattach_records(case: &ReattachRecords) -> Result<(), String> {
    let got = reattach::parse_map(&case.json);
    let code = got.as_ref().err().map(ReattachError::code);
    same(&case.name, code.and_then(|code| code.strip_prefix("reattach.")), case.error.as_deref())?;
    let records = got.ok().map(|records| {
        let record = |(name, record): (String, reattach::Reattach)| {
            let record = Record {
                version: record.protocol_version,
                pid: record.pid,
                test: record.test,
                network: record.network.to_string(),
                address: record.address.to_str().expect("text").to_owned(),
            };
            (name, record)
        };
        records.into_iter().map(record).collect::<BTreeMap<_, _>>()
    });
    same(&case.name, records, case.records.clone())
}

pub(crate) fn spoil_reattach_records(case: &mut ReattachRecords) {
    match case.error.take() {
        Some(_) => case.records = Some(BTreeMap::new()),
        None => case.error = Some("another".to_owned()),
    }
}
