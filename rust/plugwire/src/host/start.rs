//! Starts a plugin: process → handshake line → connection.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use std::sync::Arc;
use std::time::Duration;

use plugwire_protocol::certificate;
use plugwire_protocol::environment::HostEnvironment;
use plugwire_protocol::handshake::{Expectation, HandshakeLine, MultiplexWish};
use rustix::process::Signal;
use tokio::time::{Instant, timeout, timeout_at};

use super::aside::{GivenUp, aside};
use super::diagnosis::{self, Executable};
use super::environment::{self, Environment};
use super::error::{Evidence, StartError, TimeoutStep};
use super::handle::{Owner, PluginHandle};
use super::handshake::{self, NoLine, Printed};
use super::launch::{Launch, Security};
use super::managed;
use super::runner::{self, Output, Runner};
use super::session::Session;
use super::sockets;
use super::spawn;
use super::supervise::{Process, remove_socket};
use super::verify::Image;
use crate::broker::{self, Trust};
use crate::http2::ConnectStep;
use crate::net::Identity;
use crate::net::Listen;
use crate::net::private_dir::PrivateFolder;
use crate::net::{AddrTranslator, Address, Tls};

/// A process whose standard output has ended is about to end itself.
const ABOUT_TO_END: Duration = Duration::from_secs(3);
/// One that has printed something else than a line, or does not listen, often is, too.
const MAY_END: Duration = Duration::from_secs(1);
/// How long a process's last output may take to be read.
const LAST_LINE: Duration = Duration::from_millis(100);
/// How long it may take to look at a file: for what went wrong, or for whose it is.
const LOOKED_AT: Duration = Duration::from_secs(5);
/// What is said to have failed.
const FOLDER: &str = "making a folder for sockets";

pub(super) async fn start(mut launch: Launch) -> Result<PluginHandle, StartError> {
    check(&launch).map_err(|why| StartError::Configuration(why.to_owned()))?;
    let limit = launch.limits.start;
    let deadline = Instant::now() + limit;
    let versions: Vec<u32> = launch.versions.keys().copied().collect();
    let (image, folder) = prepare(&mut launch, deadline).await?;
    let identity = match launch.security {
        Security::Mutual => Some(make_identity()?),
        Security::Own(_) | Security::Plaintext => None,
    };
    let (mut attempt, mut stdout) =
        Attempt::begin(&mut launch, image, folder, &versions, identity.as_ref(), deadline).await?;
    let expected = Expectation::new(&versions).with_multiplex(launch.multiplex);
    let process = attempt.process.clone();
    let reading = handshake::read(&mut stdout, &mut attempt.printed, &expected, launch.skip_noise);
    let line = tokio::select! {
        biased;
        line = timeout_at(deadline, reading) => line,
        () = ended_silently(&process) => Ok(Err(NoLine::Ended)),
    };
    let line = match line {
        Ok(Ok(line)) => line,
        Ok(Err(no_line)) => return Err(attempt.no_line(no_line).await),
        Err(_) => {
            let evidence = attempt.fail().await;
            return Err(StartError::Timeout { limit, step: TimeoutStep::Line, evidence });
        }
    };
    attempt.process.spawn_reader(drain(stdout));
    let tls = match tls(&launch.security, identity.as_ref(), &line) {
        Ok(tls) => tls,
        Err(refusal) => return Err(refusal(attempt.fail().await)),
    };
    attempt.connect(launch, line, tls, deadline).await
}

/// What makes no sense, said before anything is started.
fn check(launch: &Launch) -> Result<(), &'static str> {
    if launch.versions.is_empty() {
        return Err("no app protocol version is offered (`Launch::version`)");
    }
    let cookie = launch.handshake.cookie();
    if cookie.key.is_empty() || cookie.value.is_empty() || cookie.key.contains('=') {
        return Err("the magic cookie's key or value is empty, or its key holds `=`");
    }
    launch.confinement.check()?;
    runner::check(launch)
}

/// What is on the file system: a folder for the sockets, and what to execute.
async fn prepare(
    launch: &mut Launch,
    deadline: Instant,
) -> Result<(Image, PrivateFolder), StartError> {
    if let (None, Some(group)) = (&launch.socket_group, launch.confinement.group()) {
        launch.socket_group = Some(group.to_string());
    }
    let (base, group) = (launch.socket_dir.clone(), launch.socket_group.clone());
    let make = move |_| sockets::private_folder(base.as_deref(), group.as_deref());
    let folder = in_time(launch, deadline, TimeoutStep::Folder, make).await?;
    let folder = folder.map_err(machine(FOLDER))?;
    let program = launch.program.clone();
    if launch.runner.is_some() {
        return Ok((Image::Unverified(program), folder));
    }
    let verification = std::mem::take(&mut launch.verification);
    // The folder goes along, so that it is not removed under a copy that nobody waits for any more.
    let read = move |given_up| {
        let image = verification.image(find(&program)?, folder.path(), &given_up)?;
        Ok((image, folder))
    };
    in_time(launch, deadline, TimeoutStep::Program, read).await?
}

async fn in_time<T: Send + 'static>(
    launch: &Launch,
    deadline: Instant,
    step: TimeoutStep,
    work: impl FnOnce(GivenUp) -> T + Send + 'static,
) -> Result<T, StartError> {
    match timeout_at(deadline, aside(work)).await {
        Ok(done) => done.map_err(machine(match step {
            TimeoutStep::Folder => FOLDER,
            _ => "finding and verifying the program",
        })),
        Err(_) => {
            let evidence = Evidence { program: launch.program.clone(), ..Evidence::default() };
            let limit = launch.limits.start;
            Err(StartError::Timeout { limit, step, evidence: Box::new(evidence) })
        }
    }
}

/// Looks at the program's file, unless the file system hangs.
pub(super) async fn examine(program: &Path) -> Option<Executable> {
    let program = program.to_owned();
    let examined = timeout(LOOKED_AT, aside(move |_| diagnosis::examine(&program)));
    examined.await.ok()?.ok()
}

/// Whether it is a folder, as far as a file system that hangs lets anybody know.
pub(super) async fn is_folder(path: &Path) -> bool {
    let path = path.to_owned();
    matches!(timeout(LOOKED_AT, aside(move |_| path.is_dir())).await, Ok(Ok(true)))
}

/// The process has ended and what it printed was read, though its output is open: a process that it left behind holds it.
async fn ended_silently(process: &Process) {
    process.exited().await;
    tokio::time::sleep(LAST_LINE).await;
}

/// Where the program is. Looking it up here makes a relative path mean the same whatever the plugin's own directory is.
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

pub(super) fn machine(doing: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |cause| StartError::Machine { doing, cause }
}

/// The output after the line is nobody's, but a full pipe would stop the plugin.
async fn drain(mut stdout: Output) {
    let _ = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
}

type Refusal = Box<dyn FnOnce(Box<Evidence>) -> StartError + Send>;

/// What the two sides make of the certificate in the line. Spec: TLS-6 and TLS-7.
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

/// A started process that is not yet a plugin. Dropping it kills the process.
struct Attempt {
    process: Process,
    /// Who started it, if it is no process of this machine, and what it calls by other addresses.
    runner: Option<Arc<dyn Runner>>,
    translate: Option<Arc<dyn AddrTranslator>>,
    program: PathBuf,
    printed: Printed,
    withheld: usize,
    /// The private folder for sockets, and the temporary one that the plugin was given.
    folder: PathBuf,
    temporary: Option<OsString>,
    armed: bool,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.armed {
            self.process.kill();
        }
    }
}

impl Attempt {
    async fn begin(
        launch: &mut Launch,
        image: Image,
        folder: PrivateFolder,
        versions: &[u32],
        identity: Option<&Identity>,
        deadline: Instant,
    ) -> Result<(Self, Output), StartError> {
        let Environment { variables, withheld } = environment::build(
            std::env::vars_os(),
            &launch.inherit,
            std::mem::take(&mut launch.variables),
            protocol_variables(launch, versions, identity, &folder),
        );
        let (path, temporary) =
            (folder.path().to_owned(), variables.get(OsStr::new("TMPDIR")).cloned());
        let program = image.program().to_owned();
        let (process, stdout, translate) = match launch.runner.clone() {
            Some(runner) => {
                spawn::run(launch, &*runner, variables, withheld, folder, deadline).await?
            }
            None => spawn::spawn(launch, image, variables, withheld, folder, deadline).await?,
        };
        let attempt = Self {
            process,
            runner: launch.runner.clone(),
            translate,
            program,
            printed: Printed::default(),
            withheld,
            folder: path,
            temporary,
            armed: true,
        };
        Ok((attempt, stdout))
    }

    /// Connects, and lets go of the process only once the handle has it.
    async fn connect(
        mut self,
        launch: Launch,
        line: HandshakeLine,
        tls: Option<Tls>,
        deadline: Instant,
    ) -> Result<PluginHandle, StartError> {
        let mut address = Address::parse(line.network, &line.address)
            .map_err(|error| machine("reading the plugin's address")(io::Error::other(error)))?;
        if let Some(translate) = &self.translate {
            address = match translate.to_host(address.clone()) {
                Ok(address) => address,
                Err(cause) => {
                    let (step, evidence) = (ConnectStep::Dial, self.fail().await);
                    return Err(StartError::Connect { address, step, cause, evidence });
                }
            };
        }
        // What remains of the start's time is the connection's.
        let _ = timeout_at(deadline, self.remember_socket(&address)).await;
        let settings = self.broker_settings(&launch, &line, &address, tls);
        let connecting = Session::connect(&address, settings);
        let mut session = match timeout_at(deadline, connecting).await {
            Ok(Ok(session)) => session,
            Ok(Err((step, cause))) => {
                let evidence = self.fail_soon(MAY_END).await;
                return Err(StartError::Connect { address, step, cause, evidence });
            }
            Err(_) => {
                let (limit, step) = (launch.limits.start, TimeoutStep::Connection);
                return Err(StartError::Timeout { limit, step, evidence: self.fail().await });
            }
        };
        let name = name(&launch);
        session.copy_stdio(&name, launch.output.stdout, launch.output.stderr).await;
        self.armed = false;
        let version = line.app_version;
        let dispensers = launch.versions.into_iter().find(|(offered, _)| *offered == version);
        let dispensers = dispensers.map(|(_, dispensers)| dispensers).unwrap_or_default();
        let owner = Owner::Us(self.process.clone());
        let handle =
            PluginHandle::new(name, version, address, session, owner, dispensers, launch.limits);
        if launch.managed {
            managed::add(&handle);
        }
        Ok(handle)
    }

    /// Go's plugins leave their socket behind when they are killed, and those before go-plugin 1.5 do not put it into the
    /// private folder.
    async fn remember_socket(&self, address: &Address) {
        if let Address::Unix(path) = address
            && self.is_where_plugins_listen(path).await
        {
            self.process.remember_socket(path);
        }
    }

    /// What a line names is a plugin's word, and may be somebody else's socket: only in the temporary folders is one
    /// removed. It may lie on a file system that hangs, too, and is then none of those.
    async fn is_where_plugins_listen(&self, socket: &Path) -> bool {
        if self.runner.is_some() {
            // By this path somebody else's may be meant.
            return false;
        }
        let folders = sockets::temporary_folders(self.temporary.as_deref()).collect();
        let (trust, address) = (Trust::Directories(folders), Address::Unix(socket.to_owned()));
        let allowed = timeout(LOOKED_AT, aside(move |_| trust.allows(&address))).await;
        matches!(allowed, Ok(Ok(true)))
    }

    fn broker_settings(
        &self,
        launch: &Launch,
        line: &HandshakeLine,
        address: &Address,
        tls: Option<Tls>,
    ) -> broker::Settings {
        let trust = match launch.any_broker_address {
            true => Trust::Anywhere,
            false if self.runner.is_some() => sockets::trust_runner(address, &self.folder),
            false => sockets::trust(address, &self.folder, self.temporary.as_deref()),
        };
        broker::Settings {
            multiplexed: line.multiplex == Some(true),
            listen: Listen::Unix {
                directory: self.folder.clone(),
                group: launch.socket_group.clone(),
            },
            tls,
            http2: launch.http2.clone(),
            timeout: launch.limits.broker,
            trust,
            translate: self.translate.clone(),
            peer: Some(Arc::new(self.process.clone())),
        }
    }

    async fn no_line(self, why: NoLine) -> StartError {
        match why {
            NoLine::Refused(cause) => {
                StartError::Handshake { cause, evidence: self.fail_soon(MAY_END).await }
            }
            NoLine::Endless(read) => StartError::NoLine { read, evidence: self.fail().await },
            NoLine::Io(cause) => machine("reading the plugin's standard output")(cause),
            NoLine::Ended => {
                let evidence = self.fail_soon(ABOUT_TO_END).await;
                if is_about_the_cookie(&evidence) {
                    StartError::CookieRefused(evidence)
                } else {
                    StartError::Exited(evidence)
                }
            }
        }
    }

    /// Lets the process end by itself, if it is about to, for its exit status, and collects what is known.
    async fn fail_soon(self, limit: Duration) -> Box<Evidence> {
        let _ = timeout(limit, self.process.dead()).await;
        self.fail().await
    }

    /// Ends the process, removes what it leaves, and collects what is known.
    async fn fail(self) -> Box<Evidence> {
        let (executable, diagnosis) = match &self.runner {
            None => (examine(&self.program).await, None),
            Some(runner) => {
                let diagnosis = runner.diagnose(self.process.id.as_deref().unwrap_or_default());
                (None, timeout(LOOKED_AT, diagnosis).await.ok().flatten())
            }
        };
        let by_itself = self.process.is_dead();
        self.process.kill();
        let last = self.process.ends_within(self.process.dies_within()).await;
        // Who did not die of our signal had ended before it came, and we hear of it only now.
        let exit = last.filter(|exit| {
            let of_our_signal = exit.signal() == Some(Signal::KILL.as_raw());
            by_itself || (self.runner.is_none() && exit.status.is_some() && !of_our_signal)
        });
        if let Some(socket) = self.printed.socket()
            && self.is_where_plugins_listen(&socket).await
        {
            remove_socket(&socket);
        }
        Box::new(Evidence {
            program: self.program.clone(),
            executable,
            diagnosis,
            stdout: self.printed.excerpt(),
            stderr: self.process.tail.read().0,
            exit,
            withheld: self.withheld,
        })
    }
}

fn protocol_variables(
    launch: &Launch,
    versions: &[u32],
    identity: Option<&Identity>,
    folder: &PrivateFolder,
) -> Vec<(String, String)> {
    let certificate = identity.map(|identity| certificate::pem(identity.certificate()));
    let mut environment = HostEnvironment::new(launch.handshake.cookie(), versions);
    environment.ports = launch.ports;
    environment.multiplex = launch.multiplex != MultiplexWish::No;
    environment.client_certificate_pem = certificate.as_deref();
    environment.socket_group = launch.socket_group.as_deref();
    environment.socket_dir = folder.path().to_str();
    environment.variables()
}

pub(super) fn name(launch: &Launch) -> String {
    launch.output.name.clone().unwrap_or_else(|| {
        let file = launch.program.file_name().map(OsString::from).unwrap_or_default();
        file.to_string_lossy().into_owned()
    })
}

/// Go's plugins and ours print some text for people, nothing else, and exit with 1. Nothing on the wire says it, so the text
/// has to.
fn is_about_the_cookie(evidence: &Evidence) -> bool {
    let words =
        ["These are not meant to be executed directly", "This program is a plugin", "magic cookie"];
    evidence.stdout.is_empty()
        && evidence
            .exit
            .as_ref()
            .is_none_or(|exit| exit.status.is_none_or(|status| status.code() == Some(1)))
        && words.iter().any(|words| evidence.stderr.contains(words))
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
        let error = in_time(&launch, Instant::now() + limit, TimeoutStep::Folder, work).await;
        let error = error.expect_err("it hangs").to_string();
        assert_eq!(error, "the system did not make a folder for sockets within 50ms");
    }
}
