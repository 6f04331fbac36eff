//! go-plugin's own `examples/bidirectional`, in which the plugin calls back over the broker. Our
//! programs replace either side. Spec: BRK-3, MUX-1.

use std::path::Path;

use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{RELEASES, go, rust};

/// Returns what a host prints for a sum stored in two parts, and what the plugin stored.
async fn count(host: &Path, options: &[&str], plugin: &Path) -> (String, String) {
    let sandbox = Sandbox::new();
    let mut said = String::new();
    for words in [&["put", "sum", "5"][..], &["put", "sum", "37"], &["get", "sum"]] {
        let mut command = sandbox.command(host);
        command.args(options).args(words).current_dir(sandbox.folder());
        let output = sandbox.run(command.env("COUNTER_PLUGIN", rust::in_shell(plugin))).await;
        assert!(output.status.success(), "{host:?} {options:?} {words:?}: {output:?}");
        said.push_str(&String::from_utf8(output.stdout).expect("text"));
    }
    sandbox.assert_no_processes().await;
    let stored =
        std::fs::read_to_string(sandbox.folder().join("kv_sum")).expect("the sum is stored");
    (said, stored)
}

#[tokio::test]
async fn the_counter_works_with_either_side_in_go_or_rust() {
    let (rust_host, rust_plugin) = (rust::example("counter-host"), rust::example("counter-plugin"));
    let multiplexed = &["--multiplex"][..];
    for release in RELEASES {
        let go_host = go::example(release, "bidirectional-host");
        let go_plugin = go::example(release, "bidirectional-plugin");
        let reference = count(&go_host, &[], &go_plugin).await;
        assert_eq!(reference.0, "42\n", "{release}: Go and Go");
        assert_eq!(count(&go_host, &[], &rust_plugin).await, reference, "{release}: Go host");
        assert_eq!(count(&rust_host, &[], &go_plugin).await, reference, "{release}: Go plugin");
        if go::versions()[release]["multiplexes"] == true {
            let said = count(&rust_host, multiplexed, &go_plugin).await;
            assert_eq!(said, reference, "{release}: Go plugin, multiplexed");
        }
    }
    assert_eq!(count(&rust_host, &[], &rust_plugin).await.0, "42\n");
    assert_eq!(count(&rust_host, multiplexed, &rust_plugin).await.0, "42\n");
}
