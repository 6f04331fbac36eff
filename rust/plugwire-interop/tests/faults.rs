//! Runs many plugins under random faults. The host never waits longer than its limits allow,
//! reports what happened, and has nothing left at the end. The test counts what this process holds,
//! so it must be the only test in it. Some hundreds of runs; 10,000 with `PLUGWIRE_SOAK=1`.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use plugwire::host::{Launch, PluginGone, PluginHandle, ShutdownPhase, StartError};
use plugwire_interop::broker_probe::resident_bytes;
use plugwire_interop::chance;
use plugwire_interop::leaks::{self, Holdings, eventually};
use plugwire_interop::probe::{DieRequest, Payload};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
use plugwire_interop::{GREETER, PROBE, go, not_here, rust, soaks, without_go};
use tokio::time::{sleep, timeout};

/// The number of plugins that run at the same time.
const AT_ONCE: usize = 4;
/// The limit of a step for plugins that exhaust it, and the limit for all others.
const STEP: Duration = Duration::from_millis(300);
const PATIENT: Duration = Duration::from_secs(10);
/// The time a loaded machine may add to the limits configured in the host.
const LOAD: Duration = Duration::from_secs(5);
/// The time the host itself may add: to read the last output of a plugin that was asked to end, to
/// reap one that was killed, and to find out why a call's plugin is gone.
const LAST_OUTPUT: Duration = Duration::from_secs(1);
const KILLED: Duration = Duration::from_secs(5);
const DIAGNOSIS: Duration = Duration::from_secs(1);
const SETTLED: Duration = Duration::from_secs(30);
/// The limit for memory growth in the second half of the runs, however many there are: what an
/// allocator keeps.
const MEMORY: u64 = 8 << 20;

/// The fault that happens to a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// No fault.
    None,
    /// SIGKILL at a random moment between its first instruction and its first calls.
    Kill,
    /// SIGSTOP during its calls.
    Stop,
    /// Standard output is closed by its reader after the handshake line.
    ClosedStdout,
    /// The plugin has no standard error.
    ClosedStderr,
    /// The disk has no room for the plugin's socket.
    FullDisk,
    /// The start takes a time that is sometimes shorter and sometimes longer than the limit.
    Slow,
    /// The plugin neither answers `Shutdown` nor exits after it: a Go plugin whose `Shutdown`
    /// hangs, and a Rust plugin with a call that blocks its only thread.
    HungShutdown,
}

const FAULTS: [Fault; 8] = [
    Fault::None,
    Fault::Kill,
    Fault::Stop,
    Fault::ClosedStdout,
    Fault::ClosedStderr,
    Fault::FullDisk,
    Fault::Slow,
    Fault::HungShutdown,
];

impl Fault {
    /// Returns the shell script that causes the fault; the plugin's command follows as arguments.
    fn shell(self) -> String {
        match self {
            Fault::None | Fault::Stop | Fault::HungShutdown => r#"exec "$0" "$@""#.to_owned(),
            Fault::Kill => {
                let after = chance::below(120);
                format!(r#"(sleep 0.{after:03}; kill -KILL $$) & exec "$0" "$@""#)
            }
            Fault::ClosedStdout => r#""$0" "$@" | head -n 1"#.to_owned(),
            Fault::ClosedStderr => r#"exec "$0" "$@" 2>&-"#.to_owned(),
            Fault::FullDisk => {
                let mount = r#"mount -t tmpfs -o nr_inodes=1 full "$PLUGIN_UNIX_SOCKET_DIR""#;
                format!(r#"exec unshare -rm sh -c '{mount} && exec "$0" "$@"' "$0" "$@""#)
            }
            Fault::Slow => format!(r#"sleep 0.{:03}; exec "$0" "$@""#, chance::below(600)),
        }
    }

    /// Returns the limit of the start and of the steps of the shutdown: drain, `Shutdown`, exit,
    /// SIGTERM.
    fn limits(self) -> (Duration, [Duration; 4]) {
        let start = if self == Fault::Slow { STEP } else { PATIENT };
        let steps = match self {
            Fault::Stop => [STEP; 4],
            Fault::HungShutdown => [STEP, STEP, STEP, PATIENT],
            _ => [STEP, PATIENT, PATIENT, STEP],
        };
        (start, steps)
    }

    /// Returns whether the host may report this outcome. Anything else is a failure.
    fn allows(self, outcome: &str) -> bool {
        match self {
            Fault::None | Fault::ClosedStdout | Fault::ClosedStderr => {
                outcome == "ended when asked"
            }
            Fault::Kill => matches!(
                outcome,
                // Killed before, during or after the steps of the start, in a call, or too late.
                "start.exited" | "start.connect" | "start.http2" | "start.tls" | "gone in a call"
            ),
            Fault::Stop => outcome == "killed",
            Fault::FullDisk => outcome == "start.exited",
            Fault::Slow => matches!(outcome, "start.timeout" | "ended when asked"),
            Fault::HungShutdown => outcome == "ended at SIGTERM",
        }
    }
}

/// The environment in which the plugins run.
struct Stage {
    sandbox: Sandbox,
    programs: Vec<PathBuf>,
    faults: Vec<Fault>,
}

impl Stage {
    fn new() -> Self {
        let mut programs = vec![rust::program("probe-plugin")];
        if !without_go() {
            programs.push(go::peer("1.8.0-newest", "probe-plugin"));
        }
        let mut faults = FAULTS.to_vec();
        if !may_fill_disks() {
            not_here("full disks: this system does not allow private mounts");
            faults.retain(|fault| *fault != Fault::FullDisk);
        }
        Self { sandbox: Sandbox::new(), programs, faults }
    }

    fn program(&self, number: usize) -> &PathBuf {
        &self.programs[number % self.programs.len()]
    }

    fn launch(&self, fault: Fault, number: usize) -> Launch {
        let program = self.program(number);
        let hung_go = fault == Fault::HungShutdown && *program != rust::program("probe-plugin");
        let (handshake, program) = match hung_go {
            true => (GREETER, go::peer("1.8.0", "misbehave")),
            false => (PROBE, program.clone()),
        };
        let launch = self.sandbox.launch(handshake, "/bin/sh").version(1);
        let launch = launch.args(["-c", &fault.shell()]).arg(program);
        let launch = match hung_go {
            true => {
                let witness = self.sandbox.folder().join(format!("witness-{number}"));
                launch.args(["--how", "shutdown-hangs", "--witness"]).arg(witness)
            }
            false => launch,
        };
        let (start, [drain, shutdown, exit, terminate]) = fault.limits();
        let launch = launch.start_timeout(start).drain_timeout(drain).shutdown_timeout(shutdown);
        let launch = launch.exit_timeout(exit).terminate_timeout(terminate);
        if number.is_multiple_of(3) { launch.dangerous().plaintext() } else { launch }
    }

    /// Runs one plugin and returns what the host reported.
    async fn life(&self, number: usize) -> (Fault, String) {
        let fault = self.faults[number / self.programs.len() % self.faults.len()];
        let launch = self.launch(fault, number);
        let in_rust = self.program(number) == &rust::program("probe-plugin");
        let (limit, _) = fault.limits();
        let started = timeout(limit + LOAD, launch.start()).await;
        let started = started.unwrap_or_else(|_| panic!("{fault:?}: the start hangs"));
        let outcome = match started {
            Err(error) if fault == Fault::FullDisk && !says_no_room(&error) => {
                format!("{} without a word about the full disk: {error:?}", error.code())
            }
            Err(error) => error.code().to_owned(),
            Ok(plugin) => match within(fault, in_rust, &plugin).await {
                Some(outcome) => outcome,
                None => stop(fault, &plugin).await,
            },
        };
        (fault, outcome)
    }
}

/// Makes the plugin's calls, during which a fault may happen.
async fn within(fault: Fault, in_rust: bool, plugin: &PluginHandle) -> Option<String> {
    let echo = async || probe(plugin).echo(Payload { data: "word".into() }).await;
    match fault {
        Fault::HungShutdown if in_rust => {
            let mut client = probe(plugin);
            let deaf = DieRequest { how: "deaf".to_owned() };
            tokio::spawn(async move { client.die(deaf).await.map(drop) });
            let falls_silent = async { while timeout(STEP, echo()).await.is_ok() {} };
            timeout(LOAD, falls_silent).await.expect("the plugin never stopped answering");
        }
        Fault::HungShutdown => {}
        Fault::Stop => {
            sleep(chance::moment(STEP / 10)).await;
            leaks::stop(plugin.pid().expect("a pid")).await;
            let unheard = timeout(STEP, echo()).await;
            assert!(unheard.is_err(), "a stopped plugin answered: {unheard:?}");
        }
        Fault::Kill => {
            let until_it_dies = async {
                loop {
                    if let Err(status) = echo().await {
                        return status;
                    }
                }
            };
            let status = timeout(DIAGNOSIS + LOAD, until_it_dies).await.expect("a call hangs");
            let gone = status.source().and_then(|source| source.downcast_ref::<PluginGone>());
            let gone = gone.unwrap_or_else(|| {
                panic!("the error does not say that the plugin is gone: {status:?}")
            });
            assert!(gone.exit.to_string().starts_with("killed by signal 9"), "{gone}");
            return Some("gone in a call".to_owned());
        }
        _ => {
            let reply = timeout(LOAD, echo()).await.expect("a call hangs").expect("a reply");
            assert_eq!(reply.into_inner().data, "word");
        }
    }
    None
}

async fn stop(fault: Fault, plugin: &PluginHandle) -> String {
    let (_, [drain, shutdown, exit, terminate]) = fault.limits();
    let asked = drain + shutdown + LAST_OUTPUT + exit;
    let since = Instant::now();
    let stop = timeout(asked + terminate + KILLED + LOAD, plugin.shutdown()).await;
    let stop = stop.unwrap_or_else(|_| panic!("{fault:?}: the shutdown hangs")).expect("it ends");
    let limit = match stop.phase {
        ShutdownPhase::AlreadyGone | ShutdownPhase::Asked => asked,
        _ => asked + terminate,
    };
    let took = since.elapsed();
    assert!(took < limit + LOAD, "{fault:?}: {:?} took {took:?}", stop.phase);
    let outcome = match stop.phase {
        ShutdownPhase::AlreadyGone => "gone before",
        ShutdownPhase::Asked => "ended when asked",
        ShutdownPhase::Terminated => "ended at SIGTERM",
        ShutdownPhase::Killed => "killed",
        _ => "a step that this test does not know",
    };
    outcome.to_owned()
}

/// Returns whether the plugin reported a full disk, in the words of Rust or Go.
fn says_no_room(error: &StartError) -> bool {
    let said = error.evidence().map(|evidence| evidence.stderr.to_lowercase());
    said.is_some_and(|said| said.contains("no space left on device"))
}

/// Returns whether this system allows a private mount namespace with its own file system.
fn may_fill_disks() -> bool {
    let mut trial = Command::new("unshare");
    trial.args(["-rm", "sh", "-c", "mount -t tmpfs -o nr_inodes=1 full /mnt 2>/dev/null"]);
    trial.status().is_ok_and(|status| status.success())
}

async fn lives(stage: &Stage, count: usize) -> BTreeMap<(Fault, String), usize> {
    let outcomes = Mutex::new(BTreeMap::new());
    stream::iter(0..count)
        .for_each_concurrent(AT_ONCE, async |number| {
            let (fault, outcome) = stage.life(number).await;
            assert!(fault.allows(&outcome), "{fault:?}: {outcome}");
            *outcomes.lock().expect("not poisoned").entry((fault, outcome)).or_default() += 1;
        })
        .await;
    outcomes.into_inner().expect("not poisoned")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_lives_under_random_faults() {
    let stage = Stage::new();
    // Warm up: start the threads of the runtime and grow the arenas of the allocator.
    lives(&stage, 32).await;
    stage.sandbox.assert_empty().await;
    let before = (Holdings::at_rest(SETTLED).await, resident_bytes());
    let count = || (Holdings::count(), resident_bytes());

    let half = if soaks() { 5_000 } else { 160 };
    let since = Instant::now();
    let mut outcomes = lives(&stage, half).await;
    // Memory is compared from here on: the allocator's arenas grow for longer than the warm-up.
    let between = count();
    for (life, count) in lives(&stage, half).await {
        *outcomes.entry(life).or_default() += count;
    }
    let took = since.elapsed();
    stage.sandbox.assert_empty().await;
    let flat = eventually(SETTLED, || {
        let ((now, memory), (before, _), (_, memory_between)) = (count(), before, between);
        now.fits_in(&before) && memory <= memory_between + MEMORY
    });
    let flat = flat.await;
    println!("{} lives in {took:.1?}", 2 * half);
    for ((fault, outcome), count) in &outcomes {
        println!("  {count:>5} {fault:?}: {outcome}");
    }
    let counts = [("before", before), ("between", between), ("after", count())];
    for (when, (holdings, memory)) in counts {
        println!("  {when:<7} {holdings:?}, {:.1} MiB", memory as f64 / f64::from(1 << 20));
    }
    assert!(flat, "resources were left behind");
    for fault in &stage.faults {
        assert!(outcomes.keys().any(|(happened, _)| happened == fault), "{fault:?} never happened");
    }
}
