//! Plugins that write too much, or invalid data, while they serve. Each answers a greeting only
//! when everything is written, so an answer shows that the host reads.

use std::sync::{Arc, Mutex};

use plugwire::host::{LogSink, ShutdownPhase};
use plugwire::protocol::hclog::{Entry, Kind, Level};
use plugwire_interop::go;
use plugwire_interop::scene::{Scene, greet};
use tokio::io::AsyncReadExt;

/// A log that keeps every entry.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Entry>>>);

impl LogSink for Log {
    fn log(&self, plugin: &str, entry: &Entry) {
        assert_eq!(plugin, "misbehave");
        self.0.lock().expect("not poisoned").push(entry.clone());
    }
}

impl Log {
    /// Returns the kind, level and message of each entry.
    fn lines(&self) -> Vec<(Kind, Level, String)> {
        let entries = self.0.lock().expect("not poisoned");
        let line = |entry: &Entry| (entry.kind, entry.record.level, entry.record.message.clone());
        entries.iter().map(line).collect()
    }
}

/// Starts the plugin, greets it, and ends it; the log is complete then.
async fn log_of(how: &str) -> (Log, Scene) {
    let (scene, log) = (Scene::new(), Log::default());
    let plugin = scene.misbehave(how).log_sink(log.clone()).start().await.expect("a start");
    greet(&plugin).await.expect("the host reads");
    assert_eq!(plugin.shutdown().await.expect("the shutdown works").phase, ShutdownPhase::Asked);
    scene.witness("written");
    scene.assert_empty();
    (log, scene)
}

/// LOG-6. Another test checks that memory stays small, in its own process (`tests/floods.rs`).
#[tokio::test]
async fn a_line_of_50_mb() {
    let (log, _) = log_of("stderr-50mb-line").await;
    let mut lines = log.lines();
    let (kind, level, text) = lines.pop().expect("entries");
    assert_eq!((kind, level, &*text), (Kind::Plain, Level::Debug, "after the long line"));
    let bytes: usize = lines.iter().map(|(_, _, piece)| piece.len()).sum();
    assert_eq!(bytes, 50_000_000);
    for (kind, level, piece) in &lines {
        assert_eq!((*kind, *level), (Kind::Fragment, Level::Debug));
        assert!(piece.len() <= 64 * 1024, "{}", piece.len());
    }
}

/// LOG-2.
#[tokio::test]
async fn lines_that_are_not_utf8() {
    let (log, _) = log_of("stderr-invalid-utf8").await;
    let lines = log.lines();
    let expected = [
        (Kind::Tagged, Level::Warn, "[WARN] broken \u{fffd}\u{fffd} text"),
        (Kind::Structured, Level::Info, "broken \u{fffd}( text"),
        (Kind::Plain, Level::Debug, "after the broken lines"),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for ((kind, level, text), expected) in lines.iter().zip(expected) {
        assert_eq!((*kind, *level, text.as_str()), expected);
    }
}

/// LOG-8: a Go host crashes on each of the first three.
#[tokio::test]
async fn hclog_members_that_are_not_text() {
    let (log, _) = log_of("stderr-message-not-a-string").await;
    let lines = log.lines();
    let expected = [
        (Kind::Plain, Level::Debug, r#"{"@level":"info","@message":5}"#),
        (Kind::Plain, Level::Debug, r#"{"@level":5,"@message":"level is a number"}"#),
        (
            Kind::Plain,
            Level::Debug,
            r#"{"@level":"info","@message":"time is a list","@timestamp":[1]}"#,
        ),
        (Kind::Structured, Level::Info, "after the odd lines"),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for ((kind, level, text), expected) in lines.iter().zip(expected) {
        assert_eq!((*kind, *level, text.as_str()), expected);
    }
}

/// LOG-1: every byte arrives, both at the writer for raw standard error and in the log.
#[tokio::test]
async fn a_flood_of_lines_on_standard_error() {
    let (scene, log) = (Scene::new(), Log::default());
    let (writer, mut reader) = tokio::io::duplex(64 * 1024);
    let raw = tokio::spawn(async move {
        let mut all = String::new();
        reader.read_to_string(&mut all).await.expect("UTF-8");
        all
    });
    let launch = scene.misbehave("stderr-flood").log_sink(log.clone()).raw_stderr(writer);
    let plugin = launch.start().await.expect("a start");
    greet(&plugin).await.expect("the host reads");
    plugin.shutdown().await.expect("the shutdown works");
    let raw = raw.await.expect("no panic");
    assert_eq!(raw.len(), scene.witness("written")["bytes"].as_u64().expect("a number") as usize);
    assert!(raw.len() > 4_000_000);
    let logged: String = log.lines().into_iter().map(|(_, _, line)| line + "\n").collect();
    assert!(logged == raw, "{} bytes logged of {}", logged.len(), raw.len());
    scene.assert_empty();
}

/// A failing writer does not keep the host from logging.
#[tokio::test]
async fn a_writer_that_fails() {
    let (scene, log) = (Scene::new(), Log::default());
    let (writer, reader) = tokio::io::duplex(1);
    drop(reader);
    let launch = scene.misbehave("stderr-flood").log_sink(log.clone()).raw_stderr(writer);
    let plugin = launch.start().await.expect("a start");
    greet(&plugin).await.expect("the host reads");
    plugin.shutdown().await.expect("the shutdown works");
    let bytes: usize = log.lines().iter().map(|(_, _, line)| line.len() + 1).sum();
    assert_eq!(bytes, scene.witness("written")["bytes"].as_u64().expect("a number") as usize);
}

/// HS-22.
#[tokio::test]
async fn a_flood_on_standard_output_after_the_line() {
    let (log, _) = log_of("stdout-after-line-flood").await;
    assert_eq!(log.lines(), [], "output after the line is not logged");
}

/// HS-23: a Go host stops reading at a line like this, and the plugin blocks at the next one. Here
/// a shell writes to the plugin's standard output, and reports when it is done.
#[tokio::test]
async fn a_long_line_on_standard_output_after_the_line() {
    const LONG_LINE: &str = r#"
        "$0" | {
            IFS= read -r line; echo "$line"
            head -c 1000000 /dev/zero | tr '\0' x; echo
            echo '{"event":"written"}' > "$1"
            cat
        }"#;
    let scene = Scene::new();
    let greeter = go::peer("1.8.0", "greeter-plugin");
    let launch = scene.script(LONG_LINE, &[&greeter, &scene.folder().join("witness")]);
    let plugin = launch.start().await.expect("a start");
    scene.comes("written").await;
    greet(&plugin).await.expect("a greeting");
    plugin.shutdown().await.expect("the shutdown works");
    scene.assert_empty();
}
