//! What can go wrong at the host, with the evidence.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use plugwire_protocol::handshake::HandshakeError;

use super::{ChecksumError, Executable, Exit};
use crate::http2::ConnectStep;
use crate::net::Address;

/// What is known of a plugin that did not start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// The file that was executed.
    pub program: PathBuf,
    /// What that file is, where looking at it tells something.
    pub executable: Option<Executable>,
    /// What the [`Runner`](super::Runner) says that started it, if one did.
    pub diagnosis: Option<String>,
    /// What it printed to standard output up to the error, as printable text of at most 2 KiB.
    pub stdout: String,
    /// The end of its standard error, at most 8 KiB.
    pub stderr: String,
    /// How the process ended, if it did by itself.
    pub exit: Option<Exit>,
    /// How many of this process's environment variables the plugin did not get.
    pub withheld: usize,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program      {}", self.program.display())?;
        if let Some(executable) = &self.executable {
            write!(f, "\nfile         {executable}")?;
        }
        if let Some(diagnosis) = &self.diagnosis {
            write!(f, "\nrunner       {diagnosis}")?;
        }
        if let Some(exit) = &self.exit {
            write!(f, "\nended        {exit}")?;
        }
        for (label, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            for (number, line) in text.lines().enumerate() {
                let label = if number == 0 { label } else { "" };
                write!(f, "\n{label:<12} {line}")?;
            }
        }
        write!(f, "\nenvironment  {} variables of the host were withheld", self.withheld)
    }
}

/// Why a plugin could not be started.
///
/// Nothing is left of it then: its process group is killed and its sockets are removed.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The file is not the one that was expected, or could not be read. Nothing was started.
    Checksum {
        /// The file.
        program: PathBuf,
        /// What is wrong with it.
        cause: ChecksumError,
    },
    /// What the host asks for makes no sense. Nothing was started.
    Configuration(String),
    /// The plugin's socket is not there, refuses, or does not speak the protocol: TLS or HTTP/2 failed. The plugin
    /// misbehaves, or somebody else listens there.
    Connect {
        /// Where the plugin said it listens.
        address: Address,
        /// Which step failed.
        step: ConnectStep,
        /// What the system or the TLS library says.
        cause: io::Error,
        /// What is known of the plugin.
        evidence: Box<Evidence>,
    },
    /// The plugin says that it was not started by its host: the cookie in `Handshake` is another than the plugin's, or
    /// the program is a plugin of another host.
    CookieRefused(Box<Evidence>),
    /// The plugin ended, or closed its standard output, before its handshake line.
    Exited(Box<Evidence>),
    /// The handshake line is there and cannot be accepted: the two sides are incompatible, or the plugin misbehaves.
    Handshake {
        /// What is wrong with it.
        cause: HandshakeError,
        /// What is known of the plugin.
        evidence: Box<Evidence>,
    },
    /// The machine: no folder for sockets, no pipe, no key.
    Machine {
        /// What was being done.
        doing: &'static str,
        /// What the system says.
        cause: io::Error,
    },
    /// The plugin printed so much that none of it can be a handshake line. The plugin misbehaves.
    NoLine {
        /// How many bytes were read.
        read: usize,
        /// What is known of the plugin.
        evidence: Box<Evidence>,
    },
    /// Mutual TLS is required and the plugin's line holds no certificate. It does not know mutual TLS; to talk to it all
    /// the same, say `.dangerous().plaintext()`.
    NoCertificate(Box<Evidence>),
    /// The program could not be executed: it is missing, a folder, not executable, or made for another machine.
    Spawn {
        /// What the system says.
        cause: io::Error,
        /// What is known of the plugin.
        evidence: Box<Evidence>,
    },
    /// The start took longer than `Launch::start_timeout`.
    Timeout {
        /// The limit.
        limit: Duration,
        /// What was waited for.
        step: TimeoutStep,
        /// What is known of the plugin.
        evidence: Box<Evidence>,
    },
    /// This host talks plaintext, and the plugin's line holds a certificate: it wants TLS.
    UnexpectedCertificate(Box<Evidence>),
    /// The check of `Launch::verify_with` refused the file or panicked, or it could not be read for it. Nothing was started.
    Unverified {
        /// The file.
        program: PathBuf,
        /// What the check says, or its panic.
        cause: Box<dyn Error + Send + Sync>,
    },
}

/// What a start was waiting for when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeoutStep {
    /// The connection to the plugin.
    Connection,
    /// The system, to execute the program: its file lies on something that does not answer.
    Execution,
    /// A private folder for sockets, in the folder that is swept first of what dead hosts left there: it lies on something that
    /// does not answer.
    Folder,
    /// The handshake line.
    Line,
    /// The program's file, to be found, read and verified: it is very large, or lies on something that does not answer, or
    /// the check of `Launch::verify_with` takes that long. What was begun is removed once that answers.
    Program,
    /// The [`Runner`](super::Runner), to have started the plugin.
    Runner,
}

impl StartError {
    /// A stable name for this kind of failure.
    pub fn code(&self) -> &'static str {
        match self {
            StartError::Checksum { .. } => "start.checksum",
            StartError::Configuration(_) => "start.configuration",
            StartError::Connect { step, .. } => match step {
                ConnectStep::Dial => "start.connect",
                ConnectStep::Http2 => "start.http2",
                ConnectStep::Tls => "start.tls",
            },
            StartError::CookieRefused(_) => "start.cookie",
            StartError::Exited(_) => "start.exited",
            StartError::Handshake { cause, .. } => cause.code(),
            StartError::Machine { .. } => "start.machine",
            StartError::NoCertificate(_) => "start.no-certificate",
            StartError::NoLine { .. } => "start.no-line",
            StartError::Spawn { .. } => "start.spawn",
            StartError::Timeout { .. } => "start.timeout",
            StartError::UnexpectedCertificate(_) => "start.unexpected-certificate",
            StartError::Unverified { .. } => "start.unverified",
        }
    }

    /// What is known of the plugin; `None` where nothing was started.
    pub fn evidence(&self) -> Option<&Evidence> {
        match self {
            StartError::Connect { evidence, .. }
            | StartError::CookieRefused(evidence)
            | StartError::Exited(evidence)
            | StartError::Handshake { evidence, .. }
            | StartError::NoLine { evidence, .. }
            | StartError::NoCertificate(evidence)
            | StartError::Spawn { evidence, .. }
            | StartError::Timeout { evidence, .. }
            | StartError::UnexpectedCertificate(evidence) => Some(evidence),
            StartError::Checksum { .. }
            | StartError::Configuration(_)
            | StartError::Machine { .. }
            | StartError::Unverified { .. } => None,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Checksum { program, .. } | StartError::Unverified { program, .. } => {
                let program = program.display();
                write!(f, "the plugin was not started: {program} is not trusted")
            }
            StartError::Configuration(why) => write!(f, "the plugin was not started: {why}"),
            StartError::Connect { address, step, .. } => match step {
                ConnectStep::Dial => write!(f, "the plugin cannot be reached at {address}"),
                ConnectStep::Tls => write!(f, "mutual TLS with the plugin at {address} failed"),
                ConnectStep::Http2 => write!(f, "the plugin at {address} did not answer in HTTP/2"),
            },
            StartError::CookieRefused(_) => {
                write!(
                    f,
                    "the plugin refused to start: it did not find the magic cookie that it expects"
                )
            }
            StartError::Exited(evidence) => match &evidence.exit {
                Some(exit) => {
                    write!(f, "the plugin ended before its handshake line: {exit}")?;
                    exit.last_words().map_or(Ok(()), |words| write!(f, ": {words}"))
                }
                None => {
                    write!(f, "the plugin closed its standard output before its handshake line")
                }
            },
            StartError::Handshake { .. } => {
                write!(f, "the plugin's handshake line cannot be accepted")
            }
            StartError::Machine { doing, .. } => {
                write!(f, "the plugin was not started: {doing} failed")
            }
            StartError::NoLine { read, .. } => {
                write!(f, "the plugin printed {read} bytes and no handshake line")
            }
            StartError::NoCertificate(_) => write!(
                f,
                "the plugin answered without a certificate, and mutual TLS is required \
                 (`.dangerous().plaintext()` does without)"
            ),
            StartError::Spawn { evidence, .. } => match &evidence.executable {
                Some(executable) => write!(f, "the plugin cannot be executed: {executable}"),
                None => write!(f, "the plugin cannot be executed"),
            },
            StartError::Timeout { limit, step: TimeoutStep::Execution, .. } => {
                write!(f, "the system did not execute the program within {limit:?}")
            }
            StartError::Timeout { limit, step: TimeoutStep::Folder, .. } => {
                write!(f, "the system did not make a folder for sockets within {limit:?}")
            }
            StartError::Timeout { limit, step: TimeoutStep::Program, .. } => {
                write!(f, "the program's file was not found, read and verified within {limit:?}")
            }
            StartError::Timeout { limit, step: TimeoutStep::Line, .. } => {
                write!(f, "the plugin printed no handshake line within {limit:?}")
            }
            StartError::Timeout { limit, step: TimeoutStep::Connection, .. } => {
                write!(f, "the plugin did not accept the connection within {limit:?}")
            }
            StartError::Timeout { limit, step: TimeoutStep::Runner, .. } => {
                write!(f, "the plugin's runner did not start it within {limit:?}")
            }
            StartError::UnexpectedCertificate(_) => {
                write!(f, "the plugin expects TLS, and this host was told to talk plaintext")
            }
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StartError::Checksum { cause, .. } => Some(cause),
            StartError::Connect { cause, .. }
            | StartError::Machine { cause, .. }
            | StartError::Spawn { cause, .. } => Some(cause),
            StartError::Handshake { cause, .. } => Some(cause),
            StartError::Unverified { cause, .. } => Some(&**cause),
            _ => None,
        }
    }
}

/// Why a plugin is not well.
#[derive(Debug)]
#[non_exhaustive]
pub enum PingError {
    /// The call failed; where the process is gone, the status's source is [`PluginGone`](super::PluginGone).
    Call(tonic::Status),
    /// The plugin answers, and says that it is not serving.
    NotServing,
}

impl fmt::Display for PingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PingError::Call(_) => write!(f, "the plugin's health cannot be asked for"),
            PingError::NotServing => write!(f, "the plugin says that it is not serving"),
        }
    }
}

impl Error for PingError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            PingError::Call(status) => Some(status),
            PingError::NotServing => None,
        }
    }
}

/// Why a plugin is still there after a shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutdownError {
    /// The process did not even end when it was killed: the kernel holds it, in a system call that cannot be interrupted.
    Unkillable {
        /// Its id; 0 where a runner started it, whose `kill` then did not end it.
        pid: u32,
    },
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShutdownError::Unkillable { pid: 0 } => {
                write!(f, "the plugin's runner did not end it")
            }
            ShutdownError::Unkillable { pid } => {
                write!(f, "process {pid} did not end when it was killed")
            }
        }
    }
}

impl Error for ShutdownError {}
