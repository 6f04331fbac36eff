//! Misbehaving plugins written as a few lines of shell.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use plugwire::Handshake;
use plugwire::host::{StartError, TimeoutStep};
use plugwire::protocol::certificate;
use plugwire_interop::rust;
use plugwire_interop::scene::Scene;
use tokio::net::UnixListener;

const LIMIT: Duration = Duration::from_secs(4);
/// A limit that no test reaches.
const PATIENT: Duration = Duration::from_secs(20);

/// HS-24: a plugin that closed its output can no longer announce itself, even if it keeps running.
#[tokio::test]
async fn standard_output_is_closed_before_the_line() {
    let scene = Scene::new();
    let error = scene.refuse(scene.script("exec >&-; sleep 60", &[])).await;
    assert_eq!(error.code(), "start.exited");
    let StartError::Exited(evidence) = &error else { panic!("{error:?}") };
    assert_eq!(evidence.exit, None);
    assert!(error.to_string().contains("closed its standard output"), "{error}");
}

/// SHD-8: another process that holds the output open does not matter.
#[tokio::test]
async fn exit_before_the_line_while_a_daemon_holds_the_output() {
    const LEAVES_A_DAEMON: &str = r#"
        setsid sh -c 'echo running > "$0"; sleep 60' "$0" &
        until [ -s "$0" ]; do sleep 0.01; done
        exit 5"#;
    let scene = Scene::new();
    let running = scene.folder().join("running");
    let began = Instant::now();
    let error =
        scene.script(LEAVES_A_DAEMON, &[&running]).start().await.expect_err("the plugin is dead");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(error.code(), "start.exited");
    assert!(error.to_string().contains("exit status 5"), "{error}");
    assert!(!scene.processes().is_empty(), "the daemon is not ours to end");
}

/// HS-24: the plugin is killed by a signal before it prints the line.
#[tokio::test]
async fn killed_by_a_signal_before_the_line() {
    let scene = Scene::new();
    let error = scene.refuse(scene.script("echo about to >&2; kill -SEGV $$", &[])).await;
    assert_eq!(error.code(), "start.exited");
    let StartError::Exited(evidence) = &error else { panic!("{error:?}") };
    let exit = evidence.exit.as_ref().expect("the plugin ended on its own");
    assert_eq!(exit.signal(), Some(11));
    assert_eq!(evidence.stderr, "about to");
    assert!(error.to_string().contains("killed by signal 11 (SIGSEGV)"), "{error}");
}

/// The evidence shows why the announced address does not answer.
#[tokio::test]
async fn exit_after_the_line() {
    let scene = Scene::new();
    let script = "echo '1|1|unix|/nowhere/plugin|grpc|'; echo out of luck >&2; exit 4";
    let error = scene.refuse(scene.script(script, &[]).dangerous().plaintext()).await;
    assert_eq!(error.code(), "start.connect");
    let evidence = error.evidence().expect("the plugin ran");
    let exit = evidence.exit.as_ref().expect("the plugin ended on its own");
    assert_eq!(exit.code(), Some(4));
    assert_eq!(evidence.stderr, "out of luck");
}

/// A path can contain anything; an error that is printed must not drive the terminal.
#[tokio::test]
async fn an_address_that_would_drive_the_terminal() {
    let scene = Scene::new();
    let script = r"printf '1|1|unix|/nowhere/\033[31m\342\200\256x|grpc|\n'; exec sleep 60";
    let error = scene.refuse(scene.script(script, &[]).dangerous().plaintext()).await;
    assert_eq!(error.code(), "start.connect");
    assert!(error.to_string().ends_with("/nowhere/\\u{1b}[31m\\u{202e}x"), "{error}");
}

/// Checks the long form of the evidence, as a command line shows it.
#[tokio::test]
async fn the_evidence_as_text() {
    let scene = Scene::new();
    let script = "printf hello; echo first >&2; echo second >&2; exit 3";
    let error = scene.refuse(scene.script(script, &[])).await;
    let text = error.evidence().expect("the plugin ran").to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "program      /bin/sh");
    assert!(lines[2].starts_with("ended        exit status 3 after "), "{text}");
    assert_eq!(lines[3..6], ["stdout       hello", "stderr       first", "             second"]);
    assert!(lines[6].starts_with("environment  "), "{text}");
}

/// A line that decides is answered at once, although the plugin runs on. A busy machine delays some of the starts, but not
/// all of them by the second that a wait for the plugin's end would take.
#[tokio::test]
async fn a_line_that_decides_is_answered_at_once() {
    for (line, code) in [
        ("1|9|unix|/nowhere|grpc|", "start.app-version"),
        ("1|1|unix|/nowhere|netrpc|", "start.netrpc"),
        ("hello", "start.unrecognized"),
    ] {
        let mut quickest = Duration::MAX;
        for _ in 0..10 {
            let (scene, began) = (Scene::new(), Instant::now());
            let launch = scene.script(r#"echo "$0"; exec sleep 60"#, &[Path::new(line)]);
            let error = launch.start().await.expect_err("it is refused");
            quickest = quickest.min(began.elapsed());
            assert_eq!(error.code(), code);
        }
        assert!(quickest < Duration::from_millis(500), "{line}: {quickest:?}");
    }
}

/// HS-2: an empty first line is refused, and what comes with it says why it was there.
#[tokio::test]
async fn what_follows_an_empty_line_is_evidence() {
    let scene = Scene::new();
    let script = r"printf '\nDeprecation warning:\nit will be removed\n'; exec sleep 60";
    let error = scene.refuse(scene.script(script, &[])).await;
    assert_eq!(error.code(), "start.unrecognized");
    let evidence = error.evidence().expect("the plugin ran");
    assert_eq!(evidence.stdout, "\nDeprecation warning:\nit will be removed\n");
}

/// A listener at the announced address may stay silent forever, in plaintext and with TLS.
#[tokio::test]
async fn silence_after_the_line() {
    let der = [&[0x30, 0x40][..], &[0; 0x40]].concat();
    for (plaintext, field) in [(true, String::new()), (false, certificate::encode_field(&der))] {
        let scene = Scene::new();
        let folder = tempfile::tempdir().expect("a directory");
        let socket = folder.path().join("silent");
        let _listener = UnixListener::bind(&socket).expect("a socket");
        let script = r#"echo "1|1|unix|$0|grpc|$1"; sleep 60"#;
        let mut launch = scene.script(script, &[&socket, Path::new(&field)]).start_timeout(LIMIT);
        if plaintext {
            launch = launch.dangerous().plaintext();
        }
        let error = scene.refuse(launch).await;
        let StartError::Timeout { limit: LIMIT, step: TimeoutStep::Connection, .. } = &error else {
            panic!("{error:?}")
        };
    }
}

/// SOCK-4: the host removes only sockets, and only in the directories where plugins put them,
/// whatever address a plugin announces.
#[tokio::test]
async fn an_address_that_is_not_the_plugins() {
    let elsewhere = tempfile::tempdir().expect("a directory");
    let service = elsewhere.path().join("service");
    let _listener = UnixListener::bind(&service).expect("a socket");
    for (version, code) in [("1", "start.timeout"), ("2", "start.app-version")] {
        let scene = Scene::new();
        let file = scene.folder().join("witness");
        fs::write(&file, "").expect("write");
        assert_eq!(announces(&scene, &service, version, LIMIT).await, code);
        assert!(service.exists());

        let code = if version == "1" { "start.connect" } else { code };
        assert_eq!(announces(&scene, &file, version, PATIENT).await, code);
        assert!(file.exists());

        let stale = scene.folder().join("stale");
        drop(UnixListener::bind(&stale).expect("a socket"));
        assert_eq!(announces(&scene, &stale, version, PATIENT).await, code);
        assert!(!stale.exists());
    }
}

/// Returns the error code for a plugin that announces this address and keeps running.
async fn announces(scene: &Scene, address: &Path, version: &str, limit: Duration) -> &'static str {
    let script = r#"echo "1|$1|unix|$0|grpc|"; sleep 60"#;
    let launch = scene.script(script, &[address, Path::new(version)]).start_timeout(limit);
    let error =
        launch.dangerous().plaintext().start().await.expect_err("the script is not a plugin");
    error.code()
}

/// HS-5: noise is skipped up to a limit, and its beginning is kept as evidence.
#[tokio::test]
async fn noise_without_end() {
    let scene = Scene::new();
    let script = "while :; do echo This is no handshake line; done";
    let error = scene.refuse(scene.script(script, &[]).skip_noise()).await;
    let StartError::NoLine { read, evidence } = &error else { panic!("{error:?}") };
    assert!((1024 * 1024..2 * 1024 * 1024).contains(read), "{read}");
    assert!(evidence.stdout.starts_with("This is no handshake line\nThis is"), "{evidence}");
    assert!(evidence.stdout.len() <= 2048);
}

/// HS-5: a malformed handshake line is not skipped as noise, because no other line would follow.
#[tokio::test]
async fn noise_and_a_wrong_line() {
    let scene = Scene::new();
    let script = "echo noise; echo '1|2|unix|/nowhere/plugin|grpc|'; sleep 60";
    let error = scene.refuse(scene.script(script, &[]).skip_noise()).await;
    assert_eq!(error.code(), "start.app-version");
    let evidence = error.evidence().expect("the plugin ran");
    assert_eq!(evidence.stdout, "noise\n1|2|unix|/nowhere/plugin|grpc|\n");
}

/// HS-20: the timeout covers the whole wait for the line, however much noise arrives in time.
#[tokio::test]
async fn noise_that_never_becomes_a_line() {
    let scene = Scene::new();
    let script = "while :; do echo Loading; sleep 0.1; done";
    let error = scene.refuse(scene.script(script, &[]).skip_noise().start_timeout(LIMIT)).await;
    let StartError::Timeout { step: TimeoutStep::Line, evidence, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(evidence.stdout.starts_with("Loading\nLoading\n"), "{evidence}");
}

/// HS-27, with our own plugin: its text is for people, and standard output stays empty.
#[tokio::test]
async fn a_cookie_that_the_plugin_does_not_know() {
    let scene = Scene::new();
    let another = Handshake::new("ANOTHER_PLUGIN", "hello");
    let error = scene.refuse(scene.launch(another, rust::example("greeter-plugin"))).await;
    assert_eq!(error.code(), "start.cookie");
    let evidence = error.evidence().expect("the plugin ran");
    assert_eq!(evidence.stdout, "");
    assert_eq!(evidence.exit.as_ref().and_then(|exit| exit.code()), Some(1));
}

/// A message about a cookie is not enough for a rejected cookie: such a plugin prints nothing on
/// standard output and exits with status 1.
#[tokio::test]
async fn an_error_text_about_cookies_is_not_a_refused_cookie() {
    for script in [
        "echo no magic cookie >&2; exit 2",
        "printf baking; echo no magic cookie >&2; exit 1",
        "echo no magic cookie >&2; kill -KILL $$",
    ] {
        let scene = Scene::new();
        let error = scene.refuse(scene.script(script, &[])).await;
        assert_eq!(error.code(), "start.exited", "{script}");
    }
}

/// HS-21: dropping the future of a start ends the started process.
#[tokio::test]
async fn a_start_that_is_given_up() {
    let scene = Scene::new();
    let script = r#"echo '{"event":"running"}' > "$0"; sleep 60"#;
    let witness = scene.folder().join("witness");
    let start = scene.script(script, &[&witness]).start();
    tokio::select! {
        started = start => panic!("{started:?}"),
        () = scene.comes("running") => {}
    }
    scene.empties().await;
}
