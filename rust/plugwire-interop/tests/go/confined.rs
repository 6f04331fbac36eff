//! The confinement of a plugin, as the kernel reports it; confined plugins work.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plugwire::host::{Confinement, PluginHandle};
use plugwire_interop::brokered::{Brokered, MODES};
use plugwire_interop::probe::InspectRequest;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
use plugwire_interop::{PROBE, go, not_here, rust};

/// A user and a group without any files or processes.
const OTHER_USER: (u32, u32) = (64_123, 64_124);

fn plugins() -> [PathBuf; 2] {
    [go::peer("1.8.0", "probe-plugin"), rust::program("probe-plugin")]
}

fn proc(plugin: &PluginHandle, file: &str) -> String {
    fs::read_to_string(format!("/proc/{}/{file}", plugin.pid().expect("a pid")))
        .expect("the plugin runs")
}

/// Returns the soft and the hard limit, as `/proc/PID/limits` shows them.
fn limit(plugin: &PluginHandle, name: &str) -> [String; 2] {
    let limits = proc(plugin, "limits");
    let row = limits.lines().find_map(|row| row.strip_prefix(name)).expect("a known limit");
    let mut words = row.split_whitespace().map(str::to_owned);
    [words.next().expect("soft"), words.next().expect("hard")]
}

fn status(plugin: &PluginHandle, name: &str) -> String {
    let status = proc(plugin, "status");
    let row = status.lines().find_map(|row| row.strip_prefix(name)?.strip_prefix(':'));
    row.expect("a known line").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn each_limit_is_the_plugins_and_not_the_hosts() {
    let confinement = Confinement::new()
        .address_space(8 << 30)
        .open_files(123)
        .cpu_time(Duration::from_millis(99_500))
        .file_size(1_234_567)
        .processes(4321)
        .core_dumps(0)
        .no_new_privs();
    let expected = [
        ("Max address space", 8_u64 << 30, 8_u64 << 30),
        ("Max open files", 123, 123),
        ("Max cpu time", 100, 101),
        ("Max file size", 1_234_567, 1_234_567),
        ("Max processes", 4321, 4321),
        ("Max core file size", 0, 0),
    ];
    for program in plugins() {
        let sandbox = Sandbox::new();
        let launch = || sandbox.launch(PROBE, &program).version(1);
        let free = launch().start().await.expect("a start");
        let plugin = launch().confine(confinement.clone()).start().await.expect("a start");
        for (name, soft, hard) in expected {
            assert_eq!(limit(&plugin, name), [soft.to_string(), hard.to_string()], "{name}");
            // Core dumps may be disabled for all processes here; no limit is lower than that.
            let differs = limit(&free, name)[1] != hard.to_string();
            assert!(
                differs || name == "Max core file size",
                "{name}: the same as without confinement"
            );
        }
        assert_eq!(status(&plugin, "NoNewPrivs"), "1");
        assert_eq!(status(&free, "NoNewPrivs"), "0");
        assert!(plugin.ping().await.is_ok());
        for plugin in [free, plugin] {
            plugin.shutdown().await.expect("the shutdown works");
        }
        sandbox.assert_empty().await;
    }
}

/// A plugin that runs as another user has none of the host's groups, reaches its own directory and
/// the host's brokered sockets, and the host reaches the plugin's. No other user can.
#[tokio::test]
async fn a_plugin_of_another_user_is_reached_and_reaches_its_host() {
    if !rustix::process::geteuid().is_root() {
        not_here("only root can start a plugin as another user");
        return;
    }
    let (user, group) = OTHER_USER;
    for program in plugins() {
        for (mode, verified) in MODES.into_iter().zip([true, false, true, false]) {
            let sandbox = Sandbox::new();
            let through = fs::Permissions::from_mode(0o711);
            fs::set_permissions(sandbox.folder(), through).expect("the directory's mode");
            let launch = sandbox.launch(PROBE, &program);
            let mut launch = launch.confine(Confinement::new().user(user, group));
            if verified {
                launch = launch.verify_with(|_| Ok(()));
            }
            let pair = Brokered::start(launch, mode).await;
            assert_eq!(status(&pair.plugin, "Uid"), [user; 4].map(|id| id.to_string()).join(" "));
            assert_eq!(status(&pair.plugin, "Gid"), [group; 4].map(|id| id.to_string()).join(" "));
            assert_eq!(status(&pair.plugin, "Groups"), group.to_string());
            assert_eq!(status(&pair.plugin, "CapEff"), "0000000000000000");
            let id = pair.offer(Duration::ZERO).await;
            let reached = pair.host_dials(id).await.expect("the host reaches the plugin");
            assert_eq!(reached.served, id);
            let id = pair.side.serve().await.expect("the host serves");
            let reached = pair.plugin_dials(id, 3, 100).await.expect("the plugin reaches the host");
            assert_eq!(reached.served, id);
            assert_private(&pair.plugin, group);
            pair.plugin.shutdown().await.expect("the shutdown works");
            sandbox.assert_empty().await;
        }
    }
}

fn assert_private(plugin: &PluginHandle, group: u32) {
    use std::os::unix::fs::MetadataExt;
    let socket = PathBuf::from(plugin.record().address);
    let folder =
        socket.parent().map(Path::metadata).expect("a directory").expect("the directory exists");
    assert_eq!((folder.mode() & 0o7777, folder.uid(), folder.gid()), (0o1770, 0, group));
}

/// With a socket group chosen by the host, that group is the plugin's only supplementary group.
#[tokio::test]
async fn a_plugin_of_another_user_keeps_the_socket_group() {
    if !rustix::process::geteuid().is_root() {
        not_here("only root can start a plugin as another user");
        return;
    }
    for program in plugins() {
        let sandbox = Sandbox::new();
        fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o711))
            .expect("the directory's mode");
        let launch = sandbox.launch(PROBE, &program).version(1).socket_group("64125");
        let confinement = Confinement::new().user(OTHER_USER.0, OTHER_USER.1);
        let plugin = launch.confine(confinement).start().await.expect("a start");
        assert_eq!(status(&plugin, "Groups"), "64125");
        assert!(probe(&plugin).inspect(InspectRequest {}).await.is_ok());
        plugin.shutdown().await.expect("the shutdown works");
        sandbox.assert_empty().await;
    }
}
