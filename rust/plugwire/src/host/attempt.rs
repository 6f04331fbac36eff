//! A process that was started and is not connected yet, and the evidence if it fails.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use plugwire_process::{ChecksumError, Executable, VerifyError, blocking, remove_socket};
use rustix::io::Errno;
use rustix::process::Signal;
use tokio::time::timeout;

use super::error::{Evidence, StartError};
use super::handshake::{self, NoLine, Printed};
use super::process::PluginProcess;
use super::runner::{Pipe, Runner};
use super::sockets;
use crate::http2::ConnectStep;
use crate::net::{AddrTranslator, Address, owner};

/// A process whose standard output has ended is about to end itself.
const ABOUT_TO_END: Duration = Duration::from_secs(3);
/// A process that printed something other than a handshake line may be about to say more, and to end. Its host waits no
/// longer than people notice.
const MAY_SAY_MORE: Duration = Duration::from_millis(50);
/// How long examining a file may take, on a file system that may not answer.
const EXAMINED: Duration = Duration::from_secs(5);

/// A process that was started and is not connected yet. Dropping it kills the process.
pub(super) struct Attempt {
    pub(super) process: PluginProcess,
    /// The runner that started it, if one did.
    runner: Option<Arc<dyn Runner>>,
    pub(super) translate: Option<Arc<dyn AddrTranslator>>,
    program: PathBuf,
    pub(super) printed: Printed,
    withheld: usize,
    /// The private directory for sockets.
    pub(super) dir: PathBuf,
    /// The temporary directory that the plugin was given.
    pub(super) temporary: Option<OsString>,
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
    pub(super) fn new(
        process: PluginProcess,
        runner: Option<Arc<dyn Runner>>,
        translate: Option<Arc<dyn AddrTranslator>>,
        program: PathBuf,
        withheld: usize,
        dir: PathBuf,
        temporary: Option<OsString>,
    ) -> Self {
        let printed = Printed::default();
        Self { process, runner, translate, program, printed, withheld, dir, temporary, armed: true }
    }

    /// Releases the process: dropping the attempt no longer kills it.
    pub(super) fn disarm(&mut self) -> PluginProcess {
        self.armed = false;
        self.process.clone()
    }

    /// Translates the plugin's address into the host's.
    pub(super) fn translated(
        &self,
        address: Address,
    ) -> Result<Address, (Address, ConnectStep, io::Error)> {
        match &self.translate {
            Some(translate) => translate
                .to_host(address.clone())
                .map_err(|cause| (address, ConnectStep::Dial, cause)),
            None => Ok(address),
        }
    }

    /// Lets the process's socket be removed at its end: Go plugins leave it behind when they are killed, and those before
    /// go-plugin 1.5 do not put it into the private directory.
    pub(super) async fn remember_socket(&self, address: &Address) {
        if let Address::Unix(path) = address
            && self.is_where_plugins_listen(path).await
        {
            self.process.remove_socket_at_exit(path);
        }
    }

    /// Returns whether a socket may be removed. The path comes from the plugin, and may name another program's socket, so only
    /// sockets in temporary directories are removed. A path on a file system that does not answer counts as outside of them.
    async fn is_where_plugins_listen(&self, socket: &Path) -> bool {
        if self.runner.is_some() {
            // On this machine the path may name another file.
            return false;
        }
        let directories: Vec<PathBuf> =
            sockets::temporary_dirs(self.temporary.as_deref()).collect();
        let socket = socket.to_owned();
        let inside = blocking::run(move |_| owner::is_inside(&socket, &directories));
        let allowed = timeout(EXAMINED, inside).await;
        matches!(allowed, Ok(Ok(true)))
    }

    /// Ends the process, and explains why there is no line.
    pub(super) async fn no_line(mut self, why: NoLine, stdout: Pipe) -> StartError {
        match why {
            // A plugin that printed a wrong handshake line is well: there is nothing to wait for.
            NoLine::Refused(cause) if !handshake::is_noise(&cause) => {
                StartError::Handshake { cause, evidence: self.fail().await }
            }
            NoLine::Refused(cause) => {
                let process = self.process.clone();
                let more = handshake::read_on(stdout, &mut self.printed);
                let _ = timeout(MAY_SAY_MORE, join(process.ended(), more)).await;
                StartError::Handshake { cause, evidence: self.fail().await }
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

    /// Gives the process time to end by itself, so that its exit status is known, and then does what [`Attempt::fail`] does.
    pub(super) async fn fail_soon(self, limit: Duration) -> Box<Evidence> {
        let _ = timeout(limit, self.process.ended()).await;
        self.fail().await
    }

    /// Ends the process, removes what it leaves, and collects what is known.
    pub(super) async fn fail(self) -> Box<Evidence> {
        let (executable, diagnosis) = match &self.runner {
            None => (examine(&self.program).await, None),
            Some(runner) => {
                let diagnosis = runner.diagnose(self.process.runner_id().unwrap_or_default());
                (None, timeout(EXAMINED, diagnosis).await.ok().flatten())
            }
        };
        let by_itself = self.process.has_ended();
        let exit = self.process.killed().await.filter(|exit| {
            // A process that did not die of our signal had ended before, and we learn it only now.
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
            stderr: self.process.stderr_tail(),
            exit,
            withheld: self.withheld,
        })
    }
}

/// Examines the program's file, unless the file system does not answer.
async fn examine(program: &Path) -> Option<Executable> {
    let program = program.to_owned();
    let examined = timeout(EXAMINED, blocking::run(move |_| Executable::examine(&program))).await;
    examined.ok()?.ok()
}

/// Returns whether a path is a directory; a path on a file system that does not answer is not.
async fn is_directory(path: &Path) -> bool {
    let path = path.to_owned();
    matches!(timeout(EXAMINED, blocking::run(move |_| path.is_dir())).await, Ok(Ok(true)))
}

pub(super) fn machine(doing: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |cause| StartError::Machine { doing, cause }
}

/// Explains why the program was not verified.
pub(super) fn not_verified(error: VerifyError, program: PathBuf, has_checksum: bool) -> StartError {
    match error {
        VerifyError::Checksum(cause) => StartError::Checksum { program, cause },
        VerifyError::Unreadable(error) if has_checksum => {
            StartError::Checksum { program, cause: ChecksumError::Read(error) }
        }
        VerifyError::Unreadable(error) => {
            StartError::Unverified { program, cause: Box::new(error) }
        }
        VerifyError::Refused(cause) => StartError::Unverified { program, cause },
        VerifyError::NotExecutable { executable, cause } => {
            let executable = Some(executable);
            let evidence = Evidence { program, executable, ..Evidence::default() };
            StartError::Spawn { cause, evidence: Box::new(evidence) }
        }
        VerifyError::Copy(cause) => machine("copying the program to verify it")(cause),
        other => machine("verifying the program")(io::Error::other(other)),
    }
}

/// Explains why the process was not started. The system's error is the same for a program and for a working directory that
/// cannot be used.
pub(super) async fn not_spawned(
    cause: io::Error,
    program: PathBuf,
    directory: Option<PathBuf>,
    confined: bool,
) -> StartError {
    if let Some(directory) = directory
        && !is_directory(&directory).await
    {
        let directory = directory.display();
        let why = format!("its working directory {directory} is not a directory");
        return StartError::Configuration(why);
    }
    if confined && cause.raw_os_error() == Some(Errno::PERM.raw_os_error()) {
        let why = "the system refuses a limit or the user (`Launch::confine`): this host has no permission to set it";
        return StartError::Configuration(why.to_owned());
    }
    let executable = examine(&program).await;
    let evidence = Evidence { program, executable, ..Evidence::default() };
    StartError::Spawn { cause, evidence: Box::new(evidence) }
}

/// Returns whether the plugin complains about the cookie. Go plugins and ours print some text for people, nothing else, and
/// exit with 1. Nothing on the wire says it, so the text has to.
fn is_about_the_cookie(evidence: &Evidence) -> bool {
    let words =
        ["These are not meant to be executed directly", "This program is a plugin", "magic cookie"];
    let status = evidence.exit.as_ref().and_then(|exit| exit.status);
    evidence.stdout.is_empty()
        && status.is_none_or(|status| status.code() == Some(1))
        && words.iter().any(|words| evidence.stderr.contains(words))
}
