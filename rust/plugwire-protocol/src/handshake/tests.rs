use std::error::Error;

use proptest::prelude::*;

use super::{AddressError, Expectation, HandshakeError, HandshakeLine, MultiplexWish, Network};
use crate::certificate::{CertificateFieldError, encode_field};

const EXPECTED: Expectation<'_> = Expectation::new(&[1, 2]);

fn parse(line: &str) -> Result<HandshakeLine, HandshakeError> {
    HandshakeLine::parse(line.as_bytes(), &EXPECTED)
}

fn parse_wishing(multiplex: MultiplexWish, line: &str) -> Result<HandshakeLine, HandshakeError> {
    HandshakeLine::parse(line.as_bytes(), &EXPECTED.with_multiplex(multiplex))
}

fn plain() -> HandshakeLine {
    HandshakeLine::new(1, Network::Unix, "/tmp/p")
}

/// The smallest DER whose field is longer than fifty characters.
fn der() -> Vec<u8> {
    [&[0x30, 37][..], &[0x5a; 37]].concat()
}

fn printed(line: &HandshakeLine) -> String {
    String::from_utf8(line.to_line().expect("it can be announced")).expect("text")
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn a_line_has_six_fields_even_without_a_certificate() {
    assert_eq!(printed(&plain()), "1|1|unix|/tmp/p|grpc|");
}

#[test]
fn the_seventh_field_is_there_only_if_set() {
    let line = |multiplex| printed(&plain().with_multiplex(multiplex));
    assert_eq!(line(true), "1|1|unix|/tmp/p|grpc||true");
    assert_eq!(line(false), "1|1|unix|/tmp/p|grpc||false");
}

#[test]
fn a_certificate_travels_without_padding() {
    let line = plain().with_certificate(der());
    assert_eq!(printed(&line), format!("1|1|unix|/tmp/p|grpc|{}", encode_field(&der())));
    assert_eq!(parse(&printed(&line)), Ok(line));
}

#[test]
fn five_fields_are_enough() {
    assert_eq!(parse("1|1|unix|/tmp/p|grpc"), Ok(plain()));
}

#[test]
fn white_space_around_the_line_does_not_matter() {
    assert_eq!(parse(" \t1|1|unix|/tmp/p|grpc|\r\n"), Ok(plain()));
    assert_eq!(parse("\u{a0}1|1|unix|/tmp/p|grpc\u{85}"), Ok(plain()));
}

#[test]
fn white_space_around_a_field_does() {
    assert_eq!(parse("1 |1|unix|/tmp/p|grpc|"), {
        Err(HandshakeError::CoreVersionNotANumber { got: text("1 ") })
    });
    assert_eq!(parse("1| 1|unix|/tmp/p|grpc|"), {
        Err(HandshakeError::AppVersionNotANumber { got: text(" 1") })
    });
    assert_eq!(parse("1|1|unix|/tmp/p| grpc|"), {
        Err(HandshakeError::ProtocolUnknown { got: text(" grpc") })
    });
    let spaced = HandshakeLine::new(1, Network::Unix, " /tmp/p ");
    assert_eq!(parse("1|1|unix| /tmp/p |grpc|"), Ok(spaced));
}

#[test]
fn fewer_than_four_fields_are_no_handshake_line() {
    for line in ["", "hello", "1|1|unix", "\x1b[31mpanic"] {
        let Err(HandshakeError::Unrecognized { line: evidence }) = parse(line) else {
            panic!("{line:?} was recognised");
        };
        assert_eq!(evidence, line.replace('\x1b', "\\u{1b}"));
    }
}

#[test]
fn an_address_that_is_not_utf8_keeps_its_bytes() {
    let wire = b"1|1|unix|/tmp/\xff\xfe/p|grpc|";
    let line = HandshakeLine::new(1, Network::Unix, &b"/tmp/\xff\xfe/p"[..]);
    assert_eq!(HandshakeLine::parse(wire, &EXPECTED), Ok(line.clone()));
    assert_eq!(line.to_line().as_deref(), Ok(&wire[..]));
}

#[test]
fn other_fields_that_are_not_utf8_are_refused_as_what_they_are() {
    let code = |line: &[u8]| HandshakeLine::parse(line, &EXPECTED).expect_err("it is wrong").code();
    assert_eq!(code(b"\xff|1|unix|/p|grpc|"), "start.unrecognized");
    assert_eq!(code(b"1|\xff|unix|/p|grpc|"), "start.app-version-not-a-number");
    assert_eq!(code(b"1|1|\xff|/p|grpc|"), "start.network");
    assert_eq!(code(b"1|1|tcp|\xff:1|grpc|"), "start.address");
    assert_eq!(code(b"1|1|unix|/p|\xff|"), "start.protocol");
    assert_eq!(code(&[b"1|1|unix|/p|grpc|", &[0xff; 60][..]].concat()), "start.certificate");
    assert_eq!(code(b"\xff\xfe"), "start.unrecognized");
}

#[test]
fn white_space_beside_bytes_that_are_not_text_stays() {
    let line = HandshakeLine::parse(b"\xc2\xa01|1|unix|/p \xff\t", &EXPECTED);
    assert_eq!(line.expect_err("net/rpc").code(), "start.netrpc");
    let line = HandshakeLine::parse(b" 1|1|unix|/p|grpc|\xff \n", &EXPECTED);
    assert_eq!(line, Ok(HandshakeLine::new(1, Network::Unix, "/p")));
}

#[test]
fn what_the_line_cannot_carry_is_not_printed() {
    for path in ["/tmp/a|b", "/tmp/a\nb"] {
        let error = HandshakeLine::new(1, Network::Unix, path).to_line().expect_err("no escaping");
        assert_eq!(error.code(), "address.unannounceable");
    }
}

#[test]
fn versions_may_have_a_sign_and_zeros() {
    assert_eq!(parse("+1|01|unix|/tmp/p|grpc|"), Ok(plain()));
}

#[test]
fn another_core_version_is_named_as_it_was_written() {
    for got in ["2", "02", "0", "-1", "4294967297"] {
        assert_eq!(
            parse(&format!("{got}|1|unix|/tmp/p|grpc|")),
            Err(HandshakeError::CoreVersionUnsupported { got: text(got), supported: 1 })
        );
    }
    for got in ["", "one", "1.0", "0x1", "+", "99999999999999999999"] {
        assert_eq!(
            parse(&format!("{got}|1|unix|/tmp/p|grpc|")),
            Err(HandshakeError::CoreVersionNotANumber { got: text(got) })
        );
    }
}

#[test]
fn an_app_version_must_be_one_that_was_offered() {
    for got in ["3", "0", "-1", "4294967297"] {
        assert_eq!(
            parse(&format!("1|{got}|unix|/tmp/p|grpc|")),
            Err(HandshakeError::AppVersionNotOffered { got: text(got), offered: vec![1, 2] })
        );
    }
    assert_eq!(
        parse("1|v1|unix|/tmp/p|grpc|"),
        Err(HandshakeError::AppVersionNotANumber { got: text("v1") })
    );
}

#[test]
fn app_version_zero_is_a_version() {
    let line = HandshakeLine::parse(b"1|0|unix|/tmp/p|grpc|", &Expectation::new(&[0]));
    assert_eq!(line, Ok(HandshakeLine::new(0, Network::Unix, "/tmp/p")));
}

#[test]
fn a_network_must_be_known() {
    for got in ["udp", "UNIX", "", "tcp6"] {
        assert_eq!(
            parse(&format!("1|1|{got}|/tmp/p|grpc|")),
            Err(HandshakeError::NetworkUnknown { got: text(got) })
        );
    }
}

#[test]
fn a_tcp_address_is_kept_as_it_was_written() {
    let expected = HandshakeLine::new(1, Network::Tcp, ":1234");
    assert_eq!(parse("1|1|tcp|:1234|grpc|"), Ok(expected));
}

#[test]
fn an_address_that_cannot_be_reached_is_refused_with_its_line() {
    let refused = |line: &str, cause| {
        assert_eq!(parse(line), Err(HandshakeError::Address { line: text(line), cause }));
    };
    refused("1|1|unix||grpc|", AddressError::PathEmpty);
    refused(
        "1|1|tcp|example.com:80|grpc|",
        AddressError::HostName { address: text("example.com:80") },
    );
    refused("1|1|tcp|80|grpc|", AddressError::NotHostAndPort { address: text("80") });

    let path = "/".repeat(200);
    let cause = AddressError::PathTooLong { path: path.clone(), length: 200, limit: 107 };
    refused(&format!("1|1|unix|{path}|grpc|"), cause);
}

#[test]
fn net_rpc_has_an_error_of_its_own() {
    for line in ["1|1|unix|/tmp/p", "1|1|unix|/tmp/p|netrpc", "1|1|unix|/tmp/p|netrpc||true"] {
        let error = parse(line).expect_err("net/rpc is not supported");
        assert_eq!(error, HandshakeError::NetRpc { line: text(line) });
        assert!(error.to_string().contains("gRPC protocol only"), "{error}");
    }
}

#[test]
fn another_protocol_is_refused() {
    for got in ["", "gRPC", "http"] {
        assert_eq!(
            parse(&format!("1|1|unix|/tmp/p|{got}|")),
            Err(HandshakeError::ProtocolUnknown { got: text(got) })
        );
    }
}

#[test]
fn a_short_sixth_field_is_not_a_certificate() {
    assert_eq!(parse(&format!("1|1|unix|/tmp/p|grpc|{}", "*".repeat(50))), Ok(plain()));
}

#[test]
fn a_long_sixth_field_must_be_a_certificate() {
    let refused = |field: &str, cause| {
        assert_eq!(
            parse(&format!("1|1|unix|/tmp/p|grpc|{field}")),
            Err(HandshakeError::Certificate { field: text(field), cause })
        );
    };
    refused(&"*".repeat(51), CertificateFieldError::NotBase64 { offset: 0 });
    refused(&format!("{}==", "A".repeat(50)), CertificateFieldError::Padded);
    refused(&"A".repeat(52), CertificateFieldError::NotACertificate { length: 39 });
}

#[test]
fn multiplexing_is_not_looked_at_unless_asked_for() {
    for field in ["true", "false", "banana", ""] {
        assert_eq!(parse(&format!("1|1|unix|/tmp/p|grpc||{field}")), Ok(plain()), "{field}");
    }
}

#[test]
fn multiplexing_is_a_boolean_in_any_spelling_of_go() {
    let answer = |field: &str| {
        parse_wishing(MultiplexWish::Prefer, &format!("1|1|unix|/tmp/p|grpc||{field}"))
            .map(|line| line.multiplex)
    };
    for field in ["1", "t", "T", "TRUE", "true", "True"] {
        assert_eq!(answer(field), Ok(Some(true)), "{field}");
    }
    for field in ["0", "f", "F", "FALSE", "false", "False"] {
        assert_eq!(answer(field), Ok(Some(false)), "{field}");
    }
    for field in ["", "yes", "tRUE", " true x"] {
        assert_eq!(answer(field), Err(HandshakeError::MultiplexNotABool { got: text(field) }));
    }
}

#[test]
fn multiplexing_that_is_required_must_be_there() {
    let require = |line: &str| parse_wishing(MultiplexWish::Require, line);
    let accepted = plain().with_multiplex(true);
    assert_eq!(require("1|1|unix|/tmp/p|grpc||true"), Ok(accepted));
    for line in ["1|1|unix|/tmp/p|grpc", "1|1|unix|/tmp/p|grpc|"] {
        assert_eq!(require(line), Err(HandshakeError::MultiplexMissing { line: text(line) }));
    }
    assert_eq!(
        require("1|1|unix|/tmp/p|grpc||F"),
        Err(HandshakeError::MultiplexRefused { got: text("F") })
    );
    assert_eq!(
        require("1|1|unix|/tmp/p|grpc||banana"),
        Err(HandshakeError::MultiplexNotABool { got: text("banana") })
    );
}

#[test]
fn multiplexing_that_is_preferred_may_be_missing() {
    assert_eq!(parse_wishing(MultiplexWish::Prefer, "1|1|unix|/tmp/p|grpc|"), Ok(plain()));
}

#[test]
fn fields_after_the_seventh_are_skipped() {
    let accepted = plain().with_multiplex(true);
    let line = "1|1|unix|/tmp/p|grpc||true|and|more|||";
    assert_eq!(parse_wishing(MultiplexWish::Require, line), Ok(accepted));
}

/// Each line is wrong in every field from some field on, so its error shows which check came first.
#[test]
fn checks_are_made_from_left_to_right() {
    let bad = "*".repeat(60);
    let code = |line: String| {
        let error = parse_wishing(MultiplexWish::Require, &line).expect_err("it is wrong");
        error.code()
    };
    assert_eq!(code(format!("2|9|udp||http|{bad}|x")), "start.core-version");
    assert_eq!(code(format!("1|9|udp||http|{bad}|x")), "start.app-version");
    assert_eq!(code(format!("1|1|udp||http|{bad}|x")), "start.network");
    assert_eq!(code(format!("1|1|unix||http|{bad}|x")), "start.address");
    assert_eq!(code(format!("1|1|unix|/p|http|{bad}|x")), "start.protocol");
    assert_eq!(code(format!("1|1|unix|/p|grpc|{bad}|x")), "start.certificate");
    assert_eq!(code("1|1|unix|/p|grpc||x".to_owned()), "start.multiplex-not-a-bool");
}

#[test]
fn an_error_names_both_sides_and_keeps_its_source_apart() {
    let versions = parse("1|7|unix|/p|grpc|").expect_err("7 was not offered");
    assert_eq!(
        versions.to_string(),
        "the plugin speaks app protocol version 7, but this host offers 1, 2"
    );
    let address = parse("1|1|unix||grpc|").expect_err("the path is empty");
    let source = address.source().expect("an address error has a source").to_string();
    assert!(!address.to_string().contains(&source), "{address}");
}

#[test]
fn evidence_of_an_endless_line_is_short() {
    let error = parse(&"x".repeat(1 << 20)).expect_err("it is not a handshake line");
    assert!(error.to_string().len() < 1_000);
}

/// A byte that a handshake line can carry in a path.
fn path_byte() -> impl Strategy<Value = u8> {
    (1..=u8::MAX).prop_filter("the line has no escaping", |byte| !b"|\n".contains(byte))
}

prop_compose! {
    fn any_line()(
        app_version: u32,
        address in prop_oneof![
            prop::collection::vec(path_byte(), 1..=107).prop_map(|path| (Network::Unix, path.into())),
            any::<u16>().prop_map(|port| (Network::Tcp, format!(":{port}").into())),
            any::<std::net::SocketAddr>()
                .prop_map(|address| (Network::Tcp, address.to_string().into())),
        ],
        content in prop::option::of(prop::collection::vec(any::<u8>(), 40..=127)),
        multiplex: Option<bool>,
    ) -> HandshakeLine {
        let (network, address) = address;
        let certificate =
            content.map(|bytes| [&[0x30, bytes.len() as u8], bytes.as_slice()].concat());
        HandshakeLine { core_version: 1, app_version, network, address, certificate, multiplex }
    }
}

proptest! {
    #[test]
    fn what_is_printed_parses_back(line in any_line()) {
        let app_versions = [line.app_version];
        let expected = Expectation::new(&app_versions).with_multiplex(MultiplexWish::Prefer);
        prop_assert_eq!(HandshakeLine::parse(&line.to_line().expect("it is fine"), &expected), Ok(line));
    }

    #[test]
    fn errors_are_one_lower_case_line(line in "[12|a-z/*\r\n\t ]{0,80}") {
        for multiplex in [MultiplexWish::No, MultiplexWish::Prefer, MultiplexWish::Require] {
            if let Err(error) = parse_wishing(multiplex, &line) {
                let shown = error.to_string();
                prop_assert!(!shown.contains('\n') && shown.starts_with(char::is_lowercase));
                prop_assert!(error.code().starts_with("start."));
            }
        }
    }
}
