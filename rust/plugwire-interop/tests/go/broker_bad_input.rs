//! Peers that misbehave at the broker. Each dial ends with a typed error, and the main connection
//! keeps working where one is left.

use std::path::Path;
use std::time::{Duration, Instant};

use plugwire::broker::{DialError, Serving};
use plugwire::host::{Launch, PluginHandle};
use plugwire::http2::ConnectStep;
use plugwire::{Channel, Services};
use plugwire_interop::broker_probe::Side;
use plugwire_interop::generated::greeter::GreetRequest;
use plugwire_interop::generated::greeter::greeter_client::GreeterClient;
use plugwire_interop::leaks::{eventually, is_alive};
use plugwire_interop::scene::{Scene, greet};
use tokio::process::Command;

/// The id with a fault, and a working one (`sdk-go-compat/cmd/misbehave/broker.go`).
const VICTIM: u32 = 7;
const GOOD: u32 = 8;
/// An id that no plugin here accepts.
const UNSERVED: u32 = 100;
/// The ids that a flooded host serves: for the flood, and for what must work afterwards.
const OWN: [u32; 2] = [3, 4];

/// The broker's timeout in tests that wait for it. Expected events come within it even on a loaded
/// machine.
const LIMIT: Duration = Duration::from_secs(3);
/// The limit for what must happen at once, even on a loaded machine: well below the broker's
/// timeout in those tests.
const AT_ONCE: Duration = Duration::from_secs(14);
/// A timeout that no test reaches.
const LONG: Duration = Duration::from_secs(30);

fn multiplexed(scene: &Scene, how: &str, limit: Duration) -> Launch {
    scene.misbehave(how).multiplex().broker_timeout(limit)
}

async fn started(launch: Launch) -> PluginHandle {
    launch.start().await.expect("a start")
}

async fn dial(plugin: &PluginHandle, id: u32) -> Result<Channel, DialError> {
    plugin.broker().dial(id).await
}

async fn failed_dial(plugin: &PluginHandle, id: u32) -> DialError {
    dial(plugin, id).await.expect_err("the dial must fail")
}

/// Returns the plugin's reply, which names this connection.
async fn reached(channel: Channel) -> String {
    let request = GreetRequest { name: "broker".to_owned() };
    let reply = GreeterClient::new(channel).greet(request).await.expect("a greeting");
    reply.into_inner().message
}

async fn reaches(plugin: &PluginHandle, id: u32) {
    let channel = dial(plugin, id).await.unwrap_or_else(|error| panic!("{id}: {error:?}"));
    assert_eq!(reached(channel).await, format!("connection {id}"));
}

/// Serves the ids that plugins flood.
async fn serve(plugin: &PluginHandle) -> Vec<Serving> {
    let broker = plugin.broker();
    let mut serving = Vec::new();
    for id in OWN {
        let services = Side::new(broker.clone()).services(Services::new());
        serving.push(broker.serve(id, services).await.expect("the id is free"));
    }
    serving
}

/// Asserts that the main connection works and that the plugin ends when asked.
async fn lives_on(scene: &Scene, plugin: PluginHandle) {
    greet(&plugin).await.expect("the main connection works");
    plugin.shutdown().await.expect("the shutdown works");
    assert!(scene.processes().is_empty());
}

fn assert_timeout(error: &DialError, expected: u32) {
    assert!(
        matches!(error, DialError::Timeout { id, limit: LIMIT } if *id == expected),
        "{error:?}"
    );
    assert_eq!(error.code(), "broker.timeout");
}

// Without multiplexing.

/// BRK-4, BRK-16.
#[tokio::test]
async fn an_id_that_is_never_announced() {
    let scene = Scene::new();
    let plugin = started(scene.misbehave("nothing").broker_timeout(LIMIT)).await;
    let began = Instant::now();
    assert_timeout(&failed_dial(&plugin, UNSERVED).await, UNSERVED);
    assert!(began.elapsed() >= LIMIT, "{:?}", began.elapsed());
    lives_on(&scene, plugin).await;
}

/// The latest announcement of an id counts, even if it came long before the dial.
#[tokio::test]
async fn an_id_that_is_announced_twice() {
    let scene = Scene::new();
    let plugin = started(scene.misbehave("announces-twice")).await;
    greet(&plugin).await.expect("a greeting");
    let both = eventually(LONG, || scene.all("announced").len() == 2).await;
    assert!(both, "{:?}", scene.all("announced"));
    greet(&plugin).await.expect("a round trip behind the second");
    let channel = dial(&plugin, VICTIM).await.expect("the id is served");
    assert_eq!(reached(channel).await, "connection 2");
    assert_eq!(scene.witness("greeted-on")["connection"], 2);
    lives_on(&scene, plugin).await;
}

/// BRK-15.
#[tokio::test]
async fn announcements_that_are_never_dialed() {
    flood("announcements_that_are_never_dialed", "announces-many:20000:100", FEW).await;
}

/// BRK-15. A thousand are kept, but not with 64 KiB each.
#[tokio::test]
async fn long_announcements_that_are_never_dialed() {
    flood("long_announcements_that_are_never_dialed", "announces-many:1500:65536", FEW).await;
}

async fn refused_address(announced: &str) {
    let scene = Scene::new();
    let plugin = started(scene.misbehave(&format!("announces:{announced}"))).await;
    let error = failed_dial(&plugin, VICTIM).await;
    assert!(
        matches!(error, DialError::AddressRefused { id: VICTIM, .. }),
        "{announced}: {error:?}"
    );
    assert_eq!(error.code(), "broker.address");
    scene.witness("announced");
    lives_on(&scene, plugin).await;
}

#[tokio::test]
async fn invalid_addresses() {
    for announced in
        ["", "unix:", "tcp:", "udp:127.0.0.1:53", "unix:plugin1", "tcp:localhost", "unix:\u{1}"]
    {
        refused_address(announced).await;
    }
    refused_address(&format!("unix:{{}}/{}", "x".repeat(200))).await;
}

#[tokio::test]
async fn addresses_that_the_host_must_not_connect_to() {
    for announced in [
        "unix:/var/run/x.sock",
        "unix:{}/../../../var/run/x.sock",
        "unix:{}/nowhere/../x/y.sock",
        "tcp:192.0.2.1:80",
        "tcp:[2001:db8::1]:80",
    ] {
        refused_address(announced).await;
    }
}

/// A listener really serves there, so a check that lets the address pass is noticed.
#[tokio::test]
async fn a_served_address_outside_the_directories() {
    let scene = Scene::new();
    let outside = Outside::new(&scene);
    let announced = format!("announces-served:unix:{}", outside.socket());
    let plugin = started(scene.misbehave(&announced)).await;
    let error = failed_dial(&plugin, VICTIM).await;
    let DialError::AddressRefused { id: VICTIM, address } = &error else { panic!("{error:?}") };
    assert_eq!(*address, format!("unix {}", outside.socket()));
    lives_on(&scene, plugin).await;

    outside.clear();
    let anywhere = scene.misbehave(&announced).dangerous().any_broker_address();
    let plugin = started(anywhere).await;
    let channel = dial(&plugin, VICTIM).await.expect("the address is allowed");
    assert_eq!(reached(channel).await, "connection 7");
    lives_on(&scene, plugin).await;
}

/// Links out of the directory: to the socket, and to its directory.
#[tokio::test]
async fn links_out_of_the_directory() {
    let scene = Scene::new();
    let outside = Outside::new(&scene);
    let plugin = started(scene.misbehave(&format!("announces-links:{}", outside.socket()))).await;
    for id in [VICTIM, GOOD] {
        let error = failed_dial(&plugin, id).await;
        assert!(matches!(error, DialError::AddressRefused { .. }), "{id}: {error:?}");
    }
    assert!(scene.told("greeted-on").is_none());
    lives_on(&scene, plugin).await;
}

/// TCP on this machine is allowed.
#[tokio::test]
async fn a_served_address_on_this_machine() {
    let scene = Scene::new();
    let plugin = started(scene.misbehave("announces-served:tcp:127.0.0.1:0")).await;
    let channel = dial(&plugin, VICTIM).await.expect("a connection");
    assert_eq!(reached(channel).await, "connection 7");
    lives_on(&scene, plugin).await;
}

/// A directory in which no plugin may put its sockets.
struct Outside(tempfile::TempDir);

impl Outside {
    fn new(scene: &Scene) -> Self {
        // Inside the test's directory: directly inside the temporary directory it would be allowed.
        Self(tempfile::tempdir_in(scene.folder()).expect("a directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn socket(&self) -> String {
        self.path().join("x.sock").to_str().expect("UTF-8").to_owned()
    }

    fn clear(&self) {
        let _ = std::fs::remove_file(self.socket());
    }
}

#[tokio::test]
async fn a_brokered_connection_that_stays_silent() {
    let scene = Scene::new();
    let plugin = started(scene.misbehave("brokered-silent").broker_timeout(LIMIT)).await;
    assert_timeout(&failed_dial(&plugin, VICTIM).await, VICTIM);
    scene.comes("silent").await;
    lives_on(&scene, plugin).await;
}

#[tokio::test]
async fn a_brokered_connection_that_is_closed_at_once() {
    for (plaintext, step) in [(true, ConnectStep::Http2), (false, ConnectStep::Tls)] {
        let scene = Scene::new();
        let launch = scene.misbehave("brokered-closes").broker_timeout(LONG);
        let launch = if plaintext { launch.dangerous().plaintext() } else { launch };
        let plugin = started(launch).await;
        let began = Instant::now();
        let error = failed_dial(&plugin, VICTIM).await;
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        let DialError::Connect { id: VICTIM, step: failed, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(failed, step);
        scene.comes("closed").await;
        lives_on(&scene, plugin).await;
    }
}

// Multiplexed.

/// MUX-14: the dial takes its full time, and others work at once afterwards.
#[tokio::test]
async fn a_knock_that_is_never_answered() {
    let scene = Scene::new();
    let plugin = started(multiplexed(&scene, "mux", LIMIT)).await;
    assert_timeout(&failed_dial(&plugin, UNSERVED).await, UNSERVED);
    assert_eq!(scene.witness("knocked")["id"], UNSERVED);
    for id in [GOOD, VICTIM, GOOD] {
        reaches(&plugin, id).await;
    }
    lives_on(&scene, plugin).await;
}

/// The peer's message is printable in the error.
#[tokio::test]
async fn an_acknowledgement_with_an_error() {
    let scene = Scene::new();
    let plugin = started(multiplexed(&scene, "mux-ack-error", LIMIT)).await;
    let error = failed_dial(&plugin, VICTIM).await;
    assert_eq!(error.code(), "broker.refused");
    let DialError::Refused { id: VICTIM, why } = &error else { panic!("{error:?}") };
    assert_eq!(why, r"no \u{1b}[31mlistener\nfor you");
    scene.witness("refused");
    reaches(&plugin, GOOD).await;
    lives_on(&scene, plugin).await;
}

/// MUX-16: the plugin has paired the next stream with the dial that was given up. That stream
/// comes, and ends.
#[tokio::test]
async fn an_acknowledgement_that_comes_too_late() {
    let scene = Scene::new();
    let late = multiplexed(&scene, "mux-ack-late", LIMIT).args(["--delay", "9s"]);
    let plugin = started(late).await;
    assert_timeout(&failed_dial(&plugin, VICTIM).await, VICTIM);
    assert!(scene.told("acknowledged").is_none(), "the acknowledgement came in time");
    // An acknowledgement that crosses the next knock pairs wrongly, whichever side dials: only the
    // previous one is checked.
    let ended = || scene.all("stream").iter().any(|it| it["for"] == VICTIM);
    assert!(eventually(LONG, ended).await, "no stream came for the late acknowledgement");
    reaches(&plugin, GOOD).await;
    let streams = scene.all("stream");
    let streams: Vec<_> =
        streams.iter().map(|it| (it["for"].as_u64(), it["first"].as_str())).collect();
    let late = streams.iter().position(|it| *it == (Some(VICTIM.into()), Some("end")));
    assert!(late.is_some(), "{streams:?}");
    assert!(!streams.contains(&(Some(VICTIM.into()), Some("bytes"))), "{streams:?}");
    lives_on(&scene, plugin).await;
}

/// MUX-11: an answer counts only for the id that it names.
#[tokio::test]
async fn an_acknowledgement_for_another_id() {
    let scene = Scene::new();
    let plugin = started(multiplexed(&scene, "mux-ack-other", LIMIT)).await;
    assert_timeout(&failed_dial(&plugin, VICTIM).await, VICTIM);
    assert_eq!(scene.witness("acknowledged")["id"], UNSERVED);
    // After this round trip, the host has read that answer.
    greet(&plugin).await.expect("a greeting");
    reaches(&plugin, GOOD).await;
    lives_on(&scene, plugin).await;
}

/// The session is over: the dial reports it at once, and so does everything after it. The plugin
/// still runs and is ended.
async fn session_ends(how: &str, event: &str) {
    let scene = Scene::new();
    let plugin = started(multiplexed(&scene, how, LONG)).await;
    reaches(&plugin, GOOD).await;
    let began = Instant::now();
    let error = failed_dial(&plugin, VICTIM).await;
    assert!(began.elapsed() < AT_ONCE, "{how}: {:?}", began.elapsed());
    assert!(matches!(error, DialError::PeerGone(_)), "{how}: {error:?}");
    scene.witness(event);
    greet(&plugin).await.expect_err("the main connection was on that session");
    assert!(matches!(failed_dial(&plugin, GOOD).await, DialError::PeerGone(_)));
    assert!(began.elapsed() < AT_ONCE * 2, "{how}: {:?}", began.elapsed());
    let pid = plugin.pid().expect("a pid");
    let _ = tokio::time::timeout(LONG, plugin.shutdown()).await.expect("the shutdown ends");
    assert!(!is_alive(pid));
    scene.empties().await;
}

#[tokio::test]
async fn a_malformed_frame() {
    for how in ["mux-bad-version", "mux-bad-type", "mux-huge-frame"] {
        session_ends(how, "frame").await;
    }
}

#[tokio::test]
async fn a_session_that_ends_in_the_middle_of_a_dial() {
    session_ends("mux-ends", "cut").await;
}

#[tokio::test]
async fn a_stream_that_stays_silent() {
    let scene = Scene::new();
    let plugin = started(multiplexed(&scene, "mux-silent", LIMIT)).await;
    assert_timeout(&failed_dial(&plugin, VICTIM).await, VICTIM);
    scene.comes("silent").await;
    reaches(&plugin, GOOD).await;
    lives_on(&scene, plugin).await;
}

#[tokio::test]
async fn a_stream_that_is_closed_at_once() {
    let scene = Scene::new();
    let plugin = started(multiplexed(&scene, "mux-closes", LONG)).await;
    let began = Instant::now();
    let error = failed_dial(&plugin, VICTIM).await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert!(
        matches!(error, DialError::Connect { id: VICTIM, step: ConnectStep::Tls, .. }),
        "{error:?}"
    );
    scene.witness("closed");
    reaches(&plugin, GOOD).await;
    lives_on(&scene, plugin).await;
}

/// MUX-17: knocks for ids without a listener do not delay the one that has a listener.
#[tokio::test]
async fn knocks_for_ids_without_a_listener() {
    let scene = Scene::new();
    let plugin = started(multiplexed(&scene, "mux-knock-nobody:5000", LONG)).await;
    let _serving = serve(&plugin).await;
    greet(&plugin).await.expect("a greeting");
    assert_eq!(scene.witness("knocked-often")["count"], 5000);
    assert_eq!(scene.witness("echoed")["data"], "over there");
    reaches(&plugin, GOOD).await;
    lives_on(&scene, plugin).await;
}

/// A host cannot assign streams without a knock: each is closed, and everything else works.
#[tokio::test]
async fn ten_thousand_streams_without_a_knock() {
    flood("ten_thousand_streams_without_a_knock", "mux-streams:10000", FEW).await;
}

/// Each stream belongs to the id that the host serves and stays silent: those beyond the first
/// thousand are closed.
#[tokio::test]
async fn ten_thousand_streams_with_a_knock() {
    flood("ten_thousand_streams_with_a_knock", "mux-knock-streams:10000", THOUSAND).await;
}

/// Acknowledgements without a knock, from a plugin that accepts no streams.
#[tokio::test]
async fn acknowledgements_by_the_thousand() {
    flood("acknowledgements_by_the_thousand", "mux-ack-flood:100000", FEW).await;
}

/// Knocks from a plugin that does not read the answers.
#[tokio::test]
async fn knocks_by_the_thousand() {
    flood("knocks_by_the_thousand", "mux-knock-flood:200000", FEW).await;
}

/// The limits for growth of the host's memory in KiB: almost nothing, or a thousand connections
/// with TLS.
const FEW: u64 = 8 * 1024;
const THOUSAND: u64 = 64 * 1024;

/// The variable that marks a process started for a single test.
const ALONE: &str = "PLUGWIRE_ALONE";

/// Runs this test once more in a process of its own, where the host's memory can be measured.
async fn flood(test: &str, how: &str, most: u64) {
    if std::env::var_os(ALONE).is_some() {
        return flooded(how, most).await;
    }
    let mut alone = Command::new(std::env::current_exe().expect("a test is a program"));
    alone.args(["--exact", &format!("broker_bad_input::{test}")]).env(ALONE, "1");
    let output = tokio::time::timeout(LONG * 4, alone.kill_on_drop(true).output()).await;
    let output = output.expect("the process ends").expect("the process starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

async fn flooded(how: &str, most: u64) {
    let scene = Scene::new();
    let control = started(multiplexed(&scene, "mux", LONG)).await;
    reaches(&control, GOOD).await;
    lives_on(&scene, control).await;
    std::fs::remove_file(scene.folder().join("witness")).expect("the witness of the control");

    let before = resident();
    let launch = scene.misbehave(how).broker_timeout(LONG);
    let launch = if how.starts_with("mux") { launch.multiplex() } else { launch };
    let plugin = started(launch).await;
    let _serving = serve(&plugin).await;
    greet(&plugin).await.expect("a greeting");
    match how.split_once(':').expect("a number").0 {
        // This is sent after the flood, so it shows that the flood was handled.
        "announces-many" => reaches(&plugin, GOOD).await,
        "mux-streams" | "mux-knock-streams" => {
            let opened = scene.witness("opened");
            assert_eq!((&opened["streams"], &opened["error"]), (&10_000.into(), &"".into()));
            assert_eq!(scene.witness("echoed")["data"], "over there");
            reaches(&plugin, GOOD).await;
        }
        "mux-ack-flood" => assert_eq!(scene.witness("acknowledged")["count"], 100_000),
        "mux-knock-flood" => assert_eq!(scene.witness("knocked-often")["count"], 200_000),
        other => panic!("{other} is not a flood"),
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < most, "{how}: {grown} KiB");
    lives_on(&scene, plugin).await;
}

/// Returns the resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident size");
    line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).expect("a number")
}
