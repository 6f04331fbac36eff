//! By default, a plugin's log and output go to `tracing`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plugwire_interop::leaks::eventually;
use plugwire_interop::probe::PrintRequest;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
use plugwire_interop::scene::Scene;
use plugwire_interop::{PROBE, rust};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// The level, the target, and the fields, one of which is the message.
type Seen = (Level, String, BTreeMap<String, String>);

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Seen>>>);

struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        let metadata = event.metadata();
        let seen = (*metadata.level(), metadata.target().to_owned(), fields.0);
        self.0.lock().expect("not poisoned").push(seen);
    }
}

impl Recorder {
    fn of(&self, target: &str) -> Vec<(Level, BTreeMap<String, String>)> {
        let seen = self.0.lock().expect("not poisoned").clone();
        seen.into_iter()
            .filter(|(_, of, _)| of == target)
            .map(|(level, _, fields)| (level, fields))
            .collect()
    }
}

/// Logs appear under the plugin's name with its level, module and fields; output appears line by
/// line at info. Spec: LOG-11.
#[tokio::test]
async fn logs_and_output_go_to_tracing() {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    // With a second subscriber, tracing asks all of them about a callsite, not only that of the
    // thread that reaches it first.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    // This runtime has one thread, so this subscriber sees all of the host's tasks.
    let _guard = tracing::subscriber::set_default(subscriber);

    let sandbox = Sandbox::new();
    let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).version(1);
    let plugin = launch.name("the probe").arg("--logs").start().await.expect("a start");
    let stdout = "a line\nanother\n".into();
    let request = PrintRequest { stdout, stderr: "[WARN] plain\n".into() };
    probe(&plugin).print(request).await.expect("the plugin prints");
    let all = || recorder.of("plugwire::plugin_log").len() >= 6;
    assert!(eventually(Duration::from_secs(10), all).await);
    plugin.shutdown().await.expect("the shutdown works");

    let logged = recorder.of("plugwire::plugin_log");
    let levels = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];
    for ((level, fields), expected) in logged.iter().zip(levels) {
        assert_eq!(*level, expected);
        let name = expected.to_string().to_lowercase();
        assert_eq!(fields["message"], format!("a line at {name}"));
        assert_eq!(fields["plugin"], "the probe");
        assert_eq!(fields["module"], "probe");
        assert_eq!(fields["fields"], format!("number=42 text=\"as {name}\" yes=true"));
    }
    let (level, fields) = &logged[5];
    assert_eq!((*level, fields["message"].as_str()), (Level::WARN, "[WARN] plain"));

    let printed = recorder.of("plugwire::plugin_output");
    let printed: Vec<_> = printed
        .iter()
        .map(|(level, fields)| {
            (*level, fields["plugin"].as_str(), fields["channel"].as_str(), &*fields["message"])
        })
        .collect();
    let line = |text| (Level::INFO, "the probe", "stdout", text);
    assert_eq!(printed, [line("a line"), line("another")]);
}

/// A line break in a message would forge a line of the host's log, and other characters drive its terminal. LOG-11.
#[tokio::test]
async fn what_a_plugin_logs_cannot_forge_a_line() {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);

    let scene = Scene::new();
    let script = r#"
        printf '\033[31mraw \342\200\256plain\n' >&2
        printf '{"@level":"error","@message":"a\\n2026-11-30 ERROR forged\\u001b[0m","@module":"m\\u001b","k\\n":"v\\u202e"}\n' >&2"#;
    let error = scene.refuse(scene.script(script, &[])).await;
    assert_eq!(error.code(), "start.exited");
    let evidence = error.evidence().expect("it ran").to_string();
    let shown = recorder.of("plugwire::plugin_log");
    let values = shown.iter().flat_map(|(_, fields)| fields.values());
    for text in values.cloned().chain([evidence.replace('\n', ""), error.to_string()]) {
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
    assert_eq!(shown[0].1["message"], "\\u{1b}[31mraw \\u{202e}plain");
    assert_eq!(shown[1].1["message"], "a\\n2026-11-30 ERROR forged\\u{1b}[0m");
}

/// One message of the stdio stream may be much longer than a line of a log.
#[tokio::test]
async fn a_long_line_of_output_is_logged_in_pieces() {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);

    let sandbox = Sandbox::new();
    let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).version(1);
    let plugin = launch.start().await.expect("a start");
    let stdout = [&vec![b'x'; 30_000][..], b"\nnext\n"].concat().into();
    let request = PrintRequest { stdout, stderr: Default::default() };
    probe(&plugin).print(request).await.expect("the plugin prints");
    plugin.shutdown().await.expect("the shutdown works");
    let printed = recorder.of("plugwire::plugin_output");
    let pieces: Vec<&str> = printed.iter().map(|(_, fields)| &*fields["message"]).collect();
    assert!(pieces.iter().all(|piece| piece.len() <= 8 * 1024), "{:?}", pieces.len());
    assert_eq!(pieces.concat(), format!("{}next", "x".repeat(30_000)));
    assert_eq!(pieces.last(), Some(&"next"));
}
