//! The codes of all errors. They are promised not to change: people search for them, and documentation
//! explains them.

use std::collections::HashSet;

use plugwire_protocol::certificate::{CertificateFieldError, PemError};
use plugwire_protocol::environment::{CookieError, PortRangeError};
use plugwire_protocol::handshake::{AddressError, HandshakeError};
use plugwire_protocol::reattach::ReattachError;

#[test]
fn codes_do_not_change() {
    let s = String::new;
    let handshake = [
        (HandshakeError::Address { line: s(), cause: AddressError::PathEmpty }, "start.address"),
        (HandshakeError::AppVersionNotANumber { got: s() }, "start.app-version-not-a-number"),
        (HandshakeError::AppVersionNotOffered { got: s(), offered: vec![] }, "start.app-version"),
        (
            HandshakeError::Certificate { field: s(), cause: CertificateFieldError::Padded },
            "start.certificate",
        ),
        (HandshakeError::CoreVersionNotANumber { got: s() }, "start.core-version-not-a-number"),
        (HandshakeError::CoreVersionUnsupported { got: s(), supported: 1 }, "start.core-version"),
        (HandshakeError::MultiplexMissing { line: s() }, "start.multiplex-missing"),
        (HandshakeError::MultiplexNotABool { got: s() }, "start.multiplex-not-a-bool"),
        (HandshakeError::MultiplexRefused { got: s() }, "start.multiplex-refused"),
        (HandshakeError::NetRpc { line: s() }, "start.netrpc"),
        (HandshakeError::NetworkUnknown { got: s() }, "start.network"),
        (HandshakeError::ProtocolUnknown { got: s() }, "start.protocol"),
        (HandshakeError::Unrecognized { line: s() }, "start.unrecognized"),
    ]
    .map(|(error, code)| (error.code(), code));

    let address = [
        (AddressError::HostName { address: s() }, "address.host-name"),
        (AddressError::NotHostAndPort { address: s() }, "address.not-host-and-port"),
        (AddressError::PathEmpty, "address.path-empty"),
        (AddressError::PathTooLong { path: s(), length: 2, limit: 1 }, "address.path-too-long"),
        (AddressError::Unannounceable { address: s() }, "address.unannounceable"),
    ]
    .map(|(error, code)| (error.code(), code));

    let certificate = [
        (CertificateFieldError::NotACertificate { length: 0 }, "certificate.not-a-certificate"),
        (CertificateFieldError::NotBase64 { offset: 0 }, "certificate.not-base64"),
        (CertificateFieldError::Padded, "certificate.padded"),
    ]
    .map(|(error, code)| (error.code(), code));

    let pem = [
        (PemError::NoCertificateBlock { text: s() }, "pem.no-certificate-block"),
        (PemError::NotACertificate { length: 0 }, "pem.not-a-certificate"),
        (PemError::NotBase64 { offset: 0 }, "pem.not-base64"),
        (PemError::Unterminated, "pem.unterminated"),
    ]
    .map(|(error, code)| (error.code(), code));

    let cookie = [
        (CookieError::Misconfigured { key: s(), value: s() }, "serve.cookie-misconfigured"),
        (CookieError::Missing { key: s() }, "serve.cookie-missing"),
        (CookieError::Wrong { key: s(), got: s(), expected: s() }, "serve.cookie-wrong"),
    ]
    .map(|(error, code)| (error.code(), code));

    let ports = [
        (PortRangeError::MinAboveMax { min: 2, max: 1 }, "ports.min-above-max"),
        (PortRangeError::NotAPort { variable: "PLUGIN_MIN_PORT", got: s() }, "ports.not-a-port"),
    ]
    .map(|(error, code)| (error.code(), code));

    let reattach = [
        (
            ReattachError::Address { name: s(), address: s(), cause: AddressError::PathEmpty },
            "reattach.address",
        ),
        (ReattachError::Member { name: s(), member: "/Pid", got: None }, "reattach.member"),
        (ReattachError::NetRpc { name: s() }, "reattach.netrpc"),
        (ReattachError::NotAnObject { json: s() }, "reattach.not-an-object"),
        (ReattachError::NotJson { json: s(), line: 1, column: 1 }, "reattach.not-json"),
        (ReattachError::ProtocolUnknown { name: s(), got: s() }, "reattach.protocol"),
    ]
    .map(|(error, code)| (error.code(), code));

    let all =
        [handshake.as_slice(), &address, &certificate, &pem, &cookie, &ports, &reattach].concat();
    for (code, promised) in &all {
        assert_eq!(code, promised);
    }
    let distinct: HashSet<&str> = all.iter().map(|(code, _)| *code).collect();
    assert_eq!(distinct.len(), all.len(), "two errors share a code");
}
