//! Versions, checksums, and how plugins end, one or several.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use plugwire::host::{Checksum, ChecksumError, Launch, PluginHandle, ShutdownPhase, StartError};
use plugwire_interop::collected::Output;
use plugwire_interop::generated::grpc::health::v1::HealthCheckRequest;
use plugwire_interop::generated::grpc::health::v1::health_client::HealthClient;
use plugwire_interop::leaks::{is_alive, stop};
use plugwire_interop::probe::probe_client::ProbeClient;
use plugwire_interop::probe::{AwaitHangRequest, DieRequest, HangRequest, Payload, PrintRequest};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
use plugwire_interop::{PROBE, RELEASES, go, rust};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};
use tokio::time::timeout;
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(30);

fn plugins() -> [PathBuf; 2] {
    [go::peer("1.8.0", "probe-plugin"), rust::program("probe-plugin")]
}

fn launch(sandbox: &Sandbox, program: &Path) -> Launch {
    sandbox.launch(PROBE, program).version(1)
}

fn pid(plugin: &PluginHandle) -> u32 {
    plugin.pid().expect("a process of this machine")
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, signal).expect("the plugin runs");
}

/// Spec: HS-30 to HS-32, HS-12.
#[tokio::test]
async fn the_highest_common_version_is_taken() {
    for plugin in plugins() {
        let sandbox = Sandbox::new();
        for (offered, expected) in [(&[1, 2, 3][..], 3), (&[2], 2), (&[0, 2, 9], 2)] {
            let mut launch = sandbox.launch(PROBE, &plugin).args(["--versions", "2,3"]);
            for version in offered {
                launch = launch.version(*version);
            }
            let plugin = launch.start().await.expect("a start");
            assert_eq!(plugin.version(), expected, "{offered:?}");
            assert_eq!(plugin.record().protocol_version, expected);
            plugin.shutdown().await.expect("the shutdown works");
        }
        let launch = sandbox.launch(PROBE, &plugin).args(["--versions", "2,3"]).version(1);
        let error = launch.start().await.expect_err("nothing in common");
        assert_eq!(error.code(), "start.app-version", "{error:?}");
        sandbox.assert_empty().await;
    }
}

/// In the other direction, Go hosts report the same for a Rust plugin as for a Go plugin.
#[tokio::test]
async fn go_hosts_negotiate_with_a_rust_plugin_as_with_a_go_plugin() {
    for release in RELEASES {
        for offered in ["1,2,3", "2", "0,2,9", "1", "4,5"] {
            let sandbox = Sandbox::new();
            let mut seen = Vec::new();
            for plugin in [go::peer(release, "probe-plugin"), rust::program("probe-plugin")] {
                let plugin = [plugin.as_os_str(), "--versions".as_ref(), "2,3".as_ref()];
                let mut host = sandbox.command(go::peer(release, "probe-host"));
                host.args(["start", "--versions", offered, "--"]).args(plugin);
                let output = sandbox.run(&mut host).await;
                let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
                // Go prints the offered versions in the random order of a map.
                let error = report["start"]["error"].as_str().unwrap_or_default();
                let error = error.split("Client versions").next().map(str::to_owned);
                seen.push((report["start"]["version"].clone(), error, report["result"].clone()));
            }
            assert_eq!(seen[1], seen[0], "{release} {offered}");
        }
    }
}

/// The negotiated version chooses the client; its name stays in this process. Spec: GRPC-4.
#[tokio::test]
async fn each_version_has_its_own_clients() {
    for plugin in plugins() {
        let sandbox = Sandbox::new();
        let launch = launch(&sandbox, &plugin).args(["--versions", "1,2"]).version(2);
        let plugin = launch.start().await.expect("a start");
        let mut client = match plugin.version() {
            2 => ProbeClient::new(plugin.channel()),
            other => panic!("version {other} was negotiated"),
        };
        let reply = client.echo(Payload { data: "word".into() }).await.expect("a reply");
        assert_eq!(reply.into_inner().data, "word");
        let mut health = HealthClient::new(plugin.channel());
        let request = HealthCheckRequest { service: "plugin".to_owned() };
        health.check(request).await.expect("another client on the same channel");
        plugin.shutdown().await.expect("it ends");
    }
}

/// go-plugin's own checksums can be used for one start only.
#[tokio::test]
async fn a_checksum_can_be_used_for_any_number_of_starts() {
    for plugin in plugins() {
        let sandbox = Sandbox::new();
        // Hashing a whole plugin takes long without optimisation.
        let plugin = sandbox.script("script", &plugin, "");
        let contents = std::fs::read(&plugin).expect("the script can be read");
        let right = Checksum::new::<Sha256>(Sha256::digest(&contents).to_vec());
        for _ in 0..2 {
            let launch = launch(&sandbox, &plugin).checksum(right.clone());
            let plugin = launch.start().await.expect("a start");
            plugin.shutdown().await.expect("the shutdown works");
        }
        let other = Checksum::new::<Sha512>(Sha512::digest(&contents).to_vec());
        let plugin = launch(&sandbox, &plugin).checksum(other).start().await.expect("a start");
        plugin.shutdown().await.expect("the shutdown works");
    }
}

/// A plugin whose file is not trusted is not run at all.
#[tokio::test]
async fn a_wrong_checksum_starts_nothing() {
    let sandbox = Sandbox::new();
    let touched = sandbox.folder().join("touched");
    let script = sandbox.script("script", Path::new("touch"), &touched.display().to_string());
    let mut wrong = Sha256::digest(std::fs::read(&script).expect("a file")).to_vec();
    wrong[31] ^= 1;
    let refuse = async |checksum| match launch(&sandbox, &script).checksum(checksum).start().await {
        Err(StartError::Checksum { cause: error, .. }) => error,
        other => panic!("{other:?}"),
    };
    match refuse(Checksum::new::<Sha256>(wrong.clone())).await {
        ChecksumError::Mismatch { expected, actual } => assert_eq!(expected[..62], actual[..62]),
        other => panic!("{other:?}"),
    }
    for length in [0, 20, 33, 64] {
        wrong.resize(length, 0);
        match refuse(Checksum::new::<Sha256>(wrong.clone())).await {
            ChecksumError::Length { expected: 32, given } => assert_eq!(given, length),
            other => panic!("{other:?}"),
        }
    }
    assert!(!touched.exists(), "the script was run");
    let error = launch(&sandbox, &sandbox.folder().join("nothing"));
    let error =
        error.checksum(Checksum::new::<Sha256>([0; 32])).start().await.expect_err("missing");
    assert!(
        matches!(error, StartError::Checksum { cause: ChecksumError::Read(_), .. }),
        "{error:?}"
    );
    sandbox.assert_empty().await;
}

/// Go hosts check the checksum of Rust plugins like any file.
#[tokio::test]
async fn go_hosts_check_a_rust_plugins_sum() {
    let plugin = rust::program("probe-plugin");
    for release in RELEASES {
        let sandbox = Sandbox::new();
        let report = sandbox.go_host(release, &["checksum"], &[plugin.as_os_str()]).await;
        assert_eq!(report["result"]["started"], true, "{release}: {report:#}");
    }
}

/// What go-plugin's `CleanupClients` is for: a host keeps its handles and shuts them down together. One plugin is stopped
/// until the others are gone, so a shutdown that waited for another one would never end.
#[tokio::test]
async fn several_plugins_are_shut_down_at_once() {
    let sandbox = Sandbox::new();
    let [go_plugin, rust_plugin] = plugins();
    let started = [("stopped", &go_plugin), ("go", &go_plugin), ("rust", &rust_plugin)];
    let mut handles = Vec::new();
    for (name, plugin) in started.into_iter().chain([("gone before", &rust_plugin)]) {
        let launch = launch(&sandbox, plugin).name(name);
        let launch = launch.shutdown_timeout(2 * LIMIT).exit_timeout(2 * LIMIT);
        handles.push(launch.start().await.expect("a start"));
    }
    let other = launch(&sandbox, &rust_plugin).start().await.expect("a start");
    assert_eq!((handles[0].name(), other.name()), ("stopped", "probe-plugin"));
    signal(pid(&handles[3]), Signal::KILL);
    timeout(LIMIT, handles[3].exited()).await.expect("it is gone");
    stop(pid(&handles[0])).await;

    let mut order = Vec::new();
    let mut ending: FuturesUnordered<_> = handles
        .iter()
        .map(|plugin| async { (plugin.name(), plugin.shutdown().await.expect("it ends").phase) })
        .collect();
    while order.len() < 3 {
        order.push(timeout(LIMIT, ending.next()).await.expect("in time").expect("one is left"));
    }
    order.sort_unstable();
    let asked = ShutdownPhase::Asked;
    let expected = [("go", asked), ("gone before", ShutdownPhase::AlreadyGone), ("rust", asked)];
    assert_eq!(order, expected);
    signal(pid(&handles[0]), Signal::CONT);
    let last = timeout(LIMIT, ending.next()).await.expect("in time");
    assert_eq!(last, Some(("stopped", asked)));
    assert!(handles.iter().all(|plugin| plugin.exit_status().is_some() && !is_alive(pid(plugin))));
    other.ping().await.expect("it is not among them");
    other.shutdown().await.expect("it ends");
    sandbox.assert_empty().await;
}

/// The exit can be awaited, whatever causes it.
#[tokio::test]
async fn an_exit_is_awaited() {
    for plugin in plugins() {
        let sandbox = Sandbox::new();
        let plugin = launch(&sandbox, &plugin).start().await.expect("a start");
        assert_eq!(plugin.exit_status(), None);
        let waiting = plugin.clone();
        let waiting = tokio::spawn(async move { waiting.exited().await });
        let mut client = probe(&plugin);
        let died = client.die(DieRequest { how: "exit:7".to_owned() });
        timeout(LIMIT, died).await.expect("in time").expect_err("the plugin is gone");
        let exit = timeout(LIMIT, waiting).await.expect("in time").expect("no panic");
        assert_eq!(exit.code(), Some(7), "{exit}");
        assert_eq!(plugin.exit_status(), Some(exit));
        let stop = plugin.shutdown().await.expect("the plugin is already gone");
        assert_eq!(stop.phase, ShutdownPhase::AlreadyGone);
        sandbox.assert_empty().await;
    }
}

/// When the last handle is dropped, the plugin is shut down in the background.
#[tokio::test]
async fn a_plugin_ends_with_its_last_handle() {
    for plugin in plugins() {
        let sandbox = Sandbox::new();
        let plugin = launch(&sandbox, &plugin).start().await.expect("a start");
        let clone = plugin.clone();
        drop(plugin);
        clone.ping().await.expect("a clone reaches the same plugin");
        drop(clone);
        sandbox.assert_empty().await;
    }
}

/// Ctrl-C in a terminal reaches plugins too; the host decides when they end. Spec: SHD-5.
#[tokio::test]
async fn sigint_is_ignored() {
    for plugin in plugins() {
        let sandbox = Sandbox::new();
        let plugin = launch(&sandbox, &plugin).start().await.expect("a start");
        for _ in 0..3 {
            signal(pid(&plugin), Signal::INT);
            plugin.ping().await.expect("the plugin runs");
        }
        let stop = plugin.shutdown().await.expect("the shutdown works");
        assert_eq!(stop.phase, ShutdownPhase::Asked);
        assert_eq!(stop.exit.expect("this host started the plugin").code(), Some(0));
    }
}

/// A panic in a Rust handler ends its own call and no other.
#[tokio::test]
async fn a_panic_affects_no_other_call() {
    for options in [&[][..], &["--multi-thread"], &["--capture-stderr"]] {
        let sandbox = Sandbox::new();
        let launch = launch(&sandbox, &rust::program("probe-plugin"));
        let plugin = launch.args(options.iter().copied()).start().await.expect("a start");
        let mut client = probe(&plugin);
        let hang = HangRequest { id: "in flight".to_owned() };
        let other = tokio::spawn(async move { client.hang(hang).await.map(drop) });
        let await_hang = async |cancelled| {
            let wait_ms = if cancelled { 0 } else { LIMIT.as_millis() as u64 };
            let request = AwaitHangRequest { id: "in flight".to_owned(), cancelled, wait_ms };
            probe(&plugin).await_hang(request).await.expect("a report").into_inner()
        };
        assert!(await_hang(false).await.started);
        for _ in 0..3 {
            let died = probe(&plugin).die(DieRequest { how: "panic".to_owned() }).await;
            let status = died.expect_err("the handler panicked");
            assert_eq!(status.code(), Code::Internal, "{status:?}");
            assert!(status.message().contains("the probe was told to panic"), "{status:?}");
        }
        let report = await_hang(true).await;
        assert!(report.started && !report.cancelled, "the other call goes on: {report:?}");
        assert!(!other.is_finished());
        plugin.ping().await.expect("the plugin answers");
        plugin.shutdown().await.expect("the shutdown works");
        assert_eq!(other.await.expect("no panic").expect_err("cut").code(), Code::Unavailable);
    }
}

/// A Go host sees the same: one call fails, the next works, and the plugin keeps running.
#[tokio::test]
async fn a_panic_under_go_hosts() {
    for release in RELEASES {
        let sandbox = Sandbox::new();
        let plugin = rust::program("probe-plugin");
        let scenario = ["die", "--how", "panic", "--patience", "3s"];
        let report = sandbox.go_host(release, &scenario, &[plugin.as_os_str()]).await;
        let result = &report["result"];
        assert_eq!(result["call"]["name"], "Internal", "{report:#}");
        assert_eq!(result["next_call"], Value::Null, "{report:#}");
        assert_eq!(result["exited"], false, "{report:#}");
        assert_eq!(report["kill"]["exited"], true, "{report:#}");
    }
}

/// A Go host sees a Rust plugin die exactly like a Go plugin.
#[tokio::test]
async fn crashes_under_go_hosts() {
    for release in RELEASES {
        for how in ["exit:3", "kill", "abort"] {
            let mut seen = Vec::new();
            for plugin in [go::peer(release, "probe-plugin"), rust::program("probe-plugin")] {
                let sandbox = Sandbox::new();
                let scenario = ["die", "--how", how];
                let report = sandbox.go_host(release, &scenario, &[plugin.as_os_str()]).await;
                let result = &report["result"];
                let names = [&result["call"]["name"], &result["next_call"]["name"]];
                seen.push(format!("{names:?} {} {}", result["exited"], report["kill"]["hung"]));
            }
            assert_eq!(seen[1], seen[0], "{release} {how}");
        }
    }
}

/// Compares what Go hosts hold open before and after some Rust plugins have run.
#[tokio::test]
async fn go_hosts_leak_nothing_with_rust_plugins() {
    for release in RELEASES {
        let sandbox = Sandbox::new();
        let plugin = rust::program("probe-plugin");
        let scenario = ["rounds", "--count", "5", "--auto-mtls"];
        let report = sandbox.go_host(release, &scenario, &[plugin.as_os_str()]).await;
        let result = &report["result"];
        assert_eq!(result["rounds"], 5, "{report:#}");
        for kind in ["open_files", "goroutines"] {
            let (before, after) =
                (&result[format!("{kind}_before")], &result[format!("{kind}_after")]);
            let (before, after) =
                (before.as_u64().expect("a count"), after.as_u64().expect("a count"));
            assert!(after <= before, "{release} {kind}: {before} {after}");
        }
        sandbox.assert_empty().await;
    }
}

/// SOCK-10: a Go server can close a connection that has reached a certain age. Calls continue on
/// the next connection, as in a Go host, and the plugin's output still arrives; a call that
/// coincides with the close may fail (spec 14.1).
#[tokio::test]
async fn a_connection_that_the_plugin_ends_is_made_again() {
    const AGE: Duration = Duration::from_millis(400);
    for (tls, multiplexed) in [(true, false), (false, false), (true, true)] {
        let sandbox = Sandbox::new();
        let printed = Output::default();
        let mut launch = launch(&sandbox, &go::peer("1.8.0", "probe-plugin"))
            .args(["--connection-age", "400ms"])
            .stdout(printed.clone());
        if !tls {
            launch = launch.dangerous().plaintext();
        }
        if multiplexed {
            launch = launch.multiplex();
        }
        let plugin = launch.start().await.expect("a start");
        let (began, mut good, mut met_the_end) = (Instant::now(), 0_u32, 0_u32);
        // After twice the maximum age plus at most a tenth, no earlier connection is left: the last
        // calls use the third connection or a later one.
        let mut last = Instant::now();
        while began.elapsed() < 5 * AGE || last < began + 5 * AGE {
            assert!(began.elapsed() < LIMIT, "tls {tls}, multiplexed {multiplexed}, {good} calls");
            let mut probe = probe(&plugin);
            let echoed = timeout(LIMIT, probe.echo(Payload::default())).await.expect("in time");
            match echoed {
                Ok(_) => (good, last) = (good + 1, Instant::now()),
                Err(status) if status.code() == Code::Unavailable => met_the_end += 1,
                Err(status) => panic!("tls {tls}, multiplexed {multiplexed}: {status:?}"),
            }
        }
        println!("tls {tls}, multiplexed {multiplexed}: {good} calls, {met_the_end} met the end");
        // More than a Go plugin buffers without a reader: a call that prints would block. Output in
        // transit when a connection is closed is lost.
        let before = printed.now().len();
        while printed.now().len() < before + 4 * 60_000 {
            assert!(began.elapsed() < LIMIT, "{} bytes came", printed.now().len() - before);
            let request = PrintRequest { stdout: vec![b'x'; 60_000].into(), ..Default::default() };
            let mut probe = probe(&plugin);
            let answer =
                timeout(LIMIT, probe.print(request)).await.expect("the host reads the output");
            if let Err(status) = answer {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            }
        }
        let stop = plugin.shutdown().await.expect("the shutdown works");
        assert_eq!(stop.phase, ShutdownPhase::Asked, "{stop:?}");
        sandbox.assert_empty().await;
    }
}

/// Calls to a plugin that is gone fail without waiting and report what happened to it.
#[tokio::test]
async fn a_plugin_that_is_gone_is_not_reached_again() {
    for program in plugins() {
        let sandbox = Sandbox::new();
        let plugin = launch(&sandbox, &program).start().await.expect("a start");
        signal(pid(&plugin), Signal::KILL);
        plugin.exited().await;
        for _ in 0..3 {
            let mut probe = probe(&plugin);
            let echoed = timeout(LIMIT, probe.echo(Payload::default())).await.expect("in time");
            let error = echoed.expect_err("the plugin is gone");
            assert_eq!(error.code(), Code::Unavailable, "{error:?}");
            assert!(error.message().contains("SIGKILL"), "{error:?}");
        }
        drop(plugin);
        sandbox.assert_empty().await;
    }
}
