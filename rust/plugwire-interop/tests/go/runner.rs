//! Plugins that are started by a runner and see different paths than their host.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use plugwire::host::{Plan, Runner, Running, ShutdownPhase, Started};
use plugwire::net::Mounted;
use plugwire_examples::namespace::Namespace;
use plugwire_interop::brokered::{Brokered, MODES, Mode};
use plugwire_interop::leaks::{sockets, stop};
use plugwire_interop::probe::{DieRequest, InspectRequest};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::{self, probe};
use plugwire_interop::{PROBE, RELEASES, go, not_here, rust};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(60);

fn plugins() -> [PathBuf; 2] {
    [go::peer("1.8.0", "probe-plugin"), rust::program("probe-plugin")]
}

/// Returns the kinds of namespace that this system allows.
fn namespaces() -> Vec<Namespace> {
    let allowed = |options: &[&str]| {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(options).args(["--mount", "--pid", "--fork", "mount"]);
        unshare.args(["-t", "tmpfs", "none", "/mnt"]);
        unshare.output().is_ok_and(|output| output.status.success())
    };
    let mut all = Vec::new();
    if allowed(&["--user", "--map-root-user"]) {
        all.push(Namespace { user: true });
    } else {
        not_here("this system does not allow user namespaces");
    }
    if allowed(&[]) {
        all.push(Namespace { user: false });
    } else {
        not_here("this system does not allow this user to create a mount namespace");
    }
    all
}

/// Makes calls on all kinds of connections, in both directions.
async fn broker_both_ways(pair: &Brokered) {
    for _ in 0..3 {
        let id = pair.offer(Duration::ZERO).await;
        assert_eq!(pair.host_dials(id).await.expect("the host reaches the plugin").served, id);
        let id = pair.side.serve().await.expect("the host serves");
        let reached = pair.plugin_dials(id, 3, 1000).await.expect("the plugin reaches the host");
        assert_eq!(reached.served, id);
    }
    let echo = scenarios::echo(&pair.plugin, 100_000).await;
    assert_eq!(echo["payload_intact"], true, "{echo}");
}

#[tokio::test]
async fn a_plugin_in_its_own_namespace() {
    for namespace in namespaces() {
        for program in plugins() {
            for mode in MODES {
                let sandbox = Sandbox::new();
                let launch = sandbox.launch(PROBE, &program).runner(namespace);
                let pair = timeout(LIMIT, Brokered::start(launch, mode)).await.expect("in time");
                let report = probe(&pair.plugin).inspect(InspectRequest {}).await;
                let seen = report.expect("a report").into_inner().env;
                assert_eq!(seen["PLUGIN_UNIX_SOCKET_DIR"], "/mnt");
                let socket = PathBuf::from(pair.plugin.record().address);
                assert!(socket.starts_with(sandbox.folder()), "the host's own path: {socket:?}");
                let id = pair.plugin.runner_id().expect("a runner started it");
                assert!(id.starts_with("namespace of "), "{id}");
                assert_eq!(pair.plugin.pid(), None);
                broker_both_ways(&pair).await;
                let stop = pair.plugin.shutdown().await.expect("the shutdown works");
                let exit = stop.exit.expect("the process was reaped");
                assert_eq!((stop.phase, exit.code()), (ShutdownPhase::Asked, Some(0)));
                sandbox.assert_empty().await;
            }
        }
    }
}

/// Plugins before go-plugin 1.5 ignore the variable and use the temporary directory.
#[tokio::test]
async fn plugins_of_all_releases_in_a_namespace() {
    for namespace in namespaces() {
        for release in RELEASES {
            for mode in Mode::of(release) {
                let sandbox = Sandbox::new();
                let mut launch = sandbox.launch(PROBE, go::peer(release, "probe-plugin"));
                if release == "1.4.8" {
                    launch = launch.env("TMPDIR", "/mnt");
                }
                let launch = launch.runner(namespace);
                let pair = timeout(LIMIT, Brokered::start(launch, mode)).await.expect("in time");
                broker_both_ways(&pair).await;
                pair.plugin.shutdown().await.expect("the shutdown works");
                sandbox.assert_empty().await;
            }
        }
    }
}

/// Runs the example itself, whose plugin calls back.
#[tokio::test]
async fn the_example() {
    let host = rust::example("namespace-host");
    for namespace in namespaces() {
        for plugin in
            [go::example("1.8.0", "bidirectional-plugin"), rust::example("counter-plugin")]
        {
            let sandbox = Sandbox::new();
            let mut command = sandbox.command(&host);
            if !namespace.user {
                command.arg("--as-root");
            }
            let output = sandbox.run(command.arg(&plugin)).await;
            assert_eq!(String::from_utf8_lossy(&output.stdout), "42\n", "{plugin:?}: {output:?}");
            sandbox.assert_empty().await;
        }
    }
}

/// A plugin started by a runner ends like others: by force after an unanswered request, with its
/// last handle, and on its own.
#[tokio::test]
async fn the_ways_a_plugin_in_a_namespace_ends() {
    for namespace in namespaces() {
        for program in plugins() {
            let sandbox = Sandbox::new();
            let launch = || sandbox.launch(PROBE, &program).version(1).runner(namespace);
            let plugin = launch()
                .shutdown_timeout(Duration::from_millis(200))
                .exit_timeout(Duration::from_millis(200))
                .start()
                .await
                .expect("a start");
            stop_all(&sandbox).await;
            let stop = plugin.shutdown().await.expect("the plugin is killed");
            assert_eq!(stop.phase, ShutdownPhase::Killed);
            sandbox.assert_empty().await;

            drop(launch().start().await.expect("a start"));
            sandbox.assert_empty().await;

            let plugin = launch().start().await.expect("a start");
            let status = probe(&plugin).die(DieRequest { how: "exit:6".to_owned() }).await;
            status.expect_err("the plugin is gone");
            let exit = timeout(LIMIT, plugin.exited()).await.expect("in time");
            assert_eq!(exit.code(), Some(6));
            drop(plugin);
            sandbox.assert_empty().await;
        }
    }
}

/// A killed host runs no destructors, and its guardian does not know about runners. So the plugins
/// of such a host keep running, except for Rust plugins, which notice; the directory stays until a
/// later start.
#[tokio::test]
async fn a_plugin_in_a_namespace_whose_host_is_killed() {
    for namespace in namespaces() {
        for program in plugins() {
            let sandbox = Sandbox::new();
            let mut host = sandbox.command(rust::program("mortal-host"));
            host.args(["--runner", if namespace.user { "user" } else { "root" }]);
            host.args(["--lives", "1", "--then", "wait", "--"]).arg(&program);
            let notices = program == rust::program("probe-plugin");
            if notices {
                host.args(["--orphan-ms", "300"]);
            }
            let mut host = host.stdout(Stdio::piped()).spawn().expect("the host starts");
            let mut said = BufReader::new(host.stdout.take().expect("piped")).lines();
            let called = async {
                while said.next_line().await.expect("text").expect("the host keeps printing")
                    != "called"
                {}
            };
            timeout(LIMIT, called).await.expect("in time");
            host.kill().await.expect("the host can be killed");
            if notices {
                sandbox.assert_no_processes().await;
            } else {
                // The elapsed time itself is what is tested.
                sleep(Duration::from_secs(1)).await;
                assert!(
                    !sandbox.processes().is_empty(),
                    "the plugin ended: update the documentation"
                );
                sandbox.kill_all();
                sandbox.assert_no_processes().await;
            }
            assert_eq!(sockets(sandbox.folder()).len(), 1, "the host's directory is left");
            let mut next = sandbox.command(rust::program("mortal-host"));
            next.args(["--lives", "1", "--"]).arg(&program);
            assert!(sandbox.run(&mut next).await.status.success());
            sandbox.assert_empty().await;
        }
    }
}

/// Sends the signal from outside: the first process of a namespace ignores signals from inside.
async fn stop_all(sandbox: &Sandbox) {
    let processes = sandbox.processes();
    assert!(!processes.is_empty(), "there is a process to stop");
    for pid in processes {
        stop(pid).await;
    }
}

/// Where namespaces are not available: another root, which contains the program and its libraries.
struct Chroot {
    root: PathBuf,
}

impl Chroot {
    fn new(root: &Path, program: &Path) -> Self {
        let libraries = std::process::Command::new("ldd").arg(program).output().expect("ldd");
        let libraries = String::from_utf8(libraries.stdout).expect("text");
        let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
        for library in libraries {
            let copy = root.join(library.trim_start_matches('/'));
            fs::create_dir_all(copy.parent().expect("a directory")).expect("a directory");
            copied(Path::new(library), &copy);
        }
        copied(program, &root.join("plugin"));
        Self { root: root.to_owned() }
    }
}

/// Copies a file in another process. If this process wrote the program, another test could fork at
/// that moment and inherit the open descriptor, and a program that is open for writing cannot be
/// executed.
fn copied(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").args([from, to]).status();
    assert!(done.expect("cp").success(), "{}", from.display());
}

#[tonic::async_trait]
impl Runner for Chroot {
    async fn start(&self, mut plan: Plan) -> io::Result<Started> {
        let inside = plan.socket_dir.strip_prefix(&self.root).map_err(io::Error::other)?;
        let mounted: Mounted = plan.mounted_at(Path::new("/").join(inside));
        let mut chroot = Command::new("chroot");
        chroot.arg(&self.root).arg("/plugin").args(&plan.arguments).env_clear();
        chroot.envs(&plan.variables).stdin(Stdio::null()).kill_on_drop(true);
        let mut child = chroot.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        Ok(Started::new("chroot", stdout, stderr, Inside(child)).translate(mounted))
    }
}

struct Inside(Child);

#[tonic::async_trait]
impl Running for Inside {
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }

    async fn kill(&mut self) -> io::Result<()> {
        self.0.start_kill()
    }
}

#[tokio::test]
async fn a_plugin_with_another_root() {
    let possible = std::process::Command::new("chroot").args(["/", "true"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        not_here("this user is not allowed to call chroot");
        return;
    }
    for program in plugins() {
        for mode in MODES {
            let sandbox = Sandbox::new();
            let launch = sandbox.launch(PROBE, "plugin").env("TMPDIR", "/");
            let launch = launch.runner(Chroot::new(sandbox.folder(), &program));
            let pair = timeout(LIMIT, Brokered::start(launch, mode)).await.expect("in time");
            broker_both_ways(&pair).await;
            pair.plugin.shutdown().await.expect("the shutdown works");
            sandbox.assert_empty().await;
        }
    }
}
