//! What can go wrong in the host, with the evidence.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use plugwire_process::{ChecksumError, Executable, Exit};
use plugwire_protocol::evidence::printable;
use plugwire_protocol::handshake::HandshakeError;

use crate::http2::ConnectStep;
use crate::net::Address;

/// What is known of a plugin that did not start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// The file that was executed.
    pub program: PathBuf,
    /// What that file is, if examining it showed something.
    pub executable: Option<Executable>,
    /// What the [`Runner`](super::Runner) that started it says, if one did.
    pub diagnosis: Option<String>,
    /// Its standard output up to the error, as printable text of at most 2 KiB.
    pub stdout: String,
    /// The end of its standard error, at most 8 KiB.
    pub stderr: String,
    /// How the process ended, if it did by itself.
    pub exit: Option<Exit>,
    /// The number of this process's environment variables that were withheld from the plugin.
    pub withheld: usize,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program      {}", self.program.display())?;
        if let Some(executable) = &self.executable {
            write!(f, "\nfile         {executable}")?;
        }
        if let Some(diagnosis) = &self.diagnosis {
            write!(f, "\nrunner       {}", printable(diagnosis))?;
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
/// Nothing is left of the plugin: its process group is killed and its sockets are removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The file does not have the expected digest, or could not be read. Nothing was started.
    #[error("the plugin was not started: {} is not trusted", program.display())]
    Checksum {
        /// The file.
        program: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: ChecksumError,
    },
    /// The host's configuration is invalid. Nothing was started.
    #[error("the plugin was not started: {0}")]
    Configuration(String),
    /// The plugin's socket does not exist, refuses, or does not speak the protocol: TLS or HTTP/2 failed. The plugin
    /// misbehaves, or another process listens there.
    #[error("{}", not_connected(address, *step))]
    Connect {
        /// Where the plugin said it listens.
        address: Address,
        /// Which step failed.
        step: ConnectStep,
        /// What the system or the TLS library says.
        #[source]
        cause: io::Error,
        /// What is known of the plugin.
        evidence: Box<Evidence>,
    },
    /// The plugin says that it was not started by its host: its cookie is not the one in `Handshake`, or the program is a
    /// plugin for another host.
    #[error("the plugin refused to start: it did not find the magic cookie that it expects")]
    CookieRefused(Box<Evidence>),
    /// The plugin ended, or closed its standard output, before its handshake line.
    #[error("{}", no_line(.0))]
    Exited(Box<Evidence>),
    /// The handshake line cannot be accepted: the two sides are incompatible, or the plugin misbehaves.
    #[error("the plugin's handshake line cannot be accepted")]
    Handshake {
        /// What is wrong with it.
        #[source]
        cause: HandshakeError,
        /// What is known of the plugin.
        evidence: Box<Evidence>,
    },
    /// The machine failed: no directory for sockets, no pipe, no key.
    #[error("the plugin was not started: {doing} failed")]
    Machine {
        /// What was being done.
        doing: &'static str,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The plugin printed so much that none of it can be a handshake line. The plugin misbehaves.
    #[error("the plugin printed {read} bytes and no handshake line")]
    NoLine {
        /// How many bytes were read.
        read: usize,
        /// What is known of the plugin.
        evidence: Box<Evidence>,
    },
    /// Mutual TLS is required, and the plugin's line has no certificate. The plugin does not support mutual TLS; to connect
    /// anyway, use `.dangerous().plaintext()`.
    #[error(
        "the plugin answered without a certificate, and mutual TLS is required (to connect anyway, \
         use `.dangerous().plaintext()`)"
    )]
    NoCertificate(Box<Evidence>),
    /// The program could not be executed: it is missing, a directory, not executable, or made for another machine.
    #[error("the plugin cannot be executed{}", after_colon(evidence.executable.as_ref()))]
    Spawn {
        /// What the system says.
        #[source]
        cause: io::Error,
        /// What is known of the plugin.
        evidence: Box<Evidence>,
    },
    /// The start took longer than `Launch::start_timeout`.
    #[error("{} within {limit:?}", step.missing())]
    Timeout {
        /// The limit.
        limit: Duration,
        /// What was waited for.
        step: TimeoutStep,
        /// What is known of the plugin.
        evidence: Box<Evidence>,
    },
    /// This host is configured for plaintext, and the plugin's line has a certificate: it expects TLS.
    #[error("the plugin expects TLS, but this host is configured for plaintext")]
    UnexpectedCertificate(Box<Evidence>),
    /// The check of `Launch::verify_with` refused the file or panicked, or the file could not be read. Nothing was started.
    #[error("the plugin was not started: {} is not trusted", program.display())]
    Unverified {
        /// The file.
        program: PathBuf,
        /// What the check says, or its panic.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
}

/// What a start was waiting for when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeoutStep {
    /// The connection to the plugin.
    Connection,
    /// A private directory for sockets. The directory around it, which is swept first, is on a file system that does not
    /// answer.
    Directory,
    /// The system, to execute the program: its file is on a file system that does not answer.
    Execution,
    /// The handshake line.
    Line,
    /// The program's file, to be found, read and verified: it is very large, or on a file system that does not answer, or the
    /// check of `Launch::verify_with` takes too long. What was begun is removed once the file system or the check returns.
    Program,
    /// The [`Runner`](super::Runner), to start the plugin.
    Runner,
}

impl TimeoutStep {
    fn missing(self) -> &'static str {
        match self {
            TimeoutStep::Connection => "the plugin did not accept the connection",
            TimeoutStep::Directory => "the system did not create a directory for sockets",
            TimeoutStep::Execution => "the system did not execute the program",
            TimeoutStep::Line => "the plugin printed no handshake line",
            TimeoutStep::Program => "the program's file was not found, read and verified",
            TimeoutStep::Runner => "the plugin's runner did not start it",
        }
    }
}

impl StartError {
    /// Returns a stable name for this kind of failure.
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

    /// Returns what is known of the plugin; `None` if nothing was started.
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

fn not_connected(address: &Address, step: ConnectStep) -> String {
    match step {
        ConnectStep::Dial => format!("the plugin cannot be reached at {address}"),
        ConnectStep::Tls => format!("mutual TLS with the plugin at {address} failed"),
        ConnectStep::Http2 => format!("the plugin at {address} did not answer in HTTP/2"),
    }
}

fn no_line(evidence: &Evidence) -> String {
    match &evidence.exit {
        Some(exit) => {
            let words = after_colon(exit.last_words().as_ref());
            format!("the plugin ended before its handshake line: {exit}{words}")
        }
        None => "the plugin closed its standard output before its handshake line".to_owned(),
    }
}

fn after_colon(text: Option<&impl fmt::Display>) -> String {
    text.map(|text| format!(": {text}")).unwrap_or_default()
}

/// The source of a failed call's [`Status`](tonic::Status) if the process at the other end is gone:
/// `status.source().and_then(|e| e.downcast_ref::<PluginGone>())`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("plugin `{plugin}` is gone: {exit}{}", after_colon(exit.last_words().as_ref()))]
#[non_exhaustive]
pub struct PluginGone {
    /// The plugin's name.
    pub plugin: String,
    /// How its process ended.
    pub exit: Exit,
}

/// Why a ping failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// The call failed. If the process is gone, the status's source is [`PluginGone`].
    #[error("the plugin's health cannot be asked for")]
    Call(#[source] tonic::Status),
    /// The plugin answers, and says that it is not serving.
    #[error("the plugin says that it is not serving")]
    NotServing,
}

/// Why a plugin is still running after a shutdown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// The process did not end when it was killed: the kernel holds it in a system call that cannot be interrupted.
    #[error("{}", not_ended(*pid))]
    Unkillable {
        /// Its pid; `None` if a runner started it, whose `kill` did not end it.
        pid: Option<u32>,
    },
}

fn not_ended(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid} did not end when it was killed"),
        None => "the plugin's runner did not end it".to_owned(),
    }
}
