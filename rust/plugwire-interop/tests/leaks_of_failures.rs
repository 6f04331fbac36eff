//! Every way a start can fail leaves nothing in the host: no descriptor, thread, task or child
//! process. The test counts what this process holds, so it must be the only test in it.

use std::path::Path;
use std::time::Duration;

use futures_util::future::{join, join_all};
use plugwire::Handshake;
use plugwire::host::Launch;
use plugwire_interop::leaks::{Holdings, eventually};
use plugwire_interop::rust;
use plugwire_interop::scene::{Scene, greet};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixListener;

/// The limit for clean-up. Threads that ran blocking work stay alive for ten seconds.
const SETTLED: Duration = Duration::from_secs(40);

/// Scripts that are not plugins, with the error code that each gets.
const SCRIPTS: [(&str, &str); 10] = [
    ("exit 3", "start.exited"),
    ("printf '1|1|un'", "start.exited"),
    ("exec >&-; sleep 60", "start.exited"),
    ("kill -KILL $$", "start.exited"),
    ("sleep 60", "start.timeout"),
    (
        "while :; do printf xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
        "start.no-line",
    ),
    (r"printf '\377\376\n'; sleep 60", "start.unrecognized"),
    ("echo '1|2|unix|/nowhere/plugin|grpc|'; sleep 60", "start.app-version"),
    ("echo '1|1|unix|/nowhere/plugin|grpc|'; sleep 60", "start.no-certificate"),
    ("sleep 60 & sleep 60 & echo noise; wait", "start.unrecognized"),
];

async fn refused(scene: &Scene, launch: Launch, code: &str) {
    let limit = if code == "start.timeout" { 1 } else { 20 };
    let error = launch
        .start_timeout(Duration::from_secs(limit))
        .start()
        .await
        .expect_err("the start must fail");
    assert_eq!(error.code(), code, "{error:?}");
    scene.empties().await;
}

/// Runs each way of failing once.
async fn everything_fails(greeter: &Path) {
    let scripts = SCRIPTS.map(|(script, code)| async move {
        let scene = Scene::new();
        refused(&scene, scene.script(script, &[]), code).await;
    });
    join(join_all(scripts), join(silent_listeners(), given_up())).await;
    let scene = Scene::new();
    refused(&scene, scene.program("/nowhere/plugin"), "start.spawn").await;
    let another = Handshake::new("ANOTHER_PLUGIN", "hello");
    refused(&scene, scene.launch(another, greeter), "start.cookie").await;
    killed(greeter).await;
}

/// Makes connections to listeners that never answer.
async fn silent_listeners() {
    let scene = Scene::new();
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("silent");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let script = r#"echo "1|1|unix|$0|grpc|$1"; sleep 60"#;
    let plain = scene.script(script, &[&socket]).dangerous().plaintext();
    let certificate =
        plugwire::protocol::certificate::encode_field(&[&[0x30, 40][..], &[0; 40]].concat());
    let tls = scene.script(script, &[&socket, Path::new(&certificate)]);
    let refused = |launch| refused(&scene, launch, "start.timeout");
    join(refused(plain), refused(tls)).await;
}

/// Drops the future of a start.
async fn given_up() {
    let scene = Scene::new();
    let start = scene.script("sleep 60", &[]).start();
    let given_up = tokio::time::timeout(Duration::from_millis(50), start).await;
    assert!(given_up.is_err(), "{given_up:?}");
    scene.empties().await;
}

/// Kills a plugin while it serves.
async fn killed(greeter: &Path) {
    let scene = Scene::new();
    let plugin = scene.program(greeter).start().await.expect("a start");
    let pid = Pid::from_raw(plugin.pid().expect("a pid").cast_signed()).expect("an id");
    kill_process(pid, Signal::KILL).expect("the plugin runs");
    greet(&plugin).await.expect_err("the plugin is dead");
    drop(plugin);
    scene.empties().await;
}

#[tokio::test]
async fn failures_leave_nothing() {
    let greeter = rust::example("greeter-plugin");
    everything_fails(&greeter).await;
    let before = Holdings::at_rest(SETTLED).await;
    for _ in 0..2 {
        everything_fails(&greeter).await;
    }
    let mut after = Holdings::count();
    let settled = eventually(SETTLED, || {
        after = Holdings::count();
        after.fits_in(&before)
    });
    assert!(settled.await, "before: {before:?}, after: {after:?}");
}
