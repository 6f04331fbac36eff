//! Plugins that run from verified copies behave the same.

use std::fs;
use std::path::PathBuf;

use plugwire::host::{Checksum, StartError};
use plugwire_interop::probe::InspectRequest;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::{self, probe};
use plugwire_interop::{PROBE, go, rust};
use sha2::{Digest, Sha256};

fn plugins() -> [PathBuf; 2] {
    [go::peer("1.8.0", "probe-plugin"), rust::program("probe-plugin")]
}

/// A verified plugin has no descriptor of the memory file, no other name and no other arguments.
#[tokio::test]
async fn only_its_own_file_tells_a_plugin_that_it_is_a_copy() {
    for program in plugins() {
        let sandbox = Sandbox::new();
        let mut given = Vec::new();
        for verified in [false, true] {
            let mut launch = sandbox.launch(PROBE, &program).version(1).args(["--versions", "1"]);
            if verified {
                launch = launch.verify_with(|_| Ok(()));
            }
            let plugin = launch.start().await.expect("a start");
            let executed = fs::read_link(format!("/proc/{}/exe", plugin.pid().expect("a pid")))
                .expect("the plugin runs");
            match verified {
                false => assert_eq!(executed, program),
                true => assert_eq!(executed.to_str(), Some("/memfd:probe-plugin (deleted)")),
            }
            assert_eq!(plugin.name(), "probe-plugin");
            let report = probe(&plugin).inspect(InspectRequest {}).await.expect("a report");
            let report = report.into_inner();
            given.push((report.args, report.open_files, scenarios::echo(&plugin, 1000).await));
            plugin.shutdown().await.expect("the shutdown works");
        }
        assert_eq!(given[0], given[1], "{program:?}");
        sandbox.assert_empty().await;
    }
}

/// Verifies the checksum of a whole Go program; a mismatch reports both digests.
#[tokio::test]
async fn a_replaced_go_plugin_is_refused_with_both_digests() {
    let sandbox = Sandbox::new();
    let program = sandbox.folder().join("probe-plugin");
    fs::copy(go::peer("1.8.0", "probe-plugin"), &program).expect("a copy");
    let right = Sha256::digest(fs::read(&program).expect("a file"));
    let launch = || {
        let checksum = Checksum::new::<Sha256>(right.to_vec());
        sandbox.launch(PROBE, &program).version(1).checksum(checksum)
    };
    let plugin = launch().start().await.expect("a start");
    assert!(plugin.ping().await.is_ok());
    // The file of a running plugin can be replaced: nothing holds it.
    let rust = fs::read(rust::program("probe-plugin")).expect("a file");
    fs::write(&program, &rust).expect("the file can be written");
    assert!(plugin.ping().await.is_ok());
    let error = launch().start().await.expect_err("the program was replaced");
    let StartError::Checksum { cause, .. } = &error else { panic!("{error:?}") };
    let [expected, actual] = [right, Sha256::digest(&rust)]
        .map(|digest| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!(
        cause.to_string(),
        format!("the file's checksum is {actual}, expected was {expected}")
    );
    plugin.shutdown().await.expect("the shutdown works");
    sandbox.assert_empty().await;
}

/// The `/proc/self/exe` of a plugin with neighbours lies beside them.
#[tokio::test]
async fn a_plugin_with_neighbours_runs_beside_them() {
    for program in plugins() {
        let sandbox = Sandbox::new();
        let launch = sandbox.launch(PROBE, &program).version(1);
        let launch = launch.verify_with(|_| Ok(())).with_neighbours();
        let plugin = launch.start().await.expect("a start");
        let executed = fs::read_link(format!("/proc/{}/exe", plugin.pid().expect("a pid")))
            .expect("the plugin runs");
        assert!(executed.starts_with(sandbox.folder()), "{executed:?}");
        assert_eq!(executed.file_name(), program.file_name());
        let beside = |file: PathBuf| {
            let folder = fs::read_dir(file.parent().expect("a directory"))
                .expect("the directory can be read");
            let mut names: Vec<_> =
                folder.map(|entry| entry.expect("an entry").file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(beside(executed), beside(program));
        plugin.shutdown().await.expect("the shutdown works");
        sandbox.assert_empty().await;
    }
}
