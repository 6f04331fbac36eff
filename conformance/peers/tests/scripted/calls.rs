//! Calls, and the services that every plugin has.

use plugwire_conformance_wire::caller::Options;
use plugwire_conformance_wire::messages::{decode_reply, encode_request, method};
use serde_json::{Value, json};

use crate::stage::{Host, SOON, Stage, Way};

const CHECK: &str = method::CHECK;
const ECHO: &str = "/plugwire.probe.v1.Probe/Echo";

#[tokio::test]
async fn calls_end_as_the_script_says() {
    let hello = json!({ "data": "aGk=" });
    let plugin = json!({ "service": "plugin" });
    let other = json!({ "service": "other" });
    for (script, method, request, expected) in [
        (json!({}), ECHO, &hello, "{\"data\":\"aGk=\"}"),
        (json!({}), CHECK, &plugin, "{\"status\":1}"),
        (json!({}), CHECK, &other, "NOT_FOUND"),
        (json!({}), "/a.B/C", &json!({}), "UNIMPLEMENTED"),
        (json!({ "calls": { "status": { ECHO: "DATA_LOSS" } } }), ECHO, &hello, "DATA_LOSS"),
        (json!({ "calls": { "reset": ["/plugwire.probe.v1.Probe/"] } }), ECHO, &hello, "stream"),
        (json!({ "calls": { "no-trailers": true } }), ECHO, &hello, "no grpc-status"),
        (json!({ "calls": { "damages-over": 1 } }), ECHO, &hello, "{\"data\":\"aGg=\"}"),
        (json!({ "calls": { "request-limit": 2 } }), ECHO, &hello, "RESOURCE_EXHAUSTED"),
        (
            json!({ "calls": { "unknown-method": "ok" } }),
            "/a.B/C",
            &json!({}),
            "/a.B/C are unknown",
        ),
        (json!({ "calls": { "unknown-method": "internal" } }), "/a.B/C", &json!({}), "INTERNAL"),
        (json!({ "health": { "name": "other" } }), CHECK, &plugin, "NOT_FOUND"),
        (json!({ "health": { "status": "NOT_SERVING" } }), CHECK, &plugin, "{\"status\":2}"),
        (json!({ "health": { "knows-everything": true } }), CHECK, &other, "{\"status\":1}"),
        (json!({ "health": { "absent": true } }), CHECK, &plugin, "UNIMPLEMENTED"),
    ] {
        let stage = Stage::start(script.clone(), Way::Plain, &[]);
        let got = stage.host().await.call(method, request.clone()).await;
        let got = got.map_or_else(|error| error, |reply| reply.to_string());
        assert!(got.contains(expected), "{script}: {got}");
    }
}

#[tokio::test]
async fn the_process_ends_in_a_call_where_the_script_says() {
    let crash = |method: &str, after: u64| {
        json!({ "calls": { "acts": [
            { "method": method, "after-messages": after, "acts": [{ "stderr": "panic: now\n" }, { "exit": 2 }] }
        ] } })
    };
    let download = "/plugwire.probe.v1.Probe/Download";
    let limit = json!({ "calls": { "request-limit": 2, "too-large": "exits" } });
    for (script, method, request, messages, status) in [
        (crash(ECHO, 0), ECHO, json!({}), 0, 2),
        (crash(download, 2), download, json!({ "count": 5, "size": 3 }), 2, 2),
        (limit, ECHO, json!({ "data": "aGk=" }), 0, 1),
        (
            json!({ "calls": { "dies-of-answer-over": 4 } }),
            download,
            json!({ "count": 1, "size": 9 }),
            0,
            1,
        ),
        (json!({ "calls": { "unknown-method": "exits" } }), "/a.B/C", json!({}), 0, 1),
    ] {
        let stage = Stage::start(script.clone(), Way::Plain, &[]);
        let host = stage.host().await;
        let request = encode_request(method, &request).unwrap();
        let mut call = host.caller.open(method, &Options::default()).await.unwrap();
        call.send(&request).await.unwrap();
        call.finish().unwrap();
        let mut got = 0;
        while let Ok(Some(_)) = tokio::time::timeout(SOON, call.next()).await.unwrap() {
            got += 1;
        }
        assert!(got <= messages, "{script}");
        assert_eq!(stage.exit().await.code(), Some(status), "{script}");
        stage.saw("exit", json!({ "status": status })).await;
    }
}

#[tokio::test]
async fn what_hangs_is_not_answered_and_the_witness_says_so() {
    let mut large = json!({ "calls": { "request-limit": 2, "too-large": "hangs" } });
    for (script, method, event) in [
        (json!({ "calls": { "hang": [ECHO] } }), ECHO, "call-hangs"),
        (json!({ "calls": { "unknown-method": "hangs" } }), "/a.B/C", "call-hangs"),
        (json!({ "health": { "hangs": true } }), CHECK, "health-hangs"),
        (large.take(), ECHO, "too-large"),
    ] {
        let stage = Stage::start(script.clone(), Way::Plain, &[]);
        let host = stage.host().await;
        let mut call = host.caller.open(method, &Options::default()).await.unwrap();
        call.send(&[10, 2, 1, 1]).await.unwrap();
        call.finish().unwrap();
        stage.saw(event, json!({})).await;
        // The connection continues: later calls are answered, and this call is still open.
        let other = "/plugwire.probe.v1.Probe/Inspect";
        assert!(host.call(other, json!({})).await.is_ok(), "{script}");
        assert_eq!(call.status(), None, "{script}");
        call.cancel();
        stage.saw("cancelled", json!({})).await;
    }
}

#[tokio::test]
async fn one_call_at_a_time_and_goaway_are_seen_by_the_caller() {
    for one_at_a_time in [false, true] {
        let script = json!({ "calls": { "one-at-a-time": one_at_a_time } });
        let stage = Stage::start(script, Way::Plain, &[]);
        let host = stage.host().await;
        let hang = "/plugwire.probe.v1.Probe/Hang";
        let mut first = host.caller.open(hang, &Options::default()).await.unwrap();
        first.send(&[]).await.unwrap();
        stage.saw("hang-begun", json!({})).await;
        let mut second = host.caller.open(ECHO, &Options::default()).await.unwrap();
        second.send(&[]).await.unwrap();
        second.finish().unwrap();
        if one_at_a_time {
            stage.saw("call", json!({ "method": ECHO })).await;
            let answered = |seen: &Value| seen["event"] == "answered" && seen["messages"] == 1;
            assert!(!stage.witness().iter().any(answered));
            first.cancel();
        }
        let answer = tokio::time::timeout(SOON, second.next()).await.unwrap();
        assert!(answer.unwrap().is_some());
    }
    let stage = Stage::start(json!({ "calls": { "goaway-after": 1 } }), Way::Plain, &[]);
    let host = stage.host().await;
    assert!(host.probe("Echo", json!({})).await.is_ok());
    assert!(host.probe("Echo", json!({})).await.is_err());
    assert!(stage.host().await.probe("Echo", json!({})).await.is_ok());
}

#[tokio::test]
async fn a_connection_is_cut_without_a_word_and_another_is_served() {
    let hang = "/plugwire.probe.v1.Probe/Hang";
    let stage = Stage::start(json!({ "calls": { "cut": [hang] } }), Way::Plain, &[]);
    let host = stage.host().await;
    assert!(host.probe("Echo", json!({})).await.is_ok());
    let error = host.probe("Hang", json!({})).await.unwrap_err();
    // Neither an RST_STREAM nor a GOAWAY.
    assert!(!error.contains("error received"), "{error}");
    stage.saw("cut", json!({ "connection": "main 1" })).await;
    assert!(host.probe("Echo", json!({})).await.is_err());
    assert!(stage.host().await.probe("Echo", json!({})).await.is_ok());
}

async fn listed(host: &Host, path: &str, questions: usize) -> Result<Vec<String>, String> {
    let options = Options::default();
    let mut call = host.caller.open(path, &options).await.map_err(|error| error.to_string())?;
    let question = encode_request(path, &json!({ "list_services": "" })).unwrap();
    let mut last = Err("no answer".to_owned());
    for _ in 0..questions {
        let _ = call.send(&question).await;
        last = match tokio::time::timeout(SOON, call.next()).await.unwrap() {
            Ok(Some(answer)) => {
                let answer = decode_reply(path, &answer).unwrap();
                let services = answer["list_services_response"]["service"].as_array().unwrap();
                Ok(services.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect())
            }
            Ok(None) => Err(call.status().map(|status| status.to_string()).unwrap_or_default()),
            Err(error) => Err(error.to_string()),
        };
    }
    last
}

#[tokio::test]
async fn reflection_lists_what_the_script_lets_it_list() {
    let (v1, alpha) = (method::REFLECT_V1, method::REFLECT_V1ALPHA);
    let healthy = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "plugin.GRPCBroker",
        "plugin.GRPCController",
        "plugin.GRPCStdio",
        "plugwire.probe.v1.BrokerProbe",
        "plugwire.probe.v1.Probe",
    ];
    let host = |reflection: Value| async move {
        let stage = Stage::start(json!({ "reflection": reflection }), Way::Plain, &[]);
        let host = stage.host().await;
        (stage, host)
    };
    let (_stage, well) = host(json!({})).await;
    for path in [v1, alpha] {
        assert_eq!(listed(&well, path, 2).await.unwrap(), healthy);
    }
    let (_stage, one) = host(json!({ "no-v1": true, "leaves-out": ["plugin.GRPCStdio"] })).await;
    assert!(listed(&one, v1, 1).await.unwrap_err().contains("UNIMPLEMENTED"));
    let names = listed(&one, alpha, 1).await.unwrap();
    assert!(
        !names.contains(&"plugin.GRPCStdio".to_owned()) && !names.contains(&healthy[1].to_owned())
    );
    let (_stage, two) =
        host(json!({ "no-v1alpha": true, "unsorted": true, "one-question": true })).await;
    assert!(listed(&two, alpha, 1).await.unwrap_err().contains("UNIMPLEMENTED"));
    let names = listed(&two, v1, 1).await.unwrap();
    assert!(!names.is_sorted() && names.len() == healthy.len() - 1);
    assert!(listed(&two, v1, 2).await.is_err());
}

/// Collects the two channels until this many bytes have arrived on each.
async fn heard(host: &Host, path: &str, sizes: [usize; 2]) -> Result<[Vec<u8>; 2], String> {
    use base64::Engine as _;
    let options = Options::default();
    let mut call = host.caller.open(path, &options).await.map_err(|error| error.to_string())?;
    call.send(&[]).await.map_err(|error| error.to_string())?;
    call.finish().map_err(|error| error.to_string())?;
    let mut got = [Vec::new(), Vec::new()];
    while got[0].len() < sizes[0] || got[1].len() < sizes[1] {
        let piece = tokio::time::timeout(SOON, call.next()).await.expect("a piece in time");
        let Some(piece) = piece.map_err(|error| error.to_string())? else {
            return Err(call.status().map(|status| status.to_string()).unwrap_or_default());
        };
        let piece = decode_reply(path, &piece).unwrap();
        let data =
            base64::prelude::BASE64_STANDARD.decode(piece["data"].as_str().unwrap()).unwrap();
        assert!(data.len() <= 1024);
        match piece["channel"].as_i64().unwrap() {
            1 => got[0].extend(data),
            2 => got[1].extend(data),
            _ => {}
        }
    }
    Ok(got)
}

#[tokio::test]
async fn what_is_printed_is_heard_as_the_script_lets_it() {
    // "a\n\xff" and "b".
    let print = json!({ "stdout": "YQr/", "stderr": "Yg==" });
    for (stdio, stdout, stderr) in [
        (json!({}), &b"a\n\xff"[..], &b"b"[..]),
        (json!({ "swaps-channels": true }), b"b", b"a\n\xff"),
        (json!({ "all-is-stdout": true }), b"a\n\xffb", b""),
        (json!({ "loses-stdout": true }), b"", b"b"),
        (json!({ "loses-stderr": true }), b"a\n\xff", b""),
        (json!({ "crlf": true }), b"a\r\n\xff", b"b"),
        (json!({ "lossy-utf8": true }), b"a\n\xef\xbf\xbd", b"b"),
        (json!({ "twice": true }), b"a\n\xffa\n\xff", b"bb"),
        (json!({ "unknown-channel-first": true }), b"a\n\xff", b"b"),
        (json!({ "piece": 1 }), b"a\n\xff", b"b"),
        (json!({ "to-descriptors-too": true }), b"a\n\xff", b"b"),
    ] {
        let stage = Stage::start(json!({ "stdio": stdio }), Way::Plain, &[]);
        let host = stage.host().await;
        host.probe("Print", print.clone()).await.unwrap();
        let got = heard(&host, method::STREAM_STDIO, [stdout.len(), stderr.len()]).await.unwrap();
        assert_eq!(got, [stdout, stderr], "{stdio}");
        let printed = stage.running.stdout.text().contains("a\n");
        assert_eq!(printed, stdio["to-descriptors-too"] == true, "{stdio}");
    }
}

#[tokio::test]
async fn stdio_without_a_listener_or_with_two_is_as_the_script_says() {
    let print = json!({ "stdout": "YQ==", "stderr": "" });
    let path = method::STREAM_STDIO;
    for (stdio, error) in [
        (json!({ "absent": true }), "UNIMPLEMENTED"),
        (json!({ "ends-with": "UNAVAILABLE" }), "UNAVAILABLE"),
    ] {
        let stage = Stage::start(json!({ "stdio": stdio }), Way::Plain, &[]);
        let got = heard(&stage.host().await, path, [1, 0]).await;
        assert!(got.unwrap_err().contains(error), "{stdio}");
    }
    let stage = Stage::start(json!({ "stdio": { "loses-unheard": true } }), Way::Plain, &[]);
    let host = stage.host().await;
    host.probe("Print", print.clone()).await.unwrap();
    stage.saw("stdio-lost", json!({ "bytes": 1 })).await;

    let stage = Stage::start(json!({ "stdio": { "blocks-printer": true } }), Way::Plain, &[]);
    let host = stage.host().await;
    let blocked = host.probe("Print", print.clone());
    let unblocked = async {
        stage.saw("printed", json!({})).await;
        heard(&host, path, [1, 0]).await.unwrap()
    };
    let (printed, got) = tokio::join!(blocked, unblocked);
    assert!(printed.is_ok() && got[0] == b"a");

    let stage = Stage::start(
        json!({ "stdio": { "dies-of-second": true, "flood": 3000 } }),
        Way::Plain,
        &[],
    );
    let host = stage.host().await;
    let first = heard(&host, path, [3000, 0]).await.unwrap();
    assert_eq!(first[0].len(), 3072);
    let mut listening = host.caller.open(path, &Options::default()).await.unwrap();
    listening.send(&[]).await.unwrap();
    listening.finish().unwrap();
    let _ = heard(&host, path, [10_000, 0]).await;
    assert_eq!(stage.exit().await.code(), Some(1));
}
