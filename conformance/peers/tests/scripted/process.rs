//! Start, line, output and end.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::stage::{SOON, Stage, Way};

#[tokio::test]
async fn a_healthy_plugin_serves_ends_and_leaves_nothing() {
    for way in [Way::Plain, Way::Tls, Way::Multiplexed] {
        let stage = Stage::start(json!({}), way, &[]);
        let line = stage.line().await;
        assert_eq!((line.core(), line.version(), line.protocol()), (Some(1), Some(1), "grpc"));
        assert_eq!(line.multiplex(), (way == Way::Multiplexed).then_some("true"));
        let host = stage.host().await;
        let echo = host.probe("Echo", json!({ "data": "aGk=" })).await;
        assert_eq!(echo.unwrap()["data"], "aGk=");
        stage.saw("call", json!({ "method": "/plugwire.probe.v1.Probe/Echo" })).await;
        // The answer may or may not come before the end.
        let _ = host.call("/plugin.GRPCController/Shutdown", json!({})).await;
        assert_eq!(stage.exit().await.code(), Some(0), "{way:?}");
        stage.saw("exit", json!({ "status": 0 })).await;
        assert!(stage.cage.processes().is_empty(), "{way:?}");
        assert!(stage.cage.sockets().is_empty(), "{way:?}");
    }
}

#[tokio::test]
async fn what_stands_in_the_script_is_what_stands_on_standard_output() {
    let line = "1|1|unix|";
    let ways = [
        (json!({ "line": "no\n" }), "no\n".to_owned()),
        (json!({ "line": "{core}|{version}|{fill:3}" }), "1|1|xxx".to_owned()),
        (json!({ "before-line": [{ "stdout": "hm\n" }], "line": line }), format!("hm\n{line}")),
        (
            json!({ "after-line": [{ "stdout-hex": "00ff0a" }], "line": line }),
            format!("{line}\0\u{fffd}\n"),
        ),
        (json!({ "before-line": [{ "stdout-line": 5 }], "line": "" }), "xxxxx\n".to_owned()),
    ];
    for (mut script, expected) in ways {
        let acts = script["after-line"].as_array().cloned().unwrap_or_default();
        script["after-line"] = [acts, vec![json!("close-stdout")]].concat().into();
        let stage = Stage::start(script, Way::Plain, &[]);
        assert!(stage.running.stdout.ends(SOON).await);
        assert_eq!(stage.running.stdout.text(), expected);
    }
}

/// A script, further environment, and the resulting version or exit status.
type Start = (Value, &'static [(&'static str, &'static str)], Result<i64, i32>);

#[tokio::test]
async fn it_starts_or_refuses_as_the_environment_and_the_script_say() {
    const COOKIE: &str = "PLUGWIRE_PROBE";
    const VERSIONS: &str = "PLUGIN_PROTOCOL_VERSIONS";
    let two = json!([1, 3]);
    let rule =
        |name: &str, value: Value| json!({ "versions": two, "environment": { name: value } });
    let ways: [Start; 16] = [
        (json!({}), &[(COOKIE, "other")], Err(1)),
        (json!({}), &[(COOKIE, "")], Err(1)),
        (json!({ "cookie": { "exit": 0 } }), &[(COOKIE, "")], Err(0)),
        (json!({ "cookie": { "unchecked": true } }), &[(COOKIE, "")], Ok(1)),
        (json!({ "cookie": { "any-value": true } }), &[(COOKIE, "other")], Ok(1)),
        (json!({ "cookie": { "any-value": true } }), &[(COOKIE, "")], Err(1)),
        (json!({ "versions": two }), &[(VERSIONS, "3,x,1")], Ok(3)),
        (json!({ "versions": two }), &[(VERSIONS, "2")], Ok(1)),
        (rule("version", json!("lowest")), &[(VERSIONS, "3,1")], Ok(1)),
        (rule("version", json!("first")), &[(VERSIONS, "1,3")], Ok(1)),
        (rule("version", json!("last")), &[(VERSIONS, "3,1")], Ok(1)),
        (rule("version", json!("own-highest")), &[(VERSIONS, "1")], Ok(3)),
        (rule("dies-of-bad-version", json!(true)), &[(VERSIONS, "3,x")], Err(1)),
        (rule("falls-back-to-highest", json!(true)), &[(VERSIONS, "2")], Ok(3)),
        (rule("dies-without-common-version", json!(true)), &[(VERSIONS, "2")], Err(1)),
        (rule("dies-of-unknown-variable", json!(true)), &[("PLUGIN_X", "1")], Err(1)),
    ];
    for (script, environment, expected) in ways {
        let stage = Stage::start(script.clone(), Way::Plain, environment);
        match expected {
            Ok(version) => assert_eq!(stage.line().await.version(), Some(version), "{script}"),
            Err(status) => {
                assert_eq!(stage.exit().await.code(), Some(status), "{script}");
                assert_eq!(stage.running.stdout.total(), 0, "{script}");
                stage.saw("refused", json!({})).await;
            }
        }
    }
}

#[tokio::test]
async fn acts_end_it_where_they_stand() {
    let stage = Stage::start(json!({ "before-line": [{ "exit": 7 }] }), Way::Plain, &[]);
    assert_eq!(stage.exit().await.code(), Some(7));
    assert_eq!(stage.running.stdout.total(), 0);
    stage.saw("exit", json!({ "status": 7 })).await;

    let stage = Stage::start(json!({ "after-line": [{ "signal": "SIGKILL" }] }), Way::Plain, &[]);
    assert_eq!(stage.exit().await.signal(), Some(9));
    stage.saw("signal-self", json!({ "signal": "SIGKILL" })).await;

    let stage = Stage::start(json!({ "life-ms": 100, "line": "" }), Way::Plain, &[]);
    assert_eq!(stage.exit().await.code(), Some(71));
    stage.saw("life-over", json!({})).await;
}

#[tokio::test]
async fn floods_are_as_large_as_they_say_and_block_nobody() {
    let script = json!({ "after-line": [{ "stderr-flood": 300_000 }, { "stderr-line": 200_000 }] });
    let stage = Stage::start(script, Way::Plain, &[]);
    let host = stage.host().await;
    stage.saw("wrote", json!({ "to": "stderr", "bytes": 200_001 })).await;
    assert!(host.probe("Echo", json!({ "data": "aGk=" })).await.is_ok());
    let log = stage.running.stderr.total();
    // The one line of the log that a healthy plugin writes is shorter than a kilobyte.
    assert!((500_001..510_000).contains(&log), "{log}");
}

#[tokio::test]
async fn it_ends_by_what_the_script_says_and_by_nothing_else() {
    // Sends SIGINT, then SIGTERM if that did not end it, and expects the exit status or the signal.
    let ways = [
        (json!({}), true, None, Some(15)),
        (json!({ "shutdown": { "sigint-ends": true } }), false, Some(0), None),
        (json!({ "shutdown": { "ignores-sigterm": true }, "life-ms": 6000 }), true, Some(71), None),
    ];
    for (script, goes_on, code, signal) in ways {
        let stage = Stage::start(script.clone(), Way::Plain, &[]);
        stage.line().await;
        stage.running.signal(Signal::INT);
        stage.saw("signal", json!({ "signal": "SIGINT" })).await;
        if goes_on {
            stage.running.signal(Signal::TERM);
        }
        let exit = stage.exit().await;
        assert_eq!((exit.code(), exit.signal()), (code, signal), "{script}");
    }
    let script = json!({ "shutdown": { "stdin-end-ends": true } });
    assert_eq!(Stage::start(script, Way::Plain, &[]).exit().await.code(), Some(0));
}

#[tokio::test]
async fn shutdown_is_what_the_script_makes_of_it() {
    let ways = [
        (json!({ "call": "answers-only" }), Ok(()), None),
        (json!({ "call": "unimplemented" }), Err(()), None),
        (json!({ "call": "answers-then-ends", "exit": 3 }), Ok(()), Some(3)),
        (json!({ "call": "answers-then-ends", "delay-ms": 200 }), Ok(()), Some(0)),
    ];
    for (shutdown, answer, exit) in ways {
        let script = json!({ "shutdown": shutdown });
        let stage = Stage::start(script.clone(), Way::Plain, &[]);
        let host = stage.host().await;
        let answered = host.call("/plugin.GRPCController/Shutdown", json!({})).await;
        assert_eq!(answered.map(drop).map_err(drop), answer, "{script}");
        stage.saw("shutdown", json!({})).await;
        match exit {
            Some(status) => assert_eq!(stage.exit().await.code(), Some(status), "{script}"),
            None => assert!(host.probe("Echo", json!({})).await.is_ok(), "{script}"),
        }
    }
    let stage = Stage::start(json!({ "shutdown": { "keeps-socket": true } }), Way::Plain, &[]);
    let _ = stage.host().await.call("/plugin.GRPCController/Shutdown", json!({})).await;
    stage.exit().await;
    assert_eq!(stage.cage.sockets().len(), 1);
}

#[tokio::test]
async fn a_grandchild_outlives_it_and_holds_what_it_says() {
    for (kind, holds) in [
        ("quiet", false),
        ("holds-pipes", true),
        ("own-session", false),
        ("own-session-holds-pipes", true),
        ("clean-environment", false),
        ("daemon", false),
    ] {
        let script = json!({ "line": "", "after-line": [{ "grandchild": kind }, { "exit": 0 }] });
        let stage = Stage::start(script, Way::Plain, &[]);
        stage.exit().await;
        let pid = stage.saw("grandchild", json!({ "kind": kind })).await["pid"].as_u64().unwrap();
        // Not adopted here, so the working directory does not identify it.
        let found =
            if ["clean-environment", "daemon"].contains(&kind) { vec![] } else { vec![pid as u32] };
        assert_eq!(stage.cage.processes(), found, "{kind}");
        // The absence of an event cannot be awaited, so the test checks a moment later.
        let within = if holds { Duration::from_millis(100) } else { SOON };
        assert_eq!(stage.running.stdout.ends(within).await, !holds, "{kind}");
        assert!(stage.cage.kill().await);
    }
}

#[tokio::test]
async fn it_ends_when_its_host_has_gone_unless_it_outlives_it() {
    for way in [Way::Plain, Way::Multiplexed] {
        let stage = Stage::start(json!({}), way, &[]);
        let host = stage.host().await;
        assert!(host.probe("Echo", json!({})).await.is_ok());
        drop(host);
        if way == Way::Multiplexed {
            assert_eq!(stage.exit().await.code(), Some(0));
            continue;
        }
        // Its standard output is still read: it stays alive and accepts another connection.
        assert!(stage.host().await.probe("Echo", json!({})).await.is_ok());
        let script = json!({ "shutdown": { "last-connection-ends": true } });
        let stage = Stage::start(script, way, &[]);
        drop(stage.host().await);
        assert_eq!(stage.exit().await.code(), Some(0));
    }
    let stage =
        Stage::start(json!({ "shutdown": { "outlives-host": true } }), Way::Multiplexed, &[]);
    drop(stage.host().await);
    stage.saw("session-ended", json!({})).await;
    assert_eq!(stage.running.ended(), None);
}
