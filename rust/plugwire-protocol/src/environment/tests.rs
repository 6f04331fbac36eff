use std::collections::HashMap;
use std::ffi::OsString;

use proptest::prelude::*;

use super::*;

const COOKIE: MagicCookie<'_> = MagicCookie::new("GREETER_COOKIE", "hello");

fn read(variables: &[(&str, &str)]) -> Result<PluginEnvironment, CookieError> {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    PluginEnvironment::read(COOKIE, |name| variables.get(name).map(|value| (*value).to_owned()))
}

fn read_with(name: &str, value: &str) -> PluginEnvironment {
    read(&[(COOKIE.key, COOKIE.value), (name, value)]).expect("the cookie is right")
}

fn strings(pairs: &[(&str, &str)]) -> Vec<(String, OsString)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect()
}

#[test]
fn a_host_sends_the_cookie_versions_and_ports_by_default() {
    assert_eq!(
        HostEnvironment::new(COOKIE, &[1, 2]).variables(),
        strings(&[
            ("GREETER_COOKIE", "hello"),
            ("PLUGIN_PROTOCOL_VERSIONS", "1,2"),
            ("PLUGIN_MIN_PORT", "10000"),
            ("PLUGIN_MAX_PORT", "25000"),
        ])
    );
}

#[test]
fn everything_else_is_sent_only_if_it_is_on() {
    let environment = HostEnvironment::new(COOKIE, &[7])
        .with_ports(None)
        .with_multiplex(true)
        .with_client_certificate_pem(Some("a certificate\n"))
        .with_socket_group(Some("users"))
        .with_socket_dir(Some("/run/plugins"));
    assert_eq!(
        environment.variables(),
        strings(&[
            ("GREETER_COOKIE", "hello"),
            ("PLUGIN_PROTOCOL_VERSIONS", "7"),
            ("PLUGIN_MULTIPLEX_GRPC", "true"),
            ("PLUGIN_CLIENT_CERT", "a certificate\n"),
            ("PLUGIN_UNIX_SOCKET_GROUP", "users"),
            ("PLUGIN_UNIX_SOCKET_DIR", "/run/plugins"),
        ])
    );
}

#[test]
fn every_variable_but_the_cookie_is_known_as_the_protocols() {
    let environment = HostEnvironment::new(COOKIE, &[1])
        .with_multiplex(true)
        .with_client_certificate_pem(Some("x"))
        .with_socket_group(Some("x"))
        .with_socket_dir(Some("x"));
    let variables = environment.variables();
    let names: Vec<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 8);
    for name in names {
        assert_eq!(is_protocol_variable(name), name != COOKIE.key, "{name}");
    }
    assert!(!is_protocol_variable("PLUGIN_SOMETHING_OF_THE_USER"));
}

#[test]
fn a_clean_environment_has_a_short_list() {
    for name in ["PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"] {
        assert!(is_inherited_by_default(name), "{name}");
    }
    for name in ["AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "PATHS", "path", "LANGUAGE", ""] {
        assert!(!is_inherited_by_default(name), "{name}");
    }
}

#[test]
fn a_plugin_wants_its_cookie() {
    let key = || COOKIE.key.to_owned();
    assert_eq!(read(&[]), Err(CookieError::Missing { key: key() }));
    for got in ["", "hello ", "HELLO"] {
        assert_eq!(
            read(&[(COOKIE.key, got)]),
            Err(CookieError::Wrong {
                key: key(),
                got: got.to_owned(),
                expected: COOKIE.value.to_owned()
            })
        );
    }
    assert!(read(&[(COOKIE.key, COOKIE.value)]).is_ok());
}

#[test]
fn a_cookie_with_an_empty_part_is_the_authors_fault() {
    for (key, value) in [("", "hello"), ("GREETER_COOKIE", ""), ("", "")] {
        // Fails even if the environment matches.
        let error =
            PluginEnvironment::read(MagicCookie::new(key, value), |_| Some(value.to_owned()));
        let expected = CookieError::Misconfigured { key: key.to_owned(), value: value.to_owned() };
        assert_eq!(error, Err(expected));
    }
}

#[test]
fn a_person_is_told_in_three_lines_what_to_do() {
    let missing = read(&[]).expect_err("there is no cookie").explanation();
    let wrong = read(&[(COOKIE.key, "x")]).expect_err("the cookie is wrong").explanation();
    let misconfigured = CookieError::Misconfigured { key: String::new(), value: String::new() };
    assert_eq!(missing, wrong);
    assert_ne!(missing, misconfigured.explanation());
    for text in [missing, misconfigured.explanation()] {
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("plugin") && !text.ends_with('\n'));
    }
}

#[test]
fn nothing_but_the_cookie_means_defaults() {
    assert_eq!(
        read(&[(COOKIE.key, COOKIE.value)]),
        Ok(PluginEnvironment {
            offered_versions: vec![],
            skipped_versions: vec![],
            ports: Ok(None),
            multiplex_asked: false,
            multiplex: false,
            client_certificate_pem: None,
            socket_group: None,
            socket_dir: None,
        })
    );
}

#[test]
fn an_empty_variable_is_an_absent_one() {
    let names = [
        PLUGIN_CLIENT_CERT,
        PLUGIN_MAX_PORT,
        PLUGIN_MIN_PORT,
        PLUGIN_MULTIPLEX_GRPC,
        PLUGIN_PROTOCOL_VERSIONS,
        PLUGIN_UNIX_SOCKET_DIR,
        PLUGIN_UNIX_SOCKET_GROUP,
    ];
    let absent = read(&[(COOKIE.key, COOKIE.value)]).expect("the cookie is right");
    for name in names {
        assert_eq!(read_with(name, ""), absent, "{name}");
    }
}

#[test]
fn entries_that_are_no_versions_are_skipped_and_kept_as_evidence() {
    let environment = read_with(PLUGIN_PROTOCOL_VERSIONS, "3,x,, 4,+5,06,-1,4294967296,\x1b");
    assert_eq!(environment.offered_versions, [3, 5, 6]);
    assert_eq!(environment.skipped_versions, ["x", "", " 4", "-1", "4294967296", "\\u{1b}"]);
}

#[test]
fn multiplexing_is_mentioned_by_any_value_and_wanted_by_true_ones() {
    for (value, multiplex) in [("true", true), ("1", true), ("false", false), ("yes", false)] {
        let environment = read_with(PLUGIN_MULTIPLEX_GRPC, value);
        assert!(environment.multiplex_asked, "{value}");
        assert_eq!(environment.multiplex, multiplex, "{value}");
    }
}

#[test]
fn ports_are_a_range_or_any() {
    let ports = |min: &str, max: &str| {
        let variables =
            [(COOKIE.key, COOKIE.value), (PLUGIN_MIN_PORT, min), (PLUGIN_MAX_PORT, max)];
        read(&variables).expect("the cookie is right").ports
    };
    assert_eq!(ports("10000", "25000"), Ok(Some(PortRange::default())));
    assert_eq!(ports("1", "1"), PortRange::new(1, 1).map(Some));
    assert_eq!(ports("", ""), Ok(None));
    assert_eq!(ports("0", "0"), Ok(None));
    assert_eq!(ports("", "25000"), Ok(None));
    assert_eq!(ports("25000", "10000"), {
        Err(PortRangeError::MinAboveMax { min: 25_000, max: 10_000 })
    });
    assert_eq!(ports("10000", ""), Err(PortRangeError::MinAboveMax { min: 10_000, max: 0 }));
    for got in ["many", "-1", "65536", "1.5", " 1"] {
        let got = || got.to_owned();
        assert_eq!(
            ports(&got(), "1"),
            Err(PortRangeError::NotAPort { variable: PLUGIN_MIN_PORT, got: got() })
        );
        assert_eq!(
            ports("1", &got()),
            Err(PortRangeError::NotAPort { variable: PLUGIN_MAX_PORT, got: got() })
        );
    }
}

#[test]
fn a_range_is_never_empty() {
    assert_eq!(PortRange::new(2, 1), Err(PortRangeError::MinAboveMax { min: 2, max: 1 }));
    let range = PortRange::new(1, 2).expect("it has two ports");
    assert_eq!((range.min(), range.max()), (1, 2));
}

#[cfg(unix)]
#[test]
fn a_directory_that_is_not_utf8_keeps_its_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let directory = OsStr::from_bytes(b"/tmp/\xff\xfe");
    let host = HostEnvironment::new(COOKIE, &[1]).with_socket_dir(Some(directory));
    let variables: HashMap<String, OsString> = host.variables().into_iter().collect();
    let plugin = PluginEnvironment::read(COOKIE, |name| variables.get(name).cloned());
    assert_eq!(plugin.expect("the cookie is right").socket_dir.as_deref(), Some(directory));
}

fn some_text() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[^\0]{1,40}")
}

proptest! {
    #[test]
    fn a_plugin_reads_what_a_host_sets(
        app_versions in prop::collection::vec(any::<u32>(), 0..6),
        ports in prop::option::of((1_u16.., any::<u16>()).prop_map(|(a, b)| {
            PortRange::new(a.min(b.max(1)), a.max(b)).expect("the lesser comes first")
        })),
        multiplex: bool,
        certificate in some_text(),
        group in some_text(),
        dir in some_text(),
    ) {
        let host = HostEnvironment {
            cookie: COOKIE,
            app_versions: &app_versions,
            ports,
            multiplex,
            client_certificate_pem: certificate.as_deref(),
            socket_group: group.as_deref(),
            socket_dir: dir.as_deref().map(AsRef::as_ref),
        };
        let variables: HashMap<String, OsString> = host.variables().into_iter().collect();
        let plugin = PluginEnvironment::read(COOKIE, |name| variables.get(name).cloned());
        prop_assert_eq!(plugin, Ok(PluginEnvironment {
            offered_versions: app_versions,
            skipped_versions: vec![],
            ports: Ok(ports),
            multiplex_asked: multiplex,
            multiplex,
            client_certificate_pem: certificate,
            socket_group: group,
            socket_dir: dir.map(OsString::from),
        }));
    }
}
