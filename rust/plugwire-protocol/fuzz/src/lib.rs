//! The bodies of the fuzz targets, one function for each.
//!
//! The fuzzer calls them on nightly. `tests/fuzz.rs` includes this file, and calls the same functions
//! on stable with the corpus and with generated input. Each function takes any bytes, and panics if
//! the crate breaks a promise.

use std::error::Error;

use plugwire_protocol::certificate::{decode_field, encode_field, from_pem, pem};
use plugwire_protocol::environment::{HostEnvironment, MagicCookie, PluginEnvironment};
use plugwire_protocol::handshake::{Expectation, HandshakeLine, MultiplexWish};
use plugwire_protocol::hclog::{Entry, Kind, Level, StderrParser};
use plugwire_protocol::reattach::parse_map;

/// Parses a handshake line as three different hosts.
pub fn handshake_line(data: &[u8]) {
    for multiplex in [MultiplexWish::No, MultiplexWish::Prefer, MultiplexWish::Require] {
        let expected = Expectation::new(&[0, 1, 5]).with_multiplex(multiplex);
        match HandshakeLine::parse(data, &expected) {
            Ok(line) => {
                // Input of more than one line may have a line break in the address.
                if let Ok(printed) = line.to_line() {
                    // A host that requires multiplexing got a line that has it.
                    assert_eq!(HandshakeLine::parse(&printed, &expected), Ok(line));
                } else {
                    assert!(data.contains(&b'\n'));
                }
            }
            Err(error) => check_error(&error, error.code(), "start."),
        }
    }
}

/// Reads a plugin's environment: variables separated by zero bytes, as the kernel stores them.
pub fn plugin_environment(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let variables: Vec<(&str, &str)> =
        text.split('\0').filter_map(|variable| variable.split_once('=')).collect();
    let lookup = |name: &str| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let cookie = MagicCookie::new("COOKIE", "yes");
    match PluginEnvironment::read(cookie, lookup) {
        Ok(environment) => {
            if let Err(error) = &environment.ports {
                check_error(error, error.code(), "ports.");
            }
            check_environment(cookie, environment);
        }
        Err(error) => check_error(&error, error.code(), "serve."),
    }
}

/// A host that sends what the plugin has read is read in the same way.
fn check_environment(cookie: MagicCookie<'_>, read: PluginEnvironment) {
    let host = HostEnvironment::new(cookie, &read.offered_versions)
        .with_ports(read.ports.clone().unwrap_or_default())
        .with_multiplex(read.multiplex)
        .with_client_certificate_pem(read.client_certificate_pem.as_deref())
        .with_socket_group(read.socket_group.as_deref())
        .with_socket_dir(read.socket_dir.as_deref());
    let variables = host.variables();
    let lookup = |name: &str| {
        let found = variables.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    };
    let mut expected = read.clone();
    expected.skipped_versions.clear();
    expected.ports = Ok(host.ports);
    expected.multiplex_asked = read.multiplex;
    assert_eq!(PluginEnvironment::read(cookie, lookup), Ok(expected));
}

/// Decodes a certificate, as the field of a handshake line and as PEM.
pub fn certificate(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match decode_field(&text) {
        // A field has exactly one encoding, except for the unused bits of the last character.
        Ok(der) => {
            let written = encode_field(&der);
            assert_eq!(written.len(), text.len());
            assert_eq!(written[..written.len() - 1], text[..text.len() - 1]);
            assert_eq!(decode_field(&written), Ok(der));
        }
        Err(error) => check_error(&error, error.code(), "certificate."),
    }
    match from_pem(&text) {
        Ok(der) => assert_eq!(from_pem(&pem(&der)), Ok(der)),
        Err(error) => check_error(&error, error.code(), "pem."),
    }
}

/// Parses reattach records.
pub fn reattach(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match parse_map(&text) {
        Ok(records) => {
            for (name, record) in records {
                let again = parse_map(&record.to_json(&name));
                assert_eq!(again, Ok([(name, record)].into()));
            }
        }
        Err(error) => check_error(&error, error.code(), "reattach."),
    }
}

/// Parses a plugin's entire standard error.
pub fn stderr_lines(data: &[u8]) {
    let mut parser = StderrParser::new();
    for line in data.split(|byte| *byte == b'\n') {
        let entry = parser.line(line);
        match entry.kind {
            Kind::Structured => check_record(entry),
            Kind::Crash(_) | Kind::CrashDetail(_) => {
                assert_eq!(entry.record.level, Level::Error);
                check_whole(&entry, line);
            }
            Kind::Json | Kind::Plain => {
                assert_eq!(entry.record.level, Level::Debug);
                check_whole(&entry, line);
            }
            _ => check_whole(&entry, line),
        }
    }
}

/// Output that is not a log record arrives unchanged.
fn check_whole(entry: &Entry, line: &[u8]) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    assert_eq!(entry.record.message, String::from_utf8_lossy(line));
    assert_eq!(entry.record.fields, []);
}

/// A log record that was parsed is printed as one that parses to the same record.
fn check_record(entry: Entry) {
    let printed = entry.record.to_json_line();
    assert!(!printed.contains('\n'), "a record is one line: {printed:?}");
    let again = StderrParser::new().line(printed.as_bytes());
    // Printing renames a single member: a module that was not text.
    if !entry.record.fields.iter().any(|(name, _)| name == "@module") {
        assert_eq!(again, entry);
    }
}

/// An error has a code, and prints as one short line that begins in lower case and has no control
/// characters.
fn check_error(error: &dyn Error, code: &str, prefix: &str) {
    assert!(code.starts_with(prefix), "{code}");
    let mut next = Some(error);
    while let Some(error) = next {
        let shown = error.to_string();
        assert!(!shown.contains(char::is_control), "{shown:?}");
        assert!(shown.starts_with(char::is_lowercase), "{shown:?}");
        assert!(shown.len() < 16_384, "{} bytes", shown.len());
        next = error.source();
    }
}
