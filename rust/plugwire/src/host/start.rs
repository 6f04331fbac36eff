//! Starts a plugin: directory and program, then the process, its handshake line, and the connection.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plugwire_process::{Command, Executable, Image, PrivateDir, StderrTail, blocking};
use plugwire_protocol::certificate;
use plugwire_protocol::environment::HostEnvironment;
use plugwire_protocol::handshake::{Expectation, HandshakeLine, MultiplexWish};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, machine, not_spawned, not_verified};
use super::environment::{self, Environment};
use super::error::{Evidence, StartError, TimeoutStep};
use super::handle::{Inner, Owner, PluginHandle};
use super::handshake::{self, NoLine};
use super::launch::Launch;
use super::logs::Reader;
use super::process::PluginProcess;
use super::runner::{Pipe, Plan, Runner};
use super::session::Session;
use super::settings::Security;
use super::sockets;
use crate::broker::{self, Trust};
use crate::http2::PeerLimits;
use crate::net::Identity;
use crate::net::Listen;
use crate::net::{AddrTranslator, Address, Tls};
use crate::time;

/// A process that does not listen may be about to end by itself.
const MAY_END: Duration = Duration::from_secs(1);
/// How long the last output of an ended process may take to be read.
const LAST_LINE: Duration = Duration::from_millis(100);
/// What is said to have failed.
const DIRECTORY: &str = "creating a directory for sockets";

impl Launch {
    /// Starts the plugin and connects to it: when this returns, calls can be made.
    ///
    /// # Errors
    ///
    /// A [`StartError`] says what is at fault and has the evidence. Nothing is left of the plugin then, neither process nor
    /// socket.
    ///
    /// Cancel safety: dropping the future kills what was started.
    pub async fn start(mut self) -> Result<PluginHandle, StartError> {
        self.check().map_err(|why| StartError::Configuration(why.to_owned()))?;
        let deadline = Deadline::of(&self);
        let dir = self.private_dir(&deadline).await?;
        let (image, dir) = self.image(dir, &deadline).await?;
        let identity = match self.security {
            Security::Mutual => Some(make_identity()?),
            Security::Own(_) | Security::Plaintext => None,
        };
        let (mut attempt, mut stdout) =
            self.start_process(image, dir, identity.as_ref(), &deadline).await?;

        let versions: Vec<u32> = self.versions.iter().copied().collect();
        let expected = Expectation::new(&versions).with_multiplex(self.multiplex);
        let process = attempt.process.clone();
        let reading =
            handshake::read(&mut stdout, &mut attempt.printed, &expected, self.skip_noise);
        let line = tokio::select! {
            biased;
            line = timeout_at(deadline.at, reading) => line,
            () = ended_without_a_line(&process) => Ok(Err(NoLine::Ended)),
        };
        let line = match line {
            Ok(Ok(line)) => line,
            Ok(Err(no_line)) => return Err(attempt.no_line(no_line, stdout).await),
            Err(_) => return Err(deadline.missed(TimeoutStep::Line, attempt.fail().await)),
        };
        attempt.process.spawn_reader(drain(stdout));

        let tls = match tls(&self.security, identity.as_ref(), &line) {
            Ok(tls) => tls,
            Err(refusal) => return Err(refusal(attempt.fail().await)),
        };
        self.connect(attempt, line, tls, &deadline).await
    }

    /// Reports an invalid configuration before anything is started.
    fn check(&self) -> Result<(), &'static str> {
        if self.versions.is_empty() {
            return Err("no app protocol version is offered (`Launch::version`)");
        }
        let cookie = self.handshake.cookie();
        if cookie.key.is_empty() || cookie.value.is_empty() || cookie.key.contains('=') {
            return Err("the magic cookie's key or value is empty, or its key contains `=`");
        }
        self.confinement.check()?;
        if self.runner.is_none() {
            return Ok(());
        }
        if !self.verification.is_empty() {
            return Err("a runner decides what it executes, so it must verify that itself");
        }
        if !self.confinement.is_empty() {
            return Err("a runner must confine what it starts itself");
        }
        if self.inherit_stdin {
            return Err("a runner does not pass standard input on");
        }
        if self.outlives_host {
            return Err("a runner's plugin ends with its host");
        }
        Ok(())
    }

    /// Creates the private directory for the sockets.
    async fn private_dir(&mut self, deadline: &Deadline) -> Result<PrivateDir, StartError> {
        if let (None, Some(group)) = (&self.socket_group, self.confinement.group()) {
            self.socket_group = Some(group.to_string());
        }
        let (base, group) = (self.socket_dir.clone(), self.socket_group.clone());
        let create = move |_| sockets::private_dir(base.as_deref(), group.as_deref());
        let dir = deadline.blocking(TimeoutStep::Directory, DIRECTORY, create).await?;
        dir.map_err(machine(DIRECTORY))
    }

    /// Finds the program, and verifies it if that is wanted. The directory is passed through, so that it is not removed while
    /// an abandoned thread still copies into it.
    async fn image(
        &mut self,
        dir: PrivateDir,
        deadline: &Deadline,
    ) -> Result<(Image, PrivateDir), StartError> {
        let program = self.program.clone();
        if self.runner.is_some() {
            return Ok((Image::from(program), dir));
        }
        let verification = std::mem::take(&mut self.verification);
        let read = move |cancelled: CancellationToken| {
            let program = find(&program)?;
            match verification.image(program.clone(), &dir, &cancelled) {
                Ok(image) => Ok((image, dir)),
                Err(error) => Err(not_verified(error, program, verification.has_checksum())),
            }
        };
        let doing = "finding and verifying the program";
        deadline.blocking(TimeoutStep::Program, doing, read).await?
    }

    /// Starts the process, or lets the runner do that.
    async fn start_process(
        &mut self,
        image: Image,
        dir: PrivateDir,
        identity: Option<&Identity>,
        deadline: &Deadline,
    ) -> Result<(Attempt, Pipe), StartError> {
        let protocol = self.protocol_variables(identity, &dir);
        let user = std::mem::take(&mut self.variables);
        let Environment { variables, withheld } =
            environment::build(std::env::vars_os(), &self.inherit, user, protocol);
        let (dir_path, program) = (dir.path().to_owned(), image.program().to_owned());
        let temporary = variables.get(OsStr::new("TMPDIR")).cloned();
        let started = match self.runner.clone() {
            Some(runner) => self.run(&*runner, variables, dir, deadline).await,
            None => self.spawn(image, variables, dir, deadline).await,
        };
        let (process, stdout, translate) = started.map_err(|error| withholding(error, withheld))?;
        let runner = self.runner.clone();
        let attempt =
            Attempt::new(process, runner, translate, program, withheld, dir_path, temporary);
        Ok((attempt, stdout))
    }

    /// Starts a child process.
    async fn spawn(
        &mut self,
        image: Image,
        variables: BTreeMap<OsString, OsString>,
        dir: PrivateDir,
        deadline: &Deadline,
    ) -> Result<Started, StartError> {
        let program = image.program().to_owned();
        let name = self.plugin_name();
        let (directory, confined) = (self.directory.clone(), !self.confinement.is_empty());
        let mut command = Command::new(image)
            .arg0(self.program.clone())
            .args(std::mem::take(&mut self.arguments))
            .envs(variables)
            .confine(self.confinement.clone())
            .private_dir(dir);
        if let Some(directory) = &directory {
            command = command.current_dir(directory);
        }
        if self.inherit_stdin {
            command = command.inherit_stdin();
        }
        if self.outlives_host {
            command = command.outlive_parent();
        }
        let reader = Reader::new(name.clone(), &mut self.output);
        let command = command.stderr(move |pipe, tail| reader.run(pipe, tail));
        match timeout_at(deadline.at, command.spawn()).await {
            Ok(Ok((process, stdout))) => {
                Ok((PluginProcess::new(name, process), Box::pin(stdout), None))
            }
            Ok(Err(error)) => Err(not_spawned(error.cause, program, directory, confined).await),
            Err(_) => Err(deadline.missed_for(TimeoutStep::Execution, program)),
        }
    }

    /// Lets the user's runner start the plugin.
    async fn run(
        &mut self,
        runner: &dyn Runner,
        variables: BTreeMap<OsString, OsString>,
        dir: PrivateDir,
        deadline: &Deadline,
    ) -> Result<Started, StartError> {
        let plan = Plan {
            program: self.program.clone(),
            arguments: std::mem::take(&mut self.arguments),
            variables,
            directory: self.directory.clone(),
            socket_dir: dir.path().to_owned(),
        };
        let started = match timeout_at(deadline.at, runner.start(plan)).await {
            Ok(Ok(started)) => started,
            Ok(Err(cause)) => {
                let evidence = Evidence { program: self.program.clone(), ..Evidence::default() };
                return Err(StartError::Spawn { cause, evidence: Box::new(evidence) });
            }
            Err(_) => return Err(deadline.missed_for(TimeoutStep::Runner, self.program.clone())),
        };
        let (name, tail) = (self.plugin_name(), StderrTail::default());
        let reader = Reader::new(name.clone(), &mut self.output);
        let stderr = reader.run(started.stderr, tail.clone());
        let process =
            PluginProcess::of_runner(name, started.id, started.running, stderr, tail, dir);
        Ok((process, started.stdout, started.translate))
    }

    /// Connects. Disarms the attempt only once the handle has the process.
    async fn connect(
        mut self,
        mut attempt: Attempt,
        line: HandshakeLine,
        tls: Option<Tls>,
        deadline: &Deadline,
    ) -> Result<PluginHandle, StartError> {
        let address = Address::parse(line.network, &line.address)
            .map_err(|error| machine("reading the plugin's address")(io::Error::other(error)))?;
        let address = match attempt.translated(address) {
            Ok(address) => address,
            Err((address, step, cause)) => {
                let evidence = attempt.fail().await;
                return Err(StartError::Connect { address, step, cause, evidence });
            }
        };
        // What remains of the time for the start is left for the connection.
        let _ = timeout_at(deadline.at, attempt.remember_socket(&address)).await;
        let settings = self.broker_settings(&attempt, &line, &address, tls);
        let connecting = Session::connect(&address, settings);
        let mut session = match timeout_at(deadline.at, connecting).await {
            Ok(Ok(session)) => session,
            Ok(Err((step, cause))) => {
                let evidence = attempt.fail_soon(MAY_END).await;
                return Err(StartError::Connect { address, step, cause, evidence });
            }
            Err(_) => return Err(deadline.missed(TimeoutStep::Connection, attempt.fail().await)),
        };
        let name = self.plugin_name();
        let (stdout, stderr) = (self.output.stdout.take(), self.output.stderr.take());
        session.copy_stdio(&name, stdout, stderr).await;
        let process = attempt.disarm();
        Ok(PluginHandle(Arc::new(Inner {
            name,
            version: line.app_version,
            address,
            session: Arc::new(session),
            owner: Owner::Us(process),
            timeouts: self.timeouts,
            runtime: tokio::runtime::Handle::current(),
        })))
    }

    fn broker_settings(
        &self,
        attempt: &Attempt,
        line: &HandshakeLine,
        address: &Address,
        tls: Option<Tls>,
    ) -> broker::Settings {
        let trust = match self.any_broker_address {
            true => Trust::Anywhere,
            false if self.runner.is_some() => sockets::trust_runner(address, &attempt.dir),
            false => {
                // Which user serves the main connection, the system does not tell over TCP.
                let own = rustix::process::geteuid().as_raw();
                let user = self.confinement.user_id().unwrap_or(own);
                let trust = sockets::trust(address, &attempt.dir, attempt.temporary.as_deref());
                trust.of_user(Some(user))
            }
        };
        broker::Settings {
            multiplexed: line.multiplex == Some(true),
            listen: Listen::Unix {
                directory: attempt.dir.clone(),
                group: self.socket_group.clone(),
            },
            tls,
            limits: PeerLimits::new(self.http2.clone()),
            timeout: self.timeouts.broker,
            trust,
            translate: attempt.translate.clone(),
            peer: Some(Arc::new(attempt.process.clone())),
        }
    }

    fn protocol_variables(
        &self,
        identity: Option<&Identity>,
        dir: &PrivateDir,
    ) -> Vec<(String, OsString)> {
        let certificate = identity.map(|identity| certificate::pem(identity.certificate()));
        let versions: Vec<u32> = self.versions.iter().copied().collect();
        let mut environment = HostEnvironment::new(self.handshake.cookie(), &versions);
        environment.ports = self.ports;
        environment.multiplex = self.multiplex != MultiplexWish::No;
        environment.client_certificate_pem = certificate.as_deref();
        environment.socket_group = self.socket_group.as_deref();
        environment.socket_dir = Some(dir.path().as_os_str());
        environment.variables()
    }

    /// Returns the plugin's name in logs and errors.
    fn plugin_name(&self) -> String {
        self.output.name.clone().unwrap_or_else(|| {
            let file = self.program.file_name().map(OsString::from).unwrap_or_default();
            file.to_string_lossy().into_owned()
        })
    }
}

/// A process, its standard output, and the translation of its addresses.
type Started = (PluginProcess, Pipe, Option<Arc<dyn AddrTranslator>>);

/// The time limit of one start.
struct Deadline {
    at: Instant,
    limit: Duration,
    program: PathBuf,
}

impl Deadline {
    fn of(launch: &Launch) -> Self {
        let limit = launch.timeouts.start;
        Self { at: time::after(limit), limit, program: launch.program.clone() }
    }

    fn missed(&self, step: TimeoutStep, evidence: Box<Evidence>) -> StartError {
        StartError::Timeout { limit: self.limit, step, evidence }
    }

    fn missed_for(&self, step: TimeoutStep, program: PathBuf) -> StartError {
        self.missed(step, Box::new(Evidence { program, ..Evidence::default() }))
    }

    /// Runs work that may hang with a file system.
    async fn blocking<T: Send + 'static>(
        &self,
        step: TimeoutStep,
        doing: &'static str,
        work: impl FnOnce(CancellationToken) -> T + Send + 'static,
    ) -> Result<T, StartError> {
        match timeout_at(self.at, blocking::run(work)).await {
            Ok(done) => done.map_err(machine(doing)),
            Err(_) => Err(self.missed_for(step, self.program.clone())),
        }
    }
}

/// Adds the number of withheld variables to the evidence.
fn withholding(mut error: StartError, withheld: usize) -> StartError {
    if let StartError::Spawn { evidence, .. } | StartError::Timeout { evidence, .. } = &mut error {
        evidence.withheld = withheld;
    }
    error
}

/// Waits until the process has ended and its output was read, although its output is still open: a process that it left
/// behind has it open.
async fn ended_without_a_line(process: &PluginProcess) {
    process.exited().await;
    tokio::time::sleep(LAST_LINE).await;
}

/// Returns where the program is. It is looked up here, so that a relative path does not depend on the plugin's working
/// directory.
fn find(program: &Path) -> Result<PathBuf, StartError> {
    let missing = |cause: io::Error| StartError::Spawn {
        cause,
        evidence: Box::new(Evidence {
            program: program.to_owned(),
            executable: Some(Executable::Missing),
            ..Evidence::default()
        }),
    };
    if program.components().count() == 1 && !program.is_absolute() {
        let not_found = |_| missing(io::Error::new(io::ErrorKind::NotFound, "not found in PATH"));
        return which::which(program).map_err(not_found);
    }
    std::path::absolute(program).map_err(missing)
}

fn make_identity() -> Result<Identity, StartError> {
    Identity::generate().map_err(|error| machine("making a key")(io::Error::other(error)))
}

/// Drops the output after the line: a full pipe would stop the plugin.
async fn drain(mut stdout: Pipe) {
    let _ = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
}

type Refusal = Box<dyn FnOnce(Box<Evidence>) -> StartError + Send>;

/// Decides about TLS by this host's configuration and the certificate in the line. Spec: TLS-6 and TLS-7.
fn tls(
    security: &Security,
    own: Option<&Identity>,
    line: &HandshakeLine,
) -> Result<Option<Tls>, Refusal> {
    match (security, own, &line.certificate) {
        (Security::Own(tls), ..) => Ok(Some(tls.clone())),
        (Security::Plaintext, _, None) => Ok(None),
        (Security::Plaintext, _, Some(_)) => Err(Box::new(StartError::UnexpectedCertificate)),
        (Security::Mutual, Some(own), Some(certificate)) => match Tls::pinned(own, certificate) {
            Ok(tls) => Ok(Some(tls)),
            Err(error) => Err(Box::new(|_| machine("setting up TLS")(io::Error::other(error)))),
        },
        (Security::Mutual, ..) => Err(Box::new(StartError::NoCertificate)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use crate::Handshake;

    use super::*;

    #[tokio::test]
    async fn a_file_system_that_hangs_ends_at_the_deadline() {
        let limit = Duration::from_millis(50);
        let launch = Launch::new(Handshake::new("A", "b"), "plugin").start_timeout(limit);
        let (_never, hangs) = mpsc::channel::<()>();
        let work = move |_| hangs.recv().is_err();
        let step = TimeoutStep::Directory;
        let error = Deadline::of(&launch).blocking(step, DIRECTORY, work).await;
        let error = error.expect_err("it hangs").to_string();
        assert_eq!(error, "the system did not create a directory for sockets within 50ms");
    }
}
