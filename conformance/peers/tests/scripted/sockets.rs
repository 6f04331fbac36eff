//! Listening, the handling of connections, and TLS.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use plugwire_conformance_wire::identity::Identity;
use plugwire_conformance_wire::socket::Address;
use plugwire_conformance_wire::tls::{Tls, Versions};
use plugwire_conformance_wire::trace::Trace;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stage::{Host, SOON, Stage, Way, at};

#[tokio::test]
async fn a_connection_gets_what_the_script_says() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let ways = [
        (json!("close"), "closed-at-once", ""),
        (json!("http1"), "garbage", "HTTP/1.1 400"),
        (json!({ "hex": "6869" }), "garbage", "hi"),
    ];
    for (accept, event, expected) in ways {
        let stage = Stage::start(json!({ "listen": { "accept": accept } }), Way::Plain, &[]);
        let mut io = stage.connect().await;
        let mut got = vec![0; expected.len()];
        tokio::time::timeout(SOON, io.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), expected);
        if expected.is_empty() {
            assert_eq!(tokio::time::timeout(SOON, io.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
        }
        stage.saw(event, json!({ "connection": "main 1" })).await;
    }
    for tcp in [false, true] {
        let script = json!({ "listen": { "accept": "reset", "tcp": tcp } });
        let stage = Stage::start(script, Way::Plain, &[]);
        let mut io = stage.connect().await;
        io.write_all(preface).await.unwrap();
        let read = tokio::time::timeout(SOON, io.read(&mut [0; 1])).await.unwrap();
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        stage.saw("reset", json!({ "read": true })).await;
    }
    let script = json!({ "listen": { "accept": "close", "accept-first": 1 } });
    let stage = Stage::start(script, Way::Plain, &[]);
    let _ = stage.connect().await.read(&mut [0; 1]).await;
    assert!(Host::echo_over(stage.connect().await, &Trace::new()).await.is_ok());
}

#[tokio::test]
async fn it_listens_where_and_when_the_script_says() {
    let stage = Stage::start(json!({ "listen": { "never": true } }), Way::Plain, &[]);
    let line = stage.line().await;
    assert!(Address::parse("unix", line.address()).unwrap().connect().await.is_err());
    stage.saw("never-listens", json!({})).await;

    let began = Instant::now();
    let stage = Stage::start(json!({ "listen": { "late-ms": 300 } }), Way::Plain, &[]);
    let address = Address::parse("unix", stage.line().await.address()).unwrap();
    assert!(address.connect().await.is_err() || began.elapsed() >= Duration::from_millis(300));
    let line = stage.saw("line", json!({})).await;
    let listening = stage.saw("listening", json!({ "late-ms": 300 })).await;
    assert!(at(&listening) >= at(&line) + 300_000);
    assert!(address.connect().await.is_ok());

    let script = json!({ "listen": { "connections": 1 } });
    let stage = Stage::start(script, Way::Plain, &[]);
    let first = stage.connect().await;
    stage.saw("stopped-listening", json!({ "after": 1 })).await;
    let address = Address::parse("unix", stage.line().await.address()).unwrap();
    assert!(address.connect().await.is_err());
    drop(first);

    let script = json!({ "listen": { "empty-connection-ends": true } });
    let stage = Stage::start(script, Way::Plain, &[]);
    drop(stage.connect().await);
    assert_eq!(stage.exit().await.code(), Some(0));
}

#[tokio::test]
async fn folder_group_mode_and_ports_are_the_hosts_unless_the_script_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let group = rustix::process::getgid().as_raw().to_string();
    let given = [("PLUGIN_UNIX_SOCKET_DIR", path), ("PLUGIN_UNIX_SOCKET_GROUP", group.as_str())];
    for (script, inside, mode) in [
        (json!({}), true, Some(0o660)),
        (json!({ "listen": { "mode": 0o600 } }), true, Some(0o600)),
        (json!({ "environment": { "ignores-socket-dir": true } }), false, Some(0o660)),
    ] {
        let stage = Stage::start(script.clone(), Way::Plain, &given);
        let line = stage.line().await;
        assert_eq!(line.address().starts_with(path), inside, "{script}");
        let found = std::fs::metadata(line.address()).unwrap().permissions().mode() & 0o777;
        assert_eq!(Some(found), mode, "{script}");
        stage.cage.kill().await;
    }
    let ports = [("PLUGIN_MIN_PORT", "20000"), ("PLUGIN_MAX_PORT", "10000")];
    let refused = Stage::start(json!({ "listen": { "tcp": true } }), Way::Plain, &ports);
    assert_eq!(refused.exit().await.code(), Some(1));
    let rule = json!({ "listen": { "tcp": true }, "environment": { "swaps-ports": true } });
    let stage = Stage::start(rule, Way::Plain, &ports);
    let line = stage.line().await;
    let port: u16 = line.address().rsplit_once(':').unwrap().1.parse().unwrap();
    assert!((10_000..=20_000).contains(&port), "{port}");
}

/// How a peer tries to connect.
type Attempt = fn(Tls) -> Tls;

#[tokio::test]
async fn tls_lets_in_whom_the_script_lets_in() {
    let right: Attempt = |tls| tls;
    let nobody: Attempt = |tls| Tls { present: None, ..tls };
    let another: Attempt = |tls| Tls { present: Some(Identity::new()), ..tls };
    let thief: Attempt = |tls| {
        let stolen = tls.present.map(|identity| identity.with_key_of(&Identity::new()));
        Tls { present: stolen, ..tls }
    };
    let only12: Attempt = |tls| Tls { versions: Versions::Only12, ..tls };
    let only13: Attempt = |tls| Tls { versions: Versions::Only13, ..tls };
    let ways = [right, nobody, another, thief, only12, only13];
    for (tls, expected) in [
        (json!({}), [true, false, false, false, true, true]),
        (json!({ "client": "optional" }), [true, true, false, false, true, true]),
        (json!({ "client": "any" }), [true, false, true, false, true, true]),
        (json!({ "client": "unproved" }), [true, false, false, true, true, true]),
        (json!({ "client": "not-asked" }), [true; 6]),
        (json!({ "versions": "1.2" }), [true, false, false, false, true, false]),
        (json!({ "versions": "1.3" }), [true, false, false, false, false, true]),
        (json!({ "serves": "another" }), [false; 6]),
        (json!({ "serves": "announced-with-another-key" }), [false; 6]),
        (json!({ "demands-server-name": "other" }), [false; 6]),
        (json!({ "cuts-after-handshake": true }), [false; 6]),
        (json!({ "plaintext": true }), [false; 6]),
        (json!({ "identity": "p521" }), [true, false, false, false, true, true]),
        (json!({ "identity": "expired" }), [true, false, false, false, true, true]),
    ] {
        let stage = Stage::start(json!({ "tls": tls }), Way::Tls, &[]);
        let mut got = Vec::new();
        for way in ways {
            // With TLS 1.3 only an answer proves that the plugin accepted the host's certificate.
            got.push(match stage.shake(way).await {
                Ok(io) => Host::echo_over(io, &stage.trace).await.is_ok(),
                Err(_) => false,
            });
        }
        assert_eq!(got, expected, "{tls}");
    }
}

#[tokio::test]
async fn plaintext_is_refused_unless_the_script_takes_it() {
    for (tls, taken) in [
        (json!({}), false),
        (json!({ "plaintext-too": true }), true),
        (json!({ "plaintext": true }), true),
        (json!({ "never": true }), true),
    ] {
        let stage = Stage::start(json!({ "tls": tls }), Way::Tls, &[]);
        let echo = Host::echo_over(stage.connect().await, &stage.trace).await;
        assert_eq!(echo.is_ok(), taken, "{tls}: {echo:?}");
        let certificate = stage.line().await.certificate().unwrap();
        assert_eq!(certificate.is_none(), tls["never"] == true, "{tls}");
    }
    let stage = Stage::start(json!({ "tls": { "unasked": true } }), Way::Plain, &[]);
    let io = stage.shake(|tls| tls).await.unwrap();
    assert!(Host::echo_over(io, &stage.trace).await.is_ok());
}
