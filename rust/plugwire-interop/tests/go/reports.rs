//! The error texts for a Go plugin that is gone. The texts are in `reports/`; [`snapshot`] says how
//! to update them.

use std::error::Error;
use std::path::Path;

use plugwire_interop::probe::DieRequest;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
use plugwire_interop::{PROBE, go, snapshot};

/// In Go, a panic in a handler ends the program, like a panic in any other goroutine.
#[tokio::test]
async fn a_call_in_which_a_go_plugin_panics() {
    for how in ["panic", "panic-thread"] {
        let sandbox = Sandbox::new();
        let launch = sandbox.launch(PROBE, go::peer("1.8.0", "probe-plugin")).version(1);
        let plugin = launch.start().await.expect("a start");
        let died = probe(&plugin).die(DieRequest { how: how.to_owned() }).await;
        let status = died.expect_err("the plugin is gone");
        let text =
            snapshot::with_causes(status.source().expect("the source says how the plugin ended"));
        let reports = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go/reports");
        snapshot::assert_same(&reports.join(format!("gone-go-{how}.txt")), &text, &[]);
        sandbox.assert_empty().await;
    }
}
