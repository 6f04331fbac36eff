//! Brokered connections, on sockets and in a multiplexed session.

use std::time::{Duration, Instant};

use plugwire_conformance_wire::messages::{ConnInfo, Knock};
use plugwire_conformance_wire::socket::{Address, Io, Listener};
use serde_json::{Value, json};

use crate::stage::{Calls, Host, SOON, Stage, Way, at};

async fn connect(info: &ConnInfo) -> Io {
    Address::parse(&info.network, &info.address).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn what_it_accepts_is_announced_and_served_as_the_script_says() {
    for (broker, id, served) in [
        (json!({}), 1, true),
        (json!({ "wrong-id": 100 }), 101, true),
        (json!({ "behind": "closes" }), 1, false),
        (json!({ "behind": "garbage" }), 1, false),
    ] {
        let stage = Stage::start(json!({ "broker": broker }), Way::Plain, &[]);
        let mut host = stage.host().await;
        assert_eq!(host.broker_probe("Offer", json!({})).await.unwrap()["id"], 1);
        let info = host.hear().await;
        assert_eq!(info.service_id, id, "{broker}");
        let echo = Host::echo_over(connect(&info).await, &stage.trace).await;
        assert_eq!(echo.ok().flatten().as_deref(), served.then_some("1"), "{broker}");
        stage.saw("accepted", json!({ "id": 1 })).await;
    }
    let stage = Stage::start(json!({ "broker": { "behind": "silent" } }), Way::Plain, &[]);
    let mut host = stage.host().await;
    host.broker_probe("Offer", json!({})).await.unwrap();
    let _silent = connect(&host.hear().await).await;
    stage.saw("silent", json!({ "id": 1 })).await;
}

#[tokio::test]
async fn announcements_are_made_up_as_the_script_says() {
    let script = json!({ "broker": { "accepts": [7], "times": 2, "announces": [
        { "id": 8, "network": "unix", "address": "{folder}/nothing" },
        { "id": 9, "network": "tcp", "address": "{tcp}" },
    ] } });
    let stage = Stage::start(script, Way::Plain, &[]);
    let mut host = stage.host().await;
    let nothing = host.hear().await;
    let temporary = stage.cage.temporary();
    assert_eq!(nothing.address, temporary.join("nothing").to_str().unwrap());
    let elsewhere = host.hear().await;
    drop(connect(&elsewhere).await);
    stage.saw("elsewhere", json!({ "address": elsewhere.address })).await;
    let (one, two) = (host.hear().await, host.hear().await);
    assert_eq!((one.service_id, &one), (7, &two));
    let echo = Host::echo_over(connect(&one).await, &stage.trace).await;
    assert_eq!(echo.unwrap().as_deref(), Some("7"));

    for (broker, event) in [
        (json!({ "never-announces": true }), "not-announced"),
        (json!({ "main-socket": true }), "announced"),
    ] {
        let stage = Stage::start(json!({ "broker": broker }), Way::Plain, &[]);
        let host = stage.host().await;
        host.broker_probe("Offer", json!({})).await.unwrap();
        let seen = stage.saw(event, json!({ "id": 1 })).await;
        let main = stage.line().await.address().to_owned();
        assert_eq!(seen["address"] == main.as_str(), event == "announced");
    }
    let stage = Stage::start(json!({ "broker": { "listens-late-ms": 300 } }), Way::Plain, &[]);
    let mut host = stage.host().await;
    let offering = host.calls();
    let began = Instant::now();
    let offered = tokio::spawn(async move { offering.broker_probe("Offer", json!({})).await });
    let info = host.hear().await;
    let address = Address::parse(&info.network, &info.address).unwrap();
    assert!(address.connect().await.is_err() || began.elapsed() >= Duration::from_millis(300));
    let announced = stage.saw("announced", json!({ "id": 1 })).await;
    let listening = stage.saw("listening", json!({ "id": 1 })).await;
    assert!(at(&listening) >= at(&announced) + 300_000);
    offered.await.unwrap().unwrap();
    assert!(address.connect().await.is_ok());
}

/// Makes the plugin dial an id that this side serves or not, and returns its report.
async fn dial_back(host: &Calls, id: u32) -> Value {
    host.broker_probe("DialBack", json!({ "id": id, "data": "aGk=" })).await.unwrap()
}

/// Echoes on each connection.
async fn serve(listener: Listener) {
    use plugwire_conformance_wire::answerer::{Handling, Incoming, Limits, serve};
    fn echo(mut call: Incoming) -> Handling {
        Box::pin(async move {
            if let Ok(Some(message)) = call.next().await {
                call.reply(&message).await;
            }
        })
    }
    while let Ok(io) = listener.accept().await {
        let trace = plugwire_conformance_wire::trace::Trace::new();
        let service = std::sync::Arc::new(echo);
        let _ = serve(io, service, &Limits::default(), "host", &trace).await;
    }
}

#[tokio::test]
async fn it_dials_what_was_announced_as_the_script_says() {
    for (broker, first, second) in [
        (json!({}), true, true),
        (json!({ "dials-once": true, "patience-ms": 50 }), true, false),
        (json!({ "never-dials": true, "patience-ms": 50 }), false, false),
        (json!({ "forgets-early": true, "patience-ms": 50 }), false, false),
    ] {
        let stage = Stage::start(json!({ "broker": broker }), Way::Plain, &[]);
        let mut host = stage.host().await;
        let path = stage.cage.folder().join("host");
        let listener = Listener::unix(&path).unwrap();
        let task = tokio::spawn(serve(listener));
        for (round, expected) in [first, second].into_iter().enumerate() {
            host.say(ConnInfo {
                service_id: 5,
                network: "unix".to_owned(),
                address: path.to_str().unwrap().to_owned(),
                knock: None,
            })
            .await;
            // Arrives before the dial: too early for a plugin that forgets announcements.
            let heard = || stage.witness().iter().filter(|seen| seen["event"] == "heard").count();
            while heard() <= round {
                tokio::task::yield_now().await;
            }
            let report = dial_back(&host.calls(), 5).await;
            assert_eq!(report["dialled"], expected, "{broker}: {report}");
            let back = if expected { "aGk=" } else { "" };
            assert_eq!(report["data"], back, "{broker}: {report}");
        }
        task.abort();
    }
    for (patience, believes) in [(50, false), (50, true)] {
        let script =
            json!({ "broker": { "patience-ms": patience, "believes-in-unknown": believes } });
        let stage = Stage::start(script, Way::Plain, &[]);
        assert_eq!(dial_back(&stage.host().await.calls(), 77).await["dialled"], believes);
    }
}

#[tokio::test]
async fn the_brokers_stream_is_there_and_ends_as_the_script_says() {
    for (broker, status) in [
        (json!({ "absent": true }), "UNIMPLEMENTED"),
        (json!({ "ends-with": "UNAVAILABLE" }), "UNAVAILABLE"),
        (json!({ "ends-after": 1 }), "OK"),
    ] {
        let stage = Stage::start(json!({ "broker": broker }), Way::Plain, &[]);
        let mut host = stage.host().await;
        let _ = host.broker.send(&[]).await;
        let ended = tokio::time::timeout(SOON, host.broker.next()).await.unwrap();
        assert_eq!(ended, Ok(None), "{broker}");
        assert_eq!(host.broker.status().unwrap().name(), status, "{broker}");
    }
}

#[tokio::test]
async fn a_knock_is_answered_as_the_script_says() {
    let answered = |id: u32, error: &str| ConnInfo {
        service_id: id,
        knock: Some(Knock { knock: true, ack: true, error: error.to_owned() }),
        ..ConnInfo::default()
    };
    for (mux, answer, id) in [
        (json!({}), answered(1, ""), Some("1")),
        (json!({ "knock": { "refuses": "full" } }), answered(1, "full"), None),
        (json!({ "knock": "wrong-id" }), answered(1001, ""), None),
        (json!({ "main-only": true }), answered(1, ""), None),
        (json!({ "ack-late-ms": 50 }), answered(1, ""), Some("1")),
    ] {
        let stage = Stage::start(json!({ "mux": mux }), Way::Multiplexed, &[]);
        let mut host = stage.host().await;
        host.broker_probe("Offer", json!({})).await.unwrap();
        host.knock(1).await;
        assert_eq!(host.hear().await, answer, "{mux}");
        let stream = host.session.as_ref().unwrap().open();
        let echo = Host::echo_over(Box::new(stream), &stage.trace).await;
        assert_eq!(echo.unwrap().as_deref(), id, "{mux}");
    }
    let stage = Stage::start(json!({ "mux": { "knock": "never" } }), Way::Multiplexed, &[]);
    let mut host = stage.host().await;
    host.broker_probe("Offer", json!({})).await.unwrap();
    host.knock(1).await;
    stage.saw("knock-unanswered", json!({ "id": 1 })).await;
}

#[tokio::test]
async fn a_knock_for_what_is_not_accepted_waits_unless_the_script_answers_it() {
    let stage = Stage::start(json!({}), Way::Multiplexed, &[]);
    let mut host = stage.host().await;
    host.knock(1).await;
    stage.saw("knock-unanswered", json!({ "id": 1 })).await;
    host.broker_probe("Offer", json!({})).await.unwrap();
    assert!(host.hear().await.knock.unwrap().ack);

    for (mux, released) in
        [(json!({ "acks-everything": true }), false), (json!({ "acks-released": true }), true)]
    {
        let stage = Stage::start(json!({ "mux": mux }), Way::Multiplexed, &[]);
        let mut host = stage.host().await;
        if released {
            host.broker_probe("Offer", json!({})).await.unwrap();
            host.broker_probe("Release", json!({ "id": 1 })).await.unwrap();
        }
        host.knock(1).await;
        assert!(host.hear().await.knock.unwrap().ack, "{mux}");
    }
    let stage = Stage::start(json!({ "mux": { "needs-no-knock": true } }), Way::Multiplexed, &[]);
    let host = stage.host().await;
    host.broker_probe("Offer", json!({})).await.unwrap();
    let stream = host.session.as_ref().unwrap().open();
    let echo = Host::echo_over(Box::new(stream), &stage.trace).await;
    assert_eq!(echo.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn it_knocks_before_it_dials_unless_the_script_says_otherwise() {
    // What it waits for, what the host answers, and whether a stream comes.
    for (mux, knocks, refuses, opens) in [
        (json!({}), true, Some(""), true),
        (json!({}), true, Some("no"), false),
        (json!({ "ignores-refusal": true }), true, Some("no"), true),
        (json!({ "ignores-answer": true }), true, None, true),
        (json!({ "dials-without-knock": true }), false, None, true),
    ] {
        let stage = Stage::start(json!({ "mux": mux }), Way::Multiplexed, &[]);
        let mut host = stage.host().await;
        let calls = host.calls();
        let dialled = tokio::spawn(async move { dial_back(&calls, 9).await });
        if knocks {
            let heard = host.hear().await;
            let knock = heard.knock.unwrap();
            assert_eq!((heard.service_id, knock.knock, knock.ack), (9, true, false), "{mux}");
            if let Some(error) = refuses {
                let knock = Some(Knock { knock: true, ack: true, error: error.to_owned() });
                let answer = ConnInfo { service_id: 9, knock, ..ConnInfo::default() };
                host.say(answer).await;
            }
        }
        if opens {
            let session = host.session.as_ref().unwrap();
            let stream = tokio::time::timeout(SOON, session.accept()).await.unwrap();
            drop(stream.expect("a stream"));
            stage.saw("stream-opened", json!({ "id": 9 })).await;
        } else {
            let report = dialled.await.unwrap();
            assert_eq!(report["dialled"], false, "{mux}");
            stage.saw("dial-refused", json!({ "id": 9 })).await;
        }
    }
}

#[tokio::test]
async fn the_session_is_abused_as_the_script_says() {
    for (mux, how) in [
        // It may end normally, or with a reset.
        (json!({ "at-knock": "cut" }), ""),
        (json!({ "at-knock": "go-away" }), "go away"),
        (json!({ "at-knock": { "hex": "09000000000000000000 0000" } }), "not yamux"),
    ] {
        let stage = Stage::start(json!({ "mux": mux }), Way::Multiplexed, &[]);
        let mut host = stage.host().await;
        host.knock(1).await;
        let session = host.session.unwrap();
        let ended = tokio::time::timeout(SOON, session.ended()).await.unwrap();
        assert!(ended.contains(how), "{mux}: {ended}");
        stage.saw("session-abused", json!({})).await;
    }
    let script = json!({ "mux": { "acks-unasked": 2, "opens-unasked": 3 } });
    let stage = Stage::start(script, Way::Multiplexed, &[]);
    let mut host = stage.host().await;
    assert_eq!(host.hear().await.service_id, 1000);
    assert_eq!(host.hear().await.service_id, 1001);
    let session = host.session.as_ref().unwrap();
    for _ in 0..3 {
        tokio::time::timeout(SOON, session.accept()).await.unwrap().expect("a stream");
    }
}
