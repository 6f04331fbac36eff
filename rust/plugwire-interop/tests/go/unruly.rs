//! Plugins that start correctly and misbehave later.

use std::error::Error;
use std::time::{Duration, Instant};

use plugwire::host::{Launch, PingError, PluginGone, PluginHandle, ShutdownPhase, ShutdownReport};
use plugwire_interop::leaks::{eventually, is_alive, stop};
use plugwire_interop::scene::{Scene, greet};
use plugwire_interop::{PROBE, go};
use rustix::process::{Pid, Signal, kill_process};
use tonic::Code;

/// The limit for a shutdown without the plugin's cooperation: both limits below, and a loaded
/// machine.
const AT_MOST: Duration = Duration::from_secs(20);

/// Sets short shutdown limits, because these plugins exhaust them.
fn hasty(launch: Launch) -> Launch {
    let limit = Duration::from_millis(300);
    launch.shutdown_timeout(limit).exit_timeout(limit).terminate_timeout(limit)
}

async fn shut_down(plugin: &PluginHandle) -> ShutdownReport {
    let began = Instant::now();
    let stop = plugin.shutdown().await.expect("the shutdown ends the plugin");
    assert!(began.elapsed() < AT_MOST, "{:?}", began.elapsed());
    assert!(!is_alive(plugin.pid().expect("a pid")));
    stop
}

/// SHD-10: the failed call reports how the process ended, in the plugin's own words.
#[tokio::test]
async fn exit_during_a_call() {
    let scene = Scene::new();
    let plugin = scene.misbehave("die-during-call").start().await.expect("a start");
    for _ in 0..2 {
        let began = Instant::now();
        let status = greet(&plugin).await.expect_err("the plugin is dead");
        assert!(began.elapsed() < AT_MOST, "{:?}", began.elapsed());
        assert_eq!(status.code(), Code::Unavailable);
        let gone = status.source().and_then(|source| source.downcast_ref::<PluginGone>());
        let gone = gone.unwrap_or_else(|| panic!("{status:?}"));
        assert_eq!(gone.plugin, "misbehave");
        assert_eq!(gone.exit.code(), Some(3));
        let crash = gone.exit.crash.as_deref().expect("a crash report");
        assert!(crash.starts_with("panic: the greeter fell over"), "{crash}");
        assert!(crash.contains("/src/greeter.go:12"), "{crash}");
        assert!(status.message().contains("exit status 3"), "{status}");
        assert!(status.message().contains("panic: the greeter fell over"), "{status}");
    }
    assert_eq!(scene.witness("dying")["code"], 3);
    assert!(matches!(plugin.ping().await, Err(PingError::Call(_))));
    assert_eq!(plugin.exited().await.code(), Some(3));
    assert_eq!(shut_down(&plugin).await.phase, ShutdownPhase::AlreadyGone);
    scene.assert_empty();
}

/// A process killed from outside leaves no output; the report names the signal.
#[tokio::test]
async fn killed_by_a_signal() {
    let scene = Scene::new();
    let program = go::peer("1.8.0", "greeter-plugin");
    let plugin = scene.program(program).start().await.expect("a start");
    signal(&plugin, Signal::KILL);
    let exit = plugin.exited().await;
    assert_eq!(exit.to_string().split(" after").next(), Some("killed by signal 9 (SIGKILL)"));
    let status = greet(&plugin).await.expect_err("the plugin is dead");
    assert!(status.source().is_some_and(|source| source.is::<PluginGone>()), "{status:?}");
    scene.assert_empty();
}

fn signal(plugin: &PluginHandle, signal: Signal) {
    let pid = Pid::from_raw(plugin.pid().expect("a pid").cast_signed()).expect("an id");
    kill_process(pid, signal).expect("the plugin runs");
}

/// HLT-6.
#[tokio::test]
async fn a_plugin_that_reports_not_serving() {
    let scene = Scene::new();
    let plugin = scene.misbehave("health-not-serving").start().await.expect("a start");
    let ping = plugin.ping().await;
    assert!(matches!(ping, Err(PingError::NotServing)), "{ping:?}");
    assert_eq!(scene.witness("health")["service"], "plugin");
    greet(&plugin).await.expect("the plugin serves anyway");
    assert_eq!(shut_down(&plugin).await.phase, ShutdownPhase::Asked);
    scene.assert_empty();
}

/// HLT-5: a plugin that does not answer is distinguished from one that answers.
#[tokio::test]
async fn a_plugin_that_does_not_answer_a_ping() {
    let scene = Scene::new();
    let launch = scene.launch(PROBE, go::peer("1.8.0", "probe-plugin"));
    let launch = hasty(launch).ping_timeout(Duration::from_millis(300));
    let plugin = launch.start().await.expect("a start");
    stop(plugin.pid().expect("a pid")).await;
    let ping = plugin.ping().await;
    let Err(PingError::Call(status)) = ping else { panic!("{ping:?}") };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    shut_down(&plugin).await;
}

/// GRPC-2, STD-4: plugins before go-plugin 1.1 have no stdio.
#[tokio::test]
async fn a_plugin_without_stdio() {
    let scene = Scene::new();
    let plugin = scene.misbehave("no-stdio-service").start().await.expect("a start");
    scene.witness("no-stdio");
    greet(&plugin).await.expect("a greeting");
    assert_eq!(shut_down(&plugin).await.phase, ShutdownPhase::Asked);
    scene.assert_empty();
}

/// SHD-3, SHD-4: a plugin that does not answer Shutdown is ended anyway; a Go host waits forever.
#[tokio::test]
async fn a_plugin_that_does_not_answer_shutdown() {
    let hanging = (ShutdownPhase::Terminated, Signal::TERM);
    let killed = (ShutdownPhase::Killed, Signal::KILL);
    let long = Duration::from_secs(5);
    'ways: for (how, terminate, (phase, signal)) in [
        ("shutdown-hangs", long, hanging),
        ("shutdown-hangs", Duration::ZERO, killed),
        // This plugin does not react to SIGTERM either.
        ("deaf", Duration::from_millis(300), killed),
    ] {
        // A busy plugin may be ended before it has received the request that it does not answer.
        // Then the test repeats with a longer limit.
        for patience in [300, 1_500, 7_500].map(Duration::from_millis) {
            let scene = Scene::new();
            let launch = hasty(scene.misbehave(how)).terminate_timeout(terminate);
            let launch = launch.shutdown_timeout(patience);
            let plugin = launch.start().await.expect("a start");
            let stop = shut_down(&plugin).await;
            assert_eq!(stop.phase, phase, "{how}");
            assert_eq!(
                stop.exit.expect("this host started the plugin").signal(),
                Some(signal.as_raw())
            );
            let hung = scene.told("shutdown-hangs").is_some();
            scene.assert_empty();
            if hung {
                continue 'ways;
            }
        }
        panic!("{how}: the plugin was never asked");
    }
}

/// SHD-3: a plugin that does not run at all is ended, too.
#[tokio::test]
async fn a_plugin_that_is_stopped() {
    let scene = Scene::new();
    let launch = scene.program(go::peer("1.8.0", "greeter-plugin"));
    let plugin = hasty(launch).start().await.expect("a start");
    stop(plugin.pid().expect("a pid")).await;
    assert_eq!(shut_down(&plugin).await.phase, ShutdownPhase::Killed);
    scene.assert_empty();
}

/// A plugin that ends when asked gets no SIGTERM, so ignoring SIGTERM makes no difference.
#[tokio::test]
async fn a_plugin_that_ignores_sigterm() {
    let scene = Scene::new();
    let plugin = scene.misbehave("ignores-sigterm").start().await.expect("a start");
    signal(&plugin, Signal::TERM);
    scene.comes("ignored-sigterm").await;
    greet(&plugin).await.expect("the plugin keeps running");
    assert_eq!(shut_down(&plugin).await.phase, ShutdownPhase::Asked);
    scene.assert_empty();
}

/// SHD-7, SHD-8: a process that holds the pipes open does not delay the shutdown, and ends with the
/// plugin's group.
#[tokio::test]
async fn a_grandchild_that_holds_the_pipes() {
    let scene = Scene::new();
    let plugin = scene.misbehave("grandchild-holds-pipes").start().await.expect("a start");
    let grandchild = scene.witness("grandchild")["child"].as_u64().expect("an id") as u32;
    assert!(is_alive(grandchild));
    greet(&plugin).await.expect("a greeting");
    assert_eq!(shut_down(&plugin).await.phase, ShutdownPhase::Asked);
    let gone = eventually(AT_MOST, || !is_alive(grandchild)).await;
    assert!(gone, "the grandchild keeps running");
    scene.empties().await;
}

/// SHD-8: the same for a process that left the group. The host must not end it, and must not wait
/// for it.
#[tokio::test]
async fn a_grandchild_of_another_group_that_holds_the_pipes() {
    const OWN_SESSION: &str = r#"setsid sh -c ': >"$1/away"; exec sleep 60' - "$TMPDIR" &
        until [ -e "$TMPDIR/away" ]; do sleep 0.01; done; exec "$0""#;
    let scene = Scene::new();
    let plugin = go::peer("1.8.0", "greeter-plugin");
    let plugin = scene.script(OWN_SESSION, &[&plugin]).start().await.expect("a start");
    greet(&plugin).await.expect("a greeting");
    assert_eq!(shut_down(&plugin).await.phase, ShutdownPhase::Asked);
    assert_eq!(scene.processes().len(), 1, "{:?}", scene.left());
}

/// With the plugin behind a shell, the host knows only the shell's process.
#[tokio::test]
async fn a_shell_in_between() {
    let scene = Scene::new();
    let plugin = go::peer("1.8.0", "greeter-plugin");
    // The shell waits, and does not pass the signal on.
    let plugin = scene.script(r#""$0"; true"#, &[&plugin]).start().await.expect("a start");
    assert_eq!(scene.processes().len(), 2);
    signal(&plugin, Signal::KILL);
    plugin.exited().await;
    scene.empties().await;
    let status = greet(&plugin).await.expect_err("the plugin is dead");
    assert!(status.source().is_some_and(|source| source.is::<PluginGone>()), "{status:?}");
}
