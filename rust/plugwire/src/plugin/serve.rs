//! One plugin process: it reads the environment, listens, prints the handshake line, and serves.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use plugwire_protocol::environment::PluginEnvironment;
use plugwire_protocol::handshake::HandshakeLine;
use plugwire_protocol::{certificate, negotiation};
use tokio::signal::unix::{SignalKind, signal};

use super::builder::Plugin;
use super::capture::{Capture, Descriptor};
use super::error::ServeError;
use super::exit::{ExitWatch, OwnProcess};
use super::log;
use super::running::Running;
use crate::net::{Identity, Listen, Listener, Tls};

impl Plugin {
    /// Serves until the host sends `Shutdown`, and returns what `main` should return. If it cannot serve,
    /// it prints the reason to standard error: as plain text for people who ran the program by hand,
    /// otherwise for the host's log.
    ///
    /// From the handshake line until this returns, descriptor 1 is a pipe to the host's stdio stream.
    /// SIGINT is ignored from then on, forever: Ctrl-C in a terminal reaches the whole process group, and
    /// the host decides when a plugin ends. Must run inside tokio, with I/O and time enabled. A process
    /// can serve one plugin.
    pub async fn serve(self) -> ExitCode {
        match serve(self).await {
            Ok(watch) => {
                if let Some(watch) = watch {
                    watch.stays();
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                report(&error);
                ExitCode::FAILURE
            }
        }
    }

    /// Serves as [`Plugin::serve`] does, and returns the error instead of printing it. Once it has returned,
    /// the process is yours: [`Plugin::exit_timeout`] no longer applies, and a handler that hangs keeps the
    /// runtime from being dropped.
    ///
    /// Cancel safety: dropping the future stops serving at once and restores descriptor 1. Output that
    /// was printed and not sent yet is lost.
    pub async fn try_serve(self) -> Result<(), ServeError> {
        serve(self).await.map(drop)
    }
}

async fn serve(plugin: Plugin) -> Result<Option<ExitWatch>, ServeError> {
    let environment =
        PluginEnvironment::read(plugin.handshake.cookie(), |name| std::env::var_os(name))
            .map_err(ServeError::NotStartedByHost)?;
    for entry in &environment.skipped_versions {
        log::warn(&format!("the host offers `{entry}`, which is not an app protocol version"));
    }
    let own: Vec<u32> = plugin.versions.keys().copied().collect();
    let version =
        negotiation::choose(&own, &environment.offered_versions).ok_or(ServeError::NoVersions)?;
    let (tls, certificate) = tls(&plugin, &environment)?;
    let listen = where_to_listen(&plugin, &environment)?;
    let listener = Listener::bind(&listen).await.map_err(ServeError::Listen)?;
    let address = listener.address();
    ignore_interrupts();

    let mut line = HandshakeLine::new(version, address.network(), address.to_bytes());
    line.certificate = certificate;
    // Plugins in Go answer `true` to any value of the variable, and so does this one: it means "supported".
    line.multiplex = environment.multiplex_asked.then_some(true);
    let line = line.to_line().map_err(ServeError::Address)?;
    let (hub, capture_stderr) = (plugin.hub.clone(), plugin.capture_stderr);
    let (orphaned_after, exit) = (plugin.orphaned_after, plugin.drain.saturating_add(plugin.exit));
    let running = Running::prepare(plugin, version, tls, listen, environment.multiplex)?;
    announce(line).map_err(ServeError::Line)?;

    let stdout = Capture::begin(Descriptor::Stdout, hub.clone()).map_err(ServeError::Stdio)?;
    let process = OwnProcess { stdout: stdout.original(), orphaned_after, exit };
    let mut captures = vec![stdout];
    if capture_stderr {
        captures.push(Capture::begin(Descriptor::Stderr, hub).map_err(ServeError::Stdio)?);
    }
    Ok(running.run(listener, captures, Some(process)).await)
}

/// Sets up TLS as the host's certificate asks for, unless the author set a configuration.
fn tls(
    plugin: &Plugin,
    environment: &PluginEnvironment,
) -> Result<(Option<Tls>, Option<Vec<u8>>), ServeError> {
    if let Some(tls) = &plugin.tls {
        return Ok((Some(tls.clone()), None));
    }
    let Some(pem) = &environment.client_certificate_pem else {
        return if plugin.require_mutual_tls {
            Err(ServeError::NoHostCertificate)
        } else {
            Ok((None, None))
        };
    };
    let host = certificate::from_pem(pem)
        .map_err(|error| ServeError::HostCertificate(error.to_string()))?;
    let own = Identity::generate().map_err(|error| ServeError::Tls(error.to_string()))?;
    let tls = Tls::pinned(&own, &host).map_err(|error| ServeError::Tls(error.to_string()))?;
    Ok((Some(tls), Some(own.certificate().to_vec())))
}

fn where_to_listen(plugin: &Plugin, environment: &PluginEnvironment) -> Result<Listen, ServeError> {
    if plugin.tcp {
        let ports = environment.ports.clone().map_err(ServeError::Ports)?;
        return Ok(Listen::Tcp { ports: ports.map(|ports| (ports.min(), ports.max())) });
    }
    Ok(Listen::Unix {
        directory: environment.socket_dir.as_ref().map_or_else(std::env::temp_dir, PathBuf::from),
        group: environment.socket_group.clone(),
    })
}

/// Catches SIGINT and does nothing. Every program that the plugin starts would inherit `SIG_IGN`.
fn ignore_interrupts() {
    match signal(SignalKind::interrupt()) {
        Ok(mut interrupts) => {
            tokio::spawn(async move { while interrupts.recv().await.is_some() {} });
        }
        Err(error) => log::warn(&format!("SIGINT cannot be ignored: {error}")),
    }
}

/// Prints the handshake line. The socket must already listen, because a host may connect as soon as it
/// has read the line. Spec: HS-9.
fn announce(mut line: Vec<u8>) -> std::io::Result<()> {
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

/// Prints why the plugin cannot serve: as plain text if no host started it, otherwise for the host's log.
fn report(error: &ServeError) {
    if let ServeError::NotStartedByHost(error) = error {
        eprintln!("{}", error.explanation());
        return;
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    log::error(&text);
}
