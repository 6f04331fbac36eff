//! What happens when a plugin reaches a limit of its confinement.

use std::time::Duration;

use plugwire::host::{Confinement, Exit, StartError};
use plugwire_interop::not_here;
use plugwire_interop::scene::Scene;

/// Returns how a confined script ended, and what it wrote.
async fn confined(confinement: Confinement, script: &str) -> (Exit, String) {
    let scene = Scene::new();
    let error = scene.refuse(scene.script(script, &[]).confine(confinement)).await;
    let evidence = error.evidence().unwrap_or_else(|| panic!("{error:?}"));
    (evidence.exit.clone().expect("the script ended"), evidence.stderr.clone())
}

/// Runs the script with the limit and without it, which shows that the script succeeds on its own.
async fn stopped_by(confinement: Confinement, script: &str) -> (Exit, String) {
    let (free, said) = confined(Confinement::new(), script).await;
    assert_eq!(free.code(), Some(7), "without a limit: {said}");
    let (exit, said) = confined(confinement, script).await;
    assert_ne!(exit.code(), Some(7), "the limit does not hold: {said}");
    (exit, said)
}

#[tokio::test]
async fn too_much_time_on_a_processor() {
    let limit = Confinement::new().cpu_time(Duration::from_secs(1));
    let scene = Scene::new();
    // On a busy machine, a second of processor time may take long.
    let launch = scene.script("while :; do :; done", &[]).confine(limit);
    let launch = launch.start_timeout(Duration::from_secs(120));
    let error = launch.start().await.expect_err("the start must fail");
    let evidence = error.evidence().unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(evidence.exit.as_ref().and_then(Exit::signal), Some(24), "{evidence}");
    scene.empties().await;
}

#[tokio::test]
async fn too_many_open_files() {
    let script = "exec 3</ 4</ 5</ 6</ 7</ 8</ 9</ && exit 7";
    let (_, said) = stopped_by(Confinement::new().open_files(6), script).await;
    assert!(said.contains("Too many open files") || said.contains("Bad file"), "{said}");
}

#[tokio::test]
async fn too_long_a_file() {
    let script = "f=$(mktemp); head -c 100000 /dev/zero > $f; s=$?; rm $f; [ $s = 0 ] && exit 7";
    let (_, said) = stopped_by(Confinement::new().file_size(4096), script).await;
    assert!(said.is_empty() || said.contains("File"), "{said}");
}

#[tokio::test]
async fn too_much_address_space() {
    let script = "head -c 100000000 /dev/zero | tail -c 100000000 > /dev/null && exit 7";
    let (_, said) = stopped_by(Confinement::new().address_space(64 << 20), script).await;
    assert!(said.contains("memory"), "{said}");
}

#[tokio::test]
async fn too_many_processes() {
    if !rustix::process::geteuid().is_root() {
        not_here("only root can start a plugin as another user");
        return;
    }
    let script = "sleep 0 & sleep 0 & sleep 0 & wait; exit 7";
    let other_user = Confinement::new().user(64_126, 64_126);
    let (free, said) = confined(other_user.clone(), script).await;
    assert_eq!(free.code(), Some(7), "{said}");
    let (exit, said) = confined(other_user.processes(1), script).await;
    assert_ne!(exit.code(), Some(7), "the limit does not hold: {said}");
    assert!(said.to_lowercase().contains("fork"), "{said}");
}

/// The system takes this id to mean "no change": the plugin would run as root.
#[tokio::test]
async fn the_id_that_means_no_change_is_rejected() {
    for (user, group) in [(u32::MAX, 1), (1, u32::MAX)] {
        let scene = Scene::new();
        let launch = scene.script("exit 7", &[]).confine(Confinement::new().user(user, group));
        let error = scene.refuse(launch).await;
        assert!(matches!(error, StartError::Configuration(_)), "{error:?}");
        assert!(error.to_string().contains("is not a valid user"), "{error}");
    }
}

/// A host that lacks the permission for a limit does not start the plugin with a weaker one.
#[tokio::test]
async fn a_limit_that_the_system_refuses_is_an_error_and_nothing_runs() {
    // Above the kernel's own maximum, whatever the permissions of this process.
    let more = Confinement::new().open_files(u64::MAX - 1);
    let scene = Scene::new();
    let touched = scene.folder().join("touched");
    let launch = scene.script("touch \"$0\"", &[&touched]).confine(more);
    match launch.start().await {
        Err(StartError::Configuration(why)) => assert!(why.contains("Launch::confine"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(!touched.exists(), "the script was run");
    scene.assert_empty();
}
