//! A killed host takes its plugins along, in whatever language they are written and whatever
//! process stands in between. Spec: SHD-12.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use plugwire_interop::leaks::{eventually, guardians, is_alive, sockets, stop};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{chance, go, not_here, rust, soaks};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// The promised limit. The remains of a host take some milliseconds to disappear.
const GONE: Duration = Duration::from_secs(1);
/// The limit on a loaded machine. Without a guardian, a Rust plugin would notice only after ten
/// seconds, and a Go plugin never.
const AT_MOST: Duration = Duration::from_secs(8);
/// The limit for everything else.
const LIMIT: Duration = Duration::from_secs(30);

/// The ways to start a plugin: alone, behind a shell that keeps running, and with children of its
/// own.
const ALONE: &str = r#"exec "$0" "$@""#;
const BEHIND_A_SHELL: &str = r#""$0" "$@"; exit $?"#;
const WITH_CHILDREN: &str = r#"sleep 1000 & sleep 1000 & exec "$0" "$@""#;

fn host(sandbox: &Sandbox, options: &[&str], way: &str, plugin: &Path) -> Command {
    let mut host = sandbox.command(rust::program("mortal-host"));
    host.args(options).args(["--", "/bin/sh", "-c", way]).arg(plugin).stdout(Stdio::piped());
    host
}

/// A running host and its output.
struct Host {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Host {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the host starts");
        let output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        Self { child, output }
    }

    fn pid(&self) -> u32 {
        self.child.id().expect("the host was not reaped")
    }

    /// Returns the rest of the first line with this beginning.
    async fn says(&mut self, beginning: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = timeout(LIMIT, self.output.read_line(&mut line)).await.expect("in time");
            assert!(read.expect("readable") > 0, "the host never printed `{beginning}`");
            if let Some(rest) = line.trim_end().strip_prefix(beginning) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Kills the host, and returns its last line. A plugin or guardian that held the host's output
    /// open would keep this from returning.
    async fn kill(mut self) -> String {
        self.child.kill().await.expect("the host can be killed");
        let mut rest = String::new();
        timeout(AT_MOST, self.output.read_to_string(&mut rest))
            .await
            .expect("in time")
            .expect("text");
        rest.lines().last().unwrap_or_default().to_owned()
    }
}

/// Waits until nothing of a host is left, and returns how long it took.
async fn all_gone(sandbox: &Sandbox, what: &str) -> Duration {
    let since = Instant::now();
    let gone = eventually(AT_MOST, || sandbox.processes().is_empty()).await;
    assert!(gone, "{what}: left: {:?}", sandbox.processes());
    since.elapsed()
}

/// Measures how long one start, use and end of a plugin takes here.
async fn a_life(sandbox: &Sandbox, options: &[&str], way: &str, plugin: &Path) -> Duration {
    let begun = Instant::now();
    let options = [options, &["--lives", "1"]].concat();
    let output = sandbox.run(&mut host(sandbox, &options, way, plugin)).await;
    assert!(output.status.success(), "{output:?}");
    begun.elapsed()
}

/// Kills hosts at twenty random points of two plugin lifetimes, in each way. The last line of the
/// host tells what each kill hit.
async fn killed_anywhere(plugin: PathBuf, options: &[&str]) {
    let points = if soaks() { 200 } else { 20 };
    for (name, way) in
        [("alone", ALONE), ("behind a shell", BEHIND_A_SHELL), ("with children", WITH_CHILDREN)]
    {
        let sandbox = Sandbox::new();
        let mut life = a_life(&sandbox, options, way, &plugin).await;
        let (mut hit, mut took) = (BTreeMap::<String, usize>::new(), Vec::new());
        let fell_on_a_plugin = |hit: &BTreeMap<String, usize>| {
            ["started", "record", "called"].iter().any(|at| hit.contains_key(*at))
        };
        // Makes a few more attempts if the machine has become so slow since the measurement that
        // nothing had started yet.
        while took.len() < points || (took.len() < 3 * points && !fell_on_a_plugin(&hit)) {
            let host = Host::start(host(&sandbox, options, way, &plugin));
            // A random moment is the point of this test.
            sleep(chance::moment(life * 2)).await;
            let last = host.kill().await;
            let step = last.split(' ').next().unwrap_or_default();
            *hit.entry(step.to_owned()).or_default() += 1;
            took.push(all_gone(&sandbox, &format!("{name}, after `{last}`")).await);
            if took.len() >= points {
                life = life.mul_f64(1.2);
            }
        }
        a_life(&sandbox, options, way, &plugin).await;
        // The last host's guardian may still be cleaning up.
        let no_files = eventually(AT_MOST, || sockets(sandbox.folder()).is_empty()).await;
        assert!(no_files, "{name}: after the next start: {:?}", sockets(sandbox.folder()));
        assert!(
            fell_on_a_plugin(&hit),
            "{name}: every kill came before a start or after an end: {hit:?}"
        );
        took.sort();
        let (usual, slowest) = (took[took.len() / 2], took[took.len() - 1]);
        assert!(usual < GONE, "{name}: {took:?}");
        let points = took.len();
        println!(
            "{points} kills {name}, {options:?}: gone within {usual:?}, at most {slowest:?}; hit {hit:?}"
        );
    }
}

#[tokio::test]
async fn soak_go_plugins_end_with_a_killed_host() {
    killed_anywhere(go::peer("1.8.0", "probe-plugin"), &[]).await;
}

#[tokio::test]
async fn soak_go_plugins_end_with_a_killed_plaintext_host() {
    killed_anywhere(go::peer("1.8.0", "probe-plugin"), &["--plaintext"]).await;
}

#[tokio::test]
async fn soak_rust_plugins_end_with_a_killed_host() {
    killed_anywhere(rust::program("probe-plugin"), &[]).await;
}

#[tokio::test]
async fn soak_rust_plugins_end_with_a_killed_plaintext_host() {
    killed_anywhere(rust::program("probe-plugin"), &["--plaintext"]).await;
}

/// Plugins of go-plugin before 1.5 choose where their socket is. The guardian learns the path from
/// their line.
#[tokio::test]
async fn a_socket_outside_the_private_directory_is_removed_too() {
    let sandbox = Sandbox::new();
    let plugin = go::peer("1.4.8", "probe-plugin");
    let mut host = Host::start(host(&sandbox, &["--lives", "1", "--then", "wait"], ALONE, &plugin));
    host.says("called").await;
    let left = sockets(sandbox.folder());
    let outside = left.iter().any(|path| path.to_string_lossy().contains("/plugin"));
    assert!(outside, "this release ignores the directory: {left:?}");
    host.kill().await;
    all_gone(&sandbox, "1.4.8").await;
    assert!(eventually(AT_MOST, || sockets(sandbox.folder()).is_empty()).await);
}

/// Without its guardian, a killed host leaves files and the plugin's children. The next start
/// removes the files.
#[tokio::test]
async fn the_next_start_sweeps_where_the_guardian_was_killed_too() {
    let sandbox = Sandbox::new();
    for release in ["1.4.8", "1.8.0"] {
        let plugin = go::peer(release, "probe-plugin");
        let options = ["--lives", "1", "--then", "wait"];
        let mut host = Host::start(host(&sandbox, &options, ALONE, &plugin));
        host.says("called").await;
        for guardian in guardians(host.pid()) {
            signal(guardian, Signal::KILL);
        }
        host.kill().await;
        // The parent-death signal does not need a guardian.
        all_gone(&sandbox, release).await;
        assert!(!sockets(sandbox.folder()).is_empty(), "the files are still there");
        a_life(&sandbox, &[], ALONE, &plugin).await;
        assert_eq!(sockets(sandbox.folder()), Default::default(), "{release}");
    }
}

/// A plugin runs as another user, from a verified copy. The parent-death signal is set after the
/// change of user, which would clear it; the copy is removed with the rest.
#[tokio::test]
async fn a_plugin_of_another_user_and_its_copy_are_removed_too() {
    if !rustix::process::geteuid().is_root() {
        not_here("only root can start a plugin as another user");
        return;
    }
    for plugin in [go::peer("1.8.0", "probe-plugin"), rust::program("probe-plugin")] {
        let sandbox = Sandbox::new();
        fs::set_permissions(sandbox.folder(), Permissions::from_mode(0o711))
            .expect("the directory's mode");
        let host = |then: &[&str]| {
            let mut host = sandbox.command(rust::program("mortal-host"));
            host.args(["--copied", "--user", "64123", "--lives", "1"]).args(then).arg("--");
            host.arg(&plugin).stdout(Stdio::piped());
            host
        };
        for guarded in [true, false] {
            let mut host = Host::start(host(&["--then", "wait"]));
            host.says("called").await;
            let guardians = guardians(host.pid()).into_iter().filter(|_| !guarded);
            guardians.for_each(|guardian| signal(guardian, Signal::KILL));
            host.kill().await;
            all_gone(&sandbox, "another user").await;
            let no_files = || sockets(sandbox.folder()).is_empty();
            let patience = if guarded { AT_MOST } else { GONE };
            assert_eq!(eventually(patience, no_files).await, guarded);
        }
        let [left] = &Vec::from_iter(sockets(sandbox.folder()))[..] else {
            panic!("one directory")
        };
        assert!(left.join("verified-program").join("probe-plugin").exists());
        let next = sandbox.run(&mut host(&[])).await;
        assert!(next.status.success(), "{next:?}");
        assert_eq!(sockets(sandbox.folder()), Default::default());
    }
}

/// `exit` does not run destructors either.
#[tokio::test]
async fn a_host_that_exits_without_a_shutdown_takes_its_plugins_along() {
    let sandbox = Sandbox::new();
    let plugin = rust::program("probe-plugin");
    let options = ["--lives", "1", "--plugins", "3", "--then", "exit"];
    let output = sandbox.run(&mut host(&sandbox, &options, WITH_CHILDREN, &plugin)).await;
    assert!(output.status.success(), "{output:?}");
    all_gone(&sandbox, "exit").await;
    assert!(eventually(AT_MOST, || sockets(sandbox.folder()).is_empty()).await);
}

/// The guardian ignores whatever a terminal or a service manager sends to all of a host's
/// processes. It stays until the host ends, and no longer.
#[tokio::test]
async fn the_guardian_ignores_terminating_signals_and_ends_with_the_host() {
    let sandbox = Sandbox::new();
    let plugin = rust::program("probe-plugin");
    let options = ["--lives", "1", "--plugins", "2", "--then", "wait"];
    let mut host = Host::start(host(&sandbox, &options, BEHIND_A_SHELL, &plugin));
    host.says("called").await;
    let [guardian] = guardians(host.pid())[..] else { panic!("one guardian per host") };
    for polite in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::TSTP] {
        signal(guardian, polite);
    }
    assert!(is_alive(guardian));
    host.kill().await;
    all_gone(&sandbox, "polite signals").await;
    assert!(eventually(AT_MOST, || !is_alive(guardian)).await, "the guardian keeps running");
}

/// A killed guardian is replaced at the next start or end of a plugin, and the new one knows of all
/// plugins.
#[tokio::test]
async fn a_killed_guardian_is_replaced_by_one_that_knows_all_plugins() {
    let sandbox = Sandbox::new();
    let plugin = rust::program("probe-plugin");
    let options = ["--lives", "1", "--plugins", "2", "--on-demand", "--then", "wait"];
    let mut command = host(&sandbox, &options, BEHIND_A_SHELL, &plugin);
    command.stdin(Stdio::piped());
    let mut host = Host::start(command);
    let mut stdin = host.child.stdin.take().expect("standard input is piped");
    stdin.write_all(b"one\n").await.expect("the host reads");
    host.says("started").await;
    let [lost] = guardians(host.pid())[..] else { panic!("one guardian per host") };
    signal(lost, Signal::KILL);
    assert!(eventually(LIMIT, || !is_alive(lost)).await);
    stdin.write_all(b"two\n").await.expect("the host reads");
    host.says("called").await;
    let [successor] = guardians(host.pid())[..] else { panic!("one guardian per host") };
    assert_ne!(successor, lost);
    // Each plugin is behind a shell, so only a guardian reaches it.
    let all = sandbox.processes();
    assert_eq!(all.len(), 5, "{all:?}");
    host.kill().await;
    all_gone(&sandbox, "a successor").await;
}

/// A process that leaves the process group by setsid is out of reach, which is a documented limit.
#[tokio::test]
async fn a_child_in_its_own_session_keeps_running() {
    const RUNAWAY: &str = r#"setsid sh -c ': >"$1/away"; exec sleep 1000' - "$TMPDIR" &
        until [ -e "$TMPDIR/away" ]; do sleep 0.01; done; exec "$0" "$@""#;
    let sandbox = Sandbox::new();
    let plugin = rust::program("probe-plugin");
    let options = ["--lives", "1", "--then", "wait"];
    let mut host = Host::start(host(&sandbox, &options, RUNAWAY, &plugin));
    let pid: u32 = host.says("started").await.parse().expect("a pid");
    host.says("called").await;
    host.kill().await;
    assert!(eventually(AT_MOST, || !is_alive(pid)).await, "the plugin is killed");
    assert!(
        eventually(AT_MOST, || sandbox.processes().len() == 1).await,
        "only the process in its own session is left"
    );
    let [runaway] = sandbox.processes()[..] else {
        panic!("the process was killed: update the documentation")
    };
    signal(runaway, Signal::KILL);
}

/// A plugin that is meant to be attached to again keeps running, and its socket survives the next
/// host's sweep.
#[tokio::test]
async fn a_plugin_that_outlives_its_host_is_attached_to_by_the_next() {
    use plugwire::host::{Attach, ShutdownPhase, Timeouts};
    use plugwire_interop::probe::Payload;
    use plugwire_interop::scenarios::probe;
    // A plugin that would notice the end of its host at once.
    const ATTENTIVE: &str = r#"exec "$0" --orphan-ms 100"#;
    let plugins =
        [(go::peer("1.8.0", "probe-plugin"), ALONE), (rust::program("probe-plugin"), ATTENTIVE)];
    for (plugin, way) in plugins {
        let sandbox = Sandbox::new();
        let options = ["--plaintext", "--outlives-host", "--lives", "1", "--then", "wait"];
        let mut host = Host::start(host(&sandbox, &options, way, &plugin));
        let record = host.says("record").await;
        host.says("called").await;
        host.kill().await;
        // The elapsed time itself is what is tested.
        sleep(GONE).await;
        a_life(&sandbox, &[], ALONE, &plugin).await;
        let records = plugwire::protocol::reattach::parse_map(&record).expect("a record");
        let record = records["probe"].clone();
        let attached = Attach::new(record.clone()).kill_on_shutdown().connect().await;
        let attached = attached.expect("the plugin runs");
        probe(&attached).echo(Payload { data: "word".into() }).await.expect("a reply");
        drop(attached);
        let timeouts = Timeouts::default().start(LIMIT).shutdown(GONE);
        let again = Attach::new(record).kill_on_shutdown().timeouts(timeouts).connect().await;
        let again = again.expect("the plugin still runs");
        // A stopped plugin cannot be asked to end.
        stop(again.pid().expect("a pid")).await;
        let stop = again.shutdown().await.expect("the shutdown works");
        assert_eq!((stop.phase, stop.exit), (ShutdownPhase::Killed, None));
        sandbox.assert_no_processes().await;
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, signal).expect("the process runs");
}
