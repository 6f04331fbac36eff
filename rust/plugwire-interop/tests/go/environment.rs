//! The environment that a plugin runs in: variables, arguments, directory, standard input, sockets.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use plugwire::host::Confinement;
use plugwire::protocol::environment::PortRange;
use plugwire_interop::leaks::is_alive;
use plugwire_interop::probe::{InspectReport, InspectRequest};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
use plugwire_interop::{PROBE, RELEASES, go, rust};
use serde_json::Value;

fn plugins() -> [PathBuf; 2] {
    [go::peer("1.8.0", "probe-plugin"), rust::program("probe-plugin")]
}

/// The environment of the host: variables passed on by default, others, and the protocol variables
/// of an outer host.
const HOSTS: [(&str, &str); 16] = [
    ("HOME", "/home/somebody"),
    ("LANG", "C.UTF-8"),
    ("LC_ALL", "C.UTF-8"),
    ("LC_TIME", "C"),
    ("PATH", "/usr/bin:/bin"),
    ("TMPDIR", "/tmp"),
    ("TZ", "UTC"),
    ("USER", "somebody"),
    ("AWS_SECRET_ACCESS_KEY", "secret"),
    ("LD_PRELOAD_OF_NOBODY", "secret"),
    ("PLUGIN_CLIENT_CERT", "outer"),
    ("PLUGIN_MIN_PORT", "1"),
    ("PLUGIN_MULTIPLEX_GRPC", "true"),
    ("PLUGIN_UNIX_SOCKET_DIR", "/outer"),
    ("PLUGIN_UNIX_SOCKET_GROUP", "outer"),
    ("SHELL", "/bin/sh"),
];

/// Returns what the plugin of an inspect host in that environment reports.
async fn inspect(sandbox: &Sandbox, options: &[&str], plugin: &Path) -> Value {
    let mut host = sandbox.command(rust::program("inspect-host"));
    host.env_clear().envs(HOSTS).args(options).arg("--").arg(plugin);
    let output = sandbox.run(&mut host).await;
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a report")
}

fn variables(report: &Value) -> BTreeMap<&str, &str> {
    let variables = report["env"].as_object().expect("an object").iter();
    variables.map(|(name, value)| (name.as_str(), value.as_str().expect("text"))).collect()
}

/// Removes the protocol's variables, which must come from the host that started the plugin. Spec:
/// ENV-1, ENV-2, ENV-4, ENV-5.
fn take_protocol(variables: &mut BTreeMap<&str, &str>, mutual_tls: bool) {
    assert_eq!(variables.remove("PLUGWIRE_PROBE"), Some("plugwire"));
    assert_eq!(variables.remove("PLUGIN_PROTOCOL_VERSIONS"), Some("1"));
    assert_eq!(variables.remove("PLUGIN_MIN_PORT"), Some("10000"));
    assert_eq!(variables.remove("PLUGIN_MAX_PORT"), Some("25000"));
    let folder = variables.remove("PLUGIN_UNIX_SOCKET_DIR").expect("a directory");
    assert!(folder.starts_with("/tmp/plugwire-"), "{folder}");
    let certificate = variables.remove("PLUGIN_CLIENT_CERT");
    assert_eq!(certificate.is_some(), mutual_tls);
    let pem = certificate.unwrap_or("-----BEGIN CERTIFICATE-----\n");
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n"), "{pem}");
    let left: Vec<_> = variables.keys().filter(|name| name.starts_with("PLUGIN_")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The plugin gets exactly the documented list and what the protocol sets. Spec: ENV-12.
#[tokio::test]
async fn the_environment_is_clean_by_default() {
    for plugin in plugins() {
        for options in [&[][..], &["--plaintext"]] {
            let sandbox = Sandbox::new();
            let report = inspect(&sandbox, options, &plugin).await;
            let mut seen = variables(&report);
            take_protocol(&mut seen, options.is_empty());
            assert_eq!(seen, BTreeMap::from_iter(HOSTS.into_iter().take(8)), "{plugin:?}");
        }
    }
}

/// Variables are passed on by name, except for the protocol variables of an outer host.
#[tokio::test]
async fn named_variables_are_inherited() {
    let names = ["SHELL", "PLUGIN_CLIENT_CERT", "PLUGIN_MULTIPLEX_GRPC", "NOT_SET"];
    let options: Vec<&str> = names.iter().flat_map(|name| ["--inherit", name]).collect();
    for plugin in plugins() {
        let sandbox = Sandbox::new();
        let report = inspect(&sandbox, &options, &plugin).await;
        let mut seen = variables(&report);
        take_protocol(&mut seen, true);
        let expected = HOSTS.into_iter().take(8).chain([("SHELL", "/bin/sh")]);
        assert_eq!(seen, expected.collect(), "{plugin:?}");
    }
}

/// All variables are passed on as Go's hosts do, except for the protocol variables of an outer
/// host: with them, this plugin would answer to the wrong host.
#[tokio::test]
async fn all_variables_are_inherited_on_demand() {
    for plugin in plugins() {
        for options in [&["--inherit-all"][..], &["--inherit-all", "--plaintext"]] {
            let sandbox = Sandbox::new();
            let report = inspect(&sandbox, options, &plugin).await;
            let mut seen = variables(&report);
            take_protocol(&mut seen, options.len() == 1);
            let expected = HOSTS.into_iter().filter(|(name, _)| !name.starts_with("PLUGIN_"));
            assert_eq!(seen, expected.collect(), "{plugin:?}");
        }
    }
}

/// The error of a failed start states how many variables were withheld: a missing variable is a
/// likely reason.
#[tokio::test]
async fn errors_say_how_many_were_withheld() {
    let outer = HOSTS.iter().filter(|(name, _)| name.starts_with("PLUGIN_")).count();
    let others = HOSTS.len() - 8;
    for (options, expected) in
        [(&["--withheld"][..], others), (&["--withheld", "--inherit-all"], outer)]
    {
        let sandbox = Sandbox::new();
        let report = inspect(&sandbox, options, Path::new("/bin/false")).await;
        assert_eq!(report, expected, "{options:?}");
    }
}

/// Standard input is empty by default; one setting passes on the host's own. Spec: ENV-11.
#[tokio::test]
async fn standard_input() {
    for plugin in plugins() {
        for (options, at_end) in [(&[][..], true), (&["--stdin"], false)] {
            let sandbox = Sandbox::new();
            let mut host = sandbox.command(rust::program("inspect-host"));
            host.args(options).arg("--").arg(&plugin);
            // A pipe that stays open and empty, like a terminal without input.
            let mut host =
                host.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the host runs");
            let stdin = host.stdin.take();
            let output = host.wait_with_output();
            let output = tokio::time::timeout(std::time::Duration::from_secs(60), output).await;
            let output = output.expect("in time").expect("the host exits");
            drop(stdin);
            let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
            assert_eq!(report["stdin_eof"], at_end, "{plugin:?} {options:?}");
        }
    }
}

async fn given(launch: plugwire::host::Launch) -> InspectReport {
    let plugin = launch.start().await.expect("a start");
    let report = probe(&plugin).inspect(InspectRequest {}).await.expect("a report").into_inner();
    assert_eq!(Some(report.pid), plugin.pid());
    plugin.shutdown().await.expect("the shutdown works");
    report
}

#[tokio::test]
async fn arguments_directory_variables_and_ports() {
    for plugin in plugins() {
        let sandbox = Sandbox::new();
        let folder = sandbox.folder().join("a folder");
        std::fs::create_dir(&folder).expect("a directory");
        let launch = sandbox.launch(PROBE, &plugin).version(1);
        let launch = launch.arg("--versions").args(["1,7"]).current_dir(&folder);
        let launch = launch.env("MINE", "old").env("MINE", "new").env("PLUGIN_MIN_PORT", "0");
        let range = PortRange::new(40_000, 40_001).expect("a range");
        let report = given(launch.ports(Some(range))).await;
        assert_eq!(report.args[0], plugin.to_str().expect("UTF-8"));
        assert_eq!(report.args[1..], ["--versions", "1,7"]);
        assert_eq!(Path::new(&report.cwd), folder.canonicalize().expect("the directory exists"));
        assert_eq!(report.env["MINE"], "new");
        assert_eq!(report.env["PLUGIN_MIN_PORT"], "40000");
        assert_eq!(report.env["PLUGIN_MAX_PORT"], "40001");
        assert!(!report.env.contains_key("PLUGIN_UNIX_SOCKET_GROUP"));
        let report = given(sandbox.launch(PROBE, &plugin).version(1).ports(None)).await;
        assert!(!report.env.contains_key("PLUGIN_MIN_PORT"));
        assert!(!report.env.contains_key("PLUGIN_MAX_PORT"));
        sandbox.assert_empty().await;
    }
}

/// A Go host gives plugins in both languages the same environment.
#[tokio::test]
async fn go_hosts_give_a_rust_plugin_what_they_give_a_go_plugin() {
    for release in RELEASES {
        for tls in [&[][..], &["--auto-mtls"]] {
            let sandbox = Sandbox::new();
            let folder = sandbox.folder().to_str().expect("UTF-8");
            let scenario = [&["inspect", "--env", "MINE=mine", "--dir", folder][..], tls].concat();
            let mut seen = Vec::new();
            for plugin in [go::peer(release, "probe-plugin"), rust::program("probe-plugin")] {
                let plugin = [plugin.as_os_str(), OsStr::new("--unlimited")];
                let report = sandbox.go_host(release, &scenario, &plugin).await;
                let mut result = report["result"].clone();
                assert_eq!(result["pid"], report["start"]["pid"], "{report:#}");
                result["args"][0].take();
                // The certificate is new for each start.
                assert_eq!(result["env"]["PLUGIN_CLIENT_CERT"].take().is_null(), tls.is_empty());
                let metadata = result["metadata"].as_object_mut().expect("an object");
                metadata.retain(|key, _| key.starts_with("probe-") || key == "content-type");
                assert_eq!(metadata.len(), 3, "{metadata:?}");
                let keys = ["args", "env", "cwd", "metadata", "stdin_eof"];
                seen.push(keys.map(|key| result[key].take()));
            }
            assert_eq!(seen[1], seen[0], "{release} {tls:?}");
        }
    }
}

/// The host resolves a relative program path itself, wherever the plugin runs.
#[tokio::test]
async fn a_program_by_name_and_by_relative_path() {
    let sandbox = Sandbox::new();
    let script = sandbox.folder().join("a-plugin");
    let plugin = rust::program("probe-plugin");
    std::os::unix::fs::symlink(&plugin, &script).expect("a link");
    let here = std::env::current_dir().expect("a directory");
    let ups = here.components().count() - 1;
    let relative: PathBuf = std::iter::repeat_n("..", ups).collect();
    let relative = relative.join(script.strip_prefix("/").expect("the path is absolute"));
    let launch = sandbox.launch(PROBE, &relative).version(1).current_dir("/");
    let report = given(launch).await;
    assert_eq!((report.cwd.as_str(), Path::new(&report.args[0])), ("/", &*relative));

    let launch = sandbox.launch(PROBE, "sh").version(1).arg("-c");
    let report = given(launch.arg(format!("exec '{}'", plugin.display()))).await;
    assert_eq!(report.args[0], plugin.to_str().expect("UTF-8"));
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("the file exists").permissions().mode() & 0o7777
}

/// With a socket group, the group can use the socket and enter its directory; by default only the
/// user can. Spec: ENV-8, ENV-9, SOCK-4.
#[tokio::test]
async fn sockets_belong_to_the_user_or_to_a_group() {
    let group = rustix::process::getgid().as_raw();
    for plugin in plugins() {
        let sandbox = Sandbox::new();
        for shared in [false, true] {
            let mut launch = sandbox.launch(PROBE, &plugin).version(1);
            if shared {
                launch = launch.socket_group(group.to_string());
            }
            let plugin = launch.start().await.expect("a start");
            let socket = PathBuf::from(plugin.record().address);
            let folder = socket.parent().expect("a directory");
            assert_eq!(folder.parent(), Some(sandbox.folder()), "{socket:?}");
            assert_eq!(mode(folder), if shared { 0o1770 } else { 0o700 }, "{socket:?}");
            if shared {
                assert_eq!(mode(&socket), 0o660, "{socket:?}");
                assert_eq!(std::fs::metadata(&socket).expect("the socket exists").gid(), group);
            }
            plugin.shutdown().await.expect("the shutdown works");
        }
        sandbox.assert_empty().await;
    }
}

/// A Go host's socket group and directory apply to a Rust plugin; checked on a plugin that the host
/// leaves running.
#[tokio::test]
async fn go_hosts_set_the_sockets_group() {
    let group = rustix::process::getgid().as_raw().to_string();
    for release in ["1.6.3", "1.8.0", "1.8.0-newest"] {
        let sandbox = Sandbox::new();
        let plugin = rust::program("probe-plugin");
        let scenario = ["start", "--leave", "--socket-group", &group];
        let report = sandbox.go_host(release, &scenario, &[plugin.as_os_str() as &OsStr]).await;
        let socket = Path::new(report["start"]["address"].as_str().expect("a path"));
        assert_eq!(socket.parent(), Some(sandbox.folder()));
        assert_eq!(mode(socket), 0o660, "{release}");
        let pid = report["start"]["pid"].as_u64().expect("a number") as u32;
        assert!(is_alive(pid));
        sandbox.kill_all();
        sandbox.assert_no_processes().await;
    }
}

/// Nothing is started for a group that does not exist.
#[tokio::test]
async fn a_group_that_does_not_exist_is_an_error_with_its_name() {
    let sandbox = Sandbox::new();
    let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).version(1);
    let error = launch.socket_group("no-such-group-here").start().await.expect_err("no group");
    assert_eq!(error.code(), "start.machine");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("no-such-group-here"), "{cause}");
    sandbox.assert_empty().await;
}

/// Descriptors that the host left open for every program, such as the sockets of a service manager,
/// are not inherited by any plugin, whether it runs as the host's user or as another.
#[tokio::test]
async fn descriptors_that_the_host_left_open_are_not_inherited() {
    let sandbox = Sandbox::new();
    let path = sandbox.folder().join("left-open");
    let left_open = std::fs::File::create(&path).expect("a file");
    rustix::io::fcntl_setfd(&left_open, rustix::io::FdFlags::empty()).expect("the file is open");
    let opened = |process: &str| {
        let descriptors =
            std::fs::read_dir(format!("/proc/{process}/fd")).expect("the process runs");
        let targets = descriptors.flatten().filter_map(|one| std::fs::read_link(one.path()).ok());
        targets.collect::<Vec<_>>()
    };
    assert!(opened("self").contains(&path));
    let mut confinements = vec![Confinement::new()];
    if rustix::process::geteuid().is_root() {
        confinements.push(Confinement::new().user(64_123, 64_124));
    }
    for program in plugins() {
        for confinement in &confinements {
            let sandbox = Sandbox::new();
            let through = std::fs::Permissions::from_mode(0o711);
            std::fs::set_permissions(sandbox.folder(), through).expect("the directory's mode");
            let launch = sandbox.launch(PROBE, &program).version(1).confine(confinement.clone());
            let plugin = launch.start().await.expect("a start");
            let opened = opened(&plugin.pid().expect("a pid").to_string());
            assert!(opened.len() > 2 && !opened.contains(&path), "{confinement:?}: {opened:?}");
            plugin.shutdown().await.expect("the shutdown works");
        }
    }
}
