//! What the fuzz targets do with their input, one function for each.
//!
//! The fuzzer calls them on nightly; `tests/fuzz.rs` includes this file and calls the same
//! functions on stable, on the corpus and on generated input. Each one takes any bytes, and panics
//! where the crate breaks a promise.

use std::error::Error;

use plugwire_protocol::certificate::{decode_field, encode_field, from_pem, pem};
use plugwire_protocol::environment::{HostEnvironment, MagicCookie, PluginEnvironment};
use plugwire_protocol::handshake::{Expectation, HandshakeLine, MultiplexWish};
use plugwire_protocol::hclog::{Entry, Kind, Level, StderrParser};
use plugwire_protocol::reattach::parse_map;

/// A handshake line, as three hosts read it.
pub fn handshake_line(data: &[u8]) {
    for multiplex in [MultiplexWish::No, MultiplexWish::Prefer, MultiplexWish::Require] {
        let expected = Expectation { app_versions: &[0, 1, 5], multiplex };
        match HandshakeLine::parse(data, &expected) {
            Ok(line) => {
                let printed = line.to_line();
                assert_eq!(HandshakeLine::parse(printed.as_bytes(), &again(multiplex)), Ok(line));
            }
            Err(error) => check_error(&error, error.code(), "start."),
        }
    }
}

/// What understands a printed line: whoever requires multiplexing got a line that has it.
fn again(multiplex: MultiplexWish) -> Expectation<'static> {
    Expectation { app_versions: &[5, 1, 0], multiplex }
}

/// A plugin's environment: variables separated by zero bytes, as the kernel stores them.
pub fn plugin_environment(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let variables: Vec<(&str, &str)> =
        text.split('\0').filter_map(|variable| variable.split_once('=')).collect();
    let lookup = |name: &str| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let cookie = MagicCookie { key: "COOKIE", value: "yes" };
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

/// A host that sends what the plugin understood is understood in the same way.
fn check_environment(cookie: MagicCookie<'_>, read: PluginEnvironment) {
    let host = HostEnvironment {
        cookie,
        app_versions: &read.offered_versions,
        ports: read.ports.clone().unwrap_or_default(),
        multiplex: read.multiplex,
        client_certificate_pem: read.client_certificate_pem.as_deref(),
        socket_group: read.socket_group.as_deref(),
        socket_dir: read.socket_dir.as_deref(),
    };
    let variables = host.variables();
    let lookup = |name: &str| {
        let found = variables.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    };
    let expected = PluginEnvironment {
        skipped_versions: Vec::new(),
        ports: Ok(host.ports),
        multiplex_asked: read.multiplex,
        ..read.clone()
    };
    assert_eq!(PluginEnvironment::read(cookie, lookup), Ok(expected));
}

/// A certificate, in a handshake line's field and in PEM.
pub fn certificate(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match decode_field(&text) {
        // There is one way to write a field, but for the bits that the last character has to spare.
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

/// A reattach record.
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

/// A plugin's whole standard error.
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

/// What is no log record arrives as it was.
fn check_whole(entry: &Entry, line: &[u8]) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    assert_eq!(entry.record.message, String::from_utf8_lossy(line));
    assert_eq!(entry.record.fields, []);
}

/// What was read from a log record is printed as one that is read in the same way.
fn check_record(entry: Entry) {
    let printed = entry.record.to_json_line();
    assert!(!printed.contains('\n'), "a record has one line: {printed:?}");
    let again = StderrParser::new().line(printed.as_bytes());
    // The one member that printing renames: a module that was no text.
    if !entry.record.fields.iter().any(|(name, _)| name == "@module") {
        assert_eq!(again, entry);
    }
}

/// Errors have a code and one short lower-case line that no terminal takes amiss.
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
