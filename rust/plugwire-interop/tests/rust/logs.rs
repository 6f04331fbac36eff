//! By default, a plugin's log and output go to `tracing`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plugwire_interop::leaks::eventually;
use plugwire_interop::probe::PrintRequest;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
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
