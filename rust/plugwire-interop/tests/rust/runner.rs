//! What can go wrong with a runner.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use plugwire::host::{
    Confinement, Launch, Plan, Runner, Running, ShutdownError, ShutdownPhase, StartError, Started,
    TimeoutStep,
};
use plugwire::net::{AddrTranslator, Address};
use plugwire_interop::leaks::stop;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{PROBE, rust};
use tokio::process::{Child, Command};

/// A runner that starts a process and misbehaves in one way.
#[derive(Clone, Copy)]
enum Odd {
    Fails,
    Hangs,
    NoLine,
    NoTranslation,
    Silent,
    Unkillable,
}

/// How long `Silent` takes to kill: within its limit of 5 s, but together with the 2 s that the
/// host waits for the exit, longer than that limit.
const KILLS_IN: Duration = Duration::from_millis(3200);

/// The process of a misbehaving runner. `Unkillable` ends only by being dropped; `Silent` kills
/// slowly and never reports the exit.
struct Local(Child, Odd);

#[tonic::async_trait]
impl Running for Local {
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        match self.1 {
            Odd::Silent => std::future::pending().await,
            _ => self.0.wait().await,
        }
    }

    async fn kill(&mut self) -> io::Result<()> {
        match self.1 {
            Odd::Unkillable => std::future::pending().await,
            Odd::Silent => {
                tokio::time::sleep(KILLS_IN).await;
                self.0.start_kill()
            }
            _ => self.0.start_kill(),
        }
    }
}

struct Nowhere;

impl AddrTranslator for Nowhere {
    fn to_host(&self, _: Address) -> io::Result<Address> {
        Err(io::Error::other("not from here"))
    }

    fn to_plugin(&self, host: Address) -> io::Result<Address> {
        Ok(host)
    }
}

#[tonic::async_trait]
impl Runner for Odd {
    async fn start(&self, plan: Plan) -> io::Result<Started> {
        if let Odd::Fails = self {
            return Err(io::Error::other("no such image"));
        }
        let mut command = match self {
            Odd::NoLine => Command::new("/bin/sh"),
            _ => Command::new(&plan.program),
        };
        if let Odd::NoLine = self {
            command.args(["-c", "echo out of order >&2; exit 3"]);
        }
        command.env_clear().envs(&plan.variables).stdin(Stdio::null()).kill_on_drop(true);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Odd::Hangs = self {
            child.wait().await?;
        }
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        let started = Started::new("the odd one", stdout, stderr, Local(child, *self));
        match self {
            Odd::NoTranslation => Ok(started.translate(Nowhere)),
            _ => Ok(started),
        }
    }

    async fn diagnose(&self, id: &str) -> Option<String> {
        Some(format!("{id} was looked at"))
    }
}

fn launch(sandbox: &Sandbox, odd: Odd) -> Launch {
    sandbox.launch(PROBE, rust::program("probe-plugin")).version(1).runner(odd)
}

#[tokio::test]
async fn a_runner_that_fails() {
    let sandbox = Sandbox::new();
    let error = launch(&sandbox, Odd::Fails).start().await.expect_err("the runner fails");
    let StartError::Spawn { cause, .. } = &error else { panic!("{error:?}") };
    assert_eq!(cause.to_string(), "no such image");
    assert_eq!(error.to_string(), "the plugin cannot be executed");
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn a_runner_that_takes_too_long() {
    let sandbox = Sandbox::new();
    let launch = launch(&sandbox, Odd::Hangs).start_timeout(Duration::from_secs(3));
    let error = launch.start().await.expect_err("the runner hangs");
    let timeout = matches!(error, StartError::Timeout { step: TimeoutStep::Runner, .. });
    assert!(timeout, "{error:?}");
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn a_plugin_that_ends_is_diagnosed_by_its_runner() {
    let sandbox = Sandbox::new();
    let error = launch(&sandbox, Odd::NoLine).start().await.expect_err("no line");
    let StartError::Exited(evidence) = &error else { panic!("{error:?}") };
    assert_eq!(evidence.exit.as_ref().and_then(|exit| exit.code()), Some(3));
    assert_eq!(evidence.stderr, "out of order");
    assert_eq!(evidence.executable, None, "a file of that name on the host must not be diagnosed");
    let text = evidence.to_string();
    assert!(text.contains("\nrunner       the odd one was looked at\n"), "{text}");
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn an_address_that_cannot_be_translated() {
    let sandbox = Sandbox::new();
    let error = launch(&sandbox, Odd::NoTranslation).start().await.expect_err("refused");
    let StartError::Connect { cause, .. } = &error else { panic!("{error:?}") };
    assert_eq!(cause.to_string(), "not from here");
    sandbox.assert_empty().await;
}

/// The plugin does not answer either.
#[tokio::test]
async fn a_runner_that_does_not_kill() {
    let sandbox = Sandbox::new();
    let limit = Duration::from_millis(200);
    let launch = launch(&sandbox, Odd::Unkillable).shutdown_timeout(limit).exit_timeout(limit);
    let plugin = launch.start().await.expect("a start");
    for pid in sandbox.processes() {
        stop(pid).await;
    }
    let stop = tokio::time::timeout(Duration::from_secs(60), plugin.shutdown()).await;
    let error = stop.expect("the shutdown returns").expect_err("the plugin keeps running");
    assert_eq!(error, ShutdownError::Unkillable { pid: None });
    sandbox.kill_all();
    sandbox.assert_empty().await;
}

/// The process was killed, so the host does not wait forever to learn how it ended.
#[tokio::test]
async fn a_runner_that_does_not_report_the_exit() {
    let sandbox = Sandbox::new();
    let limit = Duration::from_millis(200);
    let launch = launch(&sandbox, Odd::Silent).shutdown_timeout(limit).exit_timeout(limit);
    let plugin = launch.start().await.expect("a start");
    let stop = tokio::time::timeout(Duration::from_secs(60), plugin.shutdown()).await;
    let stop = stop.expect("the shutdown returns").expect("the plugin was killed");
    let exit = stop.exit.expect("this host started the plugin");
    assert_eq!((stop.phase, exit.status), (ShutdownPhase::Killed, None));
    assert!(exit.to_string().contains("or has a runner that cannot tell"), "{exit}");
    assert_eq!(plugin.exited().await, exit);
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn settings_that_a_runner_does_not_support_are_refused() {
    let sandbox = Sandbox::new();
    for launch in [
        launch(&sandbox, Odd::NoLine).verify_with(|_| Ok(())),
        launch(&sandbox, Odd::NoLine).confine(Confinement::new().core_dumps(0)),
        launch(&sandbox, Odd::NoLine).inherit_stdin(),
    ] {
        let error = launch.start().await.expect_err("refused");
        assert_eq!(error.code(), "start.configuration", "{error:?}");
    }
    sandbox.assert_empty().await;
}
