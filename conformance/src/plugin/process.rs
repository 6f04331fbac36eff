//! The plugin's process: its start, its line, its pipes, its exit.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use plugwire_conformance_wire::environment;
use plugwire_conformance_wire::identity::Identity;
use plugwire_conformance_wire::line::Line;
use plugwire_conformance_wire::process::{Output, Running, Seen};
use rustix::process::Signal;

use super::host::{Failure, Host, Outcome};
use super::log;
use super::scene::{
    self, CertificateWanted, Cookie, Exit, HostTls, LineWanted, SocketWanted, Start, Stdin,
};

/// How long pipes and child processes may outlive the process.
const AFTERMATH: Duration = Duration::from_millis(500);
/// The directory for sockets, where a case asks for one.
const SOCKETS: &str = "s";

impl Host<'_> {
    /// Starts the plugin, reads its line and connects.
    pub(super) async fn begin(&mut self, start: &Start) -> Outcome {
        self.start(start).await?;
        self.read_line(&LineWanted { within: start.within, ..LineWanted::default() }).await?;
        self.connect(&scene::Connect::default()).await
    }

    pub(super) async fn start(&mut self, start: &Start) -> Outcome {
        self.forget();
        let (program, arguments) = self
            .subject
            .command
            .split_first()
            .ok_or_else(|| Failure::engine("the subject", "it has no command"))?;
        let mut command = self.cage.command(program);
        command.args(arguments);
        self.identity = match start.tls {
            HostTls::None => None,
            HostTls::Mutual => Some(Identity::new()),
            HostTls::MutualP521 => Some(Identity::p521()),
        };
        self.multiplex = start.multiplex.as_deref().and_then(environment::parse_bool) == Some(true);
        let variables = self.variables(start)?;
        let told: Vec<&str> = variables.keys().map(String::as_str).collect();
        self.trace.event("suite", format!("sets {}", told.join(", ")));
        command.envs(variables).env_remove(&self.subject.cookie.key);
        if let Some(cookie) = self.cookie(start.cookie) {
            command.env(&self.subject.cookie.key, cookie);
        }
        let stdin = match start.stdin {
            Stdin::Null => Some(Path::new("/dev/null")),
            Stdin::Pipe => None,
        };
        if stdin.is_none() {
            command.stdin(Stdio::piped());
        }
        self.cage.note_replay(&command, stdin);
        let process = Running::start(command, "subject", self.trace);
        self.process =
            Some(process.map_err(|error| Failure::engine("starting the plugin", error))?);
        Ok(())
    }

    /// Drops an earlier plugin, which kills it.
    fn forget(&mut self) {
        self.calls.clear();
        self.broker = None;
        self.connections.clear();
        self.session = None;
        self.may_end = false;
        self.process = None;
    }

    fn cookie(&self, cookie: Cookie) -> Option<String> {
        match cookie {
            Cookie::Right => Some(self.subject.cookie.value.clone()),
            Cookie::Wrong => Some(format!("{}, but wrong", self.subject.cookie.value)),
            Cookie::Empty => Some(String::new()),
            Cookie::Missing => None,
        }
    }

    /// Returns the protocol's variables, as a Go host sets them, and the case's own.
    fn variables(&self, start: &Start) -> Outcome<BTreeMap<String, String>> {
        let versions = start.versions.as_deref().unwrap_or("{version}");
        let mut variables = BTreeMap::from([
            (environment::PROTOCOL_VERSIONS.to_owned(), self.filled(versions)),
            (environment::MIN_PORT.to_owned(), "10000".to_owned()),
            (environment::MAX_PORT.to_owned(), "25000".to_owned()),
        ]);
        if let Some(identity) = &self.identity {
            variables.insert(environment::CLIENT_CERT.to_owned(), identity.pem());
        }
        if let Some(multiplex) = &start.multiplex {
            variables.insert(environment::MULTIPLEX_GRPC.to_owned(), multiplex.clone());
        }
        if start.socket_dir {
            let folder = self.cage.folder().join(SOCKETS);
            fs::create_dir_all(&folder)
                .map_err(|error| Failure::engine("creating a directory for sockets", error))?;
            variables.insert(environment::SOCKET_DIR.to_owned(), folder.display().to_string());
        }
        for (name, value) in &start.env {
            variables.insert(name.clone(), self.filled(value));
        }
        for name in &start.unset {
            variables.remove(name);
        }
        Ok(variables)
    }

    pub(super) async fn read_line(&mut self, wanted: &LineWanted) -> Outcome {
        let limit = self.limit(wanted.within);
        let bytes = self.process()?.stdout.first_line(limit).await;
        let Some(bytes) = bytes else {
            // A plugin that closes its output usually exits as well, and its exit status explains
            // more.
            let aftermath = self.scaled(AFTERMATH);
            let grace = if self.process()?.stdout.has_ended() { aftermath } else { Duration::ZERO };
            let how = match self.process()?.exited(grace).await {
                Some(exit) => format!("none; it ended with {exit}"),
                None => "none".to_owned(),
            };
            return Err(Failure::differs(
                format!("a line on standard output within {limit:?}"),
                how,
            ));
        };
        if bytes.last() != Some(&b'\n') {
            return Err(Failure::differs(
                "a line that ends with a line feed",
                "it ends without one",
            ));
        }
        let line = Line::parse(&bytes);
        let line = line.map_err(|error| Failure::differs("a handshake line", error.to_string()))?;
        let earlier = self.line.replace(line.clone());
        self.check_line(wanted, &line, earlier.as_ref())
    }

    fn check_line(&self, wanted: &LineWanted, line: &Line, earlier: Option<&Line>) -> Outcome {
        let same = |what: &str, wanted: &str, seen: &str| match wanted == seen {
            true => Ok(()),
            false => Err(Failure::differs(format!("{what} is {wanted:?}"), format!("{seen:?}"))),
        };
        if let Some(fields) = wanted.fields {
            same("the number of fields", &fields.to_string(), &line.fields.len().to_string())?;
        }
        if let Some(core) = &wanted.core {
            same("the core version", core, &line.fields[0])?;
        }
        if let Some(version) = &wanted.version {
            let seen = line.version().map_or(line.fields[1].clone(), |version| version.to_string());
            same("the app version", &self.filled(version), &seen)?;
        }
        let own = &self.subject.app_versions;
        if wanted.own_version
            && !line.version().is_some_and(|seen| own.iter().any(|own| i64::from(*own) == seen))
        {
            let expected = format!("an app version of its own, of {own:?}");
            return Err(Failure::differs(expected, line.fields[1].clone()));
        }
        if let Some(networks) = &wanted.network
            && !networks.iter().any(|network| network == line.network())
        {
            return Err(Failure::differs(networks.join(" or "), line.network()));
        }
        if let Some(protocol) = &wanted.protocol {
            same("the protocol", protocol, line.protocol())?;
        }
        if let Some(multiplex) = &wanted.multiplex
            && !line.multiplex().is_some_and(|seen| multiplex.iter().any(|one| one == seen))
        {
            let seen = line.multiplex().map_or("none".to_owned(), |seen| format!("{seen:?}"));
            return Err(Failure::differs(
                format!("a seventh field: {}", multiplex.join(" or ")),
                seen,
            ));
        }
        self.check_address(wanted, line)?;
        wanted.certificate.map_or(Ok(()), |wanted| check_certificate(wanted, line, earlier))
    }

    fn check_address(&self, wanted: &LineWanted, line: &Line) -> Outcome {
        if let Some(folder) = &wanted.folder {
            let folder = self.filled(folder);
            if Path::new(line.address()).parent() != Some(Path::new(&folder)) {
                return Err(Failure::differs(format!("a socket in {folder}"), line.address()));
            }
        }
        let Some((lowest, highest)) = wanted.ports else { return Ok(()) };
        let port = line.address().strip_prefix("127.0.0.1:");
        let port = port.and_then(|port| port.parse::<u16>().ok());
        match port.is_some_and(|port| (lowest..=highest).contains(&port)) {
            true => Ok(()),
            false => Err(Failure::differs(
                format!("127.0.0.1 and a port from {lowest} to {highest}"),
                line.address(),
            )),
        }
    }

    pub(super) fn signal(&mut self, name: &str) -> Outcome {
        let signal = match name {
            "SIGINT" => Signal::INT,
            "SIGTERM" => Signal::TERM,
            "SIGKILL" => Signal::KILL,
            "SIGSTOP" => Signal::STOP,
            "SIGCONT" => Signal::CONT,
            _ => return Err(Failure::engine("the case's signal", name)),
        };
        match self.process()?.signal(signal) {
            true => Ok(()),
            false => Err(Failure::differs(format!("a process to send {name} to"), "it is gone")),
        }
    }

    pub(super) fn close_stdin(&mut self) -> Outcome {
        let process = self.process.as_mut();
        match process.and_then(|process| process.stdin.take()) {
            Some(_) => Ok(()),
            None => Err(Failure::engine("the case", "standard input is no pipe")),
        }
    }

    pub(super) async fn exit(&mut self, wanted: &Exit) -> Outcome {
        self.may_end = true;
        let limit = self.limit(wanted.within);
        let exit = self.process()?.exited(limit).await;
        let exit = exit.ok_or_else(|| {
            Failure::differs(format!("the plugin ends within {limit:?}"), "it lives")
        })?;
        if let Some(code) = wanted.code
            && exit.code() != Some(code)
        {
            return Err(Failure::differs(format!("exit status {code}"), exit.to_string()));
        }
        if let Some(code) = wanted.code_is_not
            && exit.code() == Some(code)
        {
            return Err(Failure::differs(
                format!("another exit status than {code}"),
                exit.to_string(),
            ));
        }
        if wanted.alone { self.alone().await } else { Ok(()) }
    }

    /// Checks that the process left nothing: its pipes end, and no process remains.
    async fn alone(&self) -> Outcome {
        let process = self.process()?;
        let aftermath = self.scaled(AFTERMATH);
        for (name, pipe) in [("output", &process.stdout), ("error", &process.stderr)] {
            if !pipe.ends(aftermath).await {
                let expected = format!("standard {name} ends with the process");
                return Err(Failure::differs(expected, "another process holds it open"));
            }
        }
        let left = self.cage.left(aftermath).await;
        match left.is_empty() {
            true => Ok(()),
            false => Err(Failure::differs("no process is left", format!("{left:?} live"))),
        }
    }

    pub(super) fn socket(&mut self, wanted: &SocketWanted) -> Outcome {
        let line = self.announced()?;
        if line.network() != "unix" {
            return Err(Failure::DoesNotApply("the plugin has no unix socket".to_owned()));
        }
        let path = Path::new(line.address());
        let found = fs::symlink_metadata(path);
        if wanted.gone {
            return match found {
                Ok(_) => Err(Failure::differs(
                    "the socket is gone",
                    format!("{} is there", path.display()),
                )),
                Err(_) if wanted.folder_empty => self.no_socket_left(),
                Err(_) => Ok(()),
            };
        }
        let found = found.map_err(|error| {
            Failure::differs("a socket", format!("{}: {error}", path.display()))
        })?;
        let mode = format!("{:04o}", found.permissions().mode() & 0o7777);
        if let Some(wanted) = &wanted.mode
            && *wanted != mode
        {
            return Err(Failure::differs(format!("mode {wanted}"), mode));
        }
        let group = found.gid().to_string();
        match wanted.group.as_deref().map(|wanted| self.filled(wanted)) {
            Some(wanted) if wanted != group => {
                Err(Failure::differs(format!("group {wanted}"), group))
            }
            _ => Ok(()),
        }
    }

    fn no_socket_left(&self) -> Outcome {
        // The host's own sockets for brokered connections are in the case's directory itself.
        let left = self.cage.sockets();
        match left.iter().find(|left| left.parent() != Some(self.cage.folder())) {
            Some(left) => Err(Failure::differs("no socket is left", left.display().to_string())),
            None => Ok(()),
        }
    }

    pub(super) async fn output(&mut self, wanted: &scene::Output) -> Outcome {
        let limit = wanted.within.map_or(Duration::ZERO, |span| self.limit(Some(span)));
        let process = self.process()?;
        if wanted.stdout_empty && process.stdout.total() > 0 {
            return Err(Failure::differs("nothing on standard output", process.stdout.text()));
        }
        if wanted.stdout_only_line {
            self.only_line(&process.stdout)?;
        }
        let something = |text: &str| !text.trim().is_empty();
        if wanted.stderr_something && !seen(&process.stderr, limit, something).await {
            return Err(Failure::differs("something on standard error", "nothing"));
        }
        if let Some(level) = &wanted.stderr_level {
            let at_level = |text: &str| log::has_record_at(text, level);
            if !seen(&process.stderr, limit, at_level).await {
                let expected = format!("a record of hclog at {level} on standard error");
                return Err(Failure::differs(expected, process.stderr.text()));
            }
        }
        log::check(&process.stderr.text(), wanted)
    }

    fn only_line(&self, stdout: &Output) -> Outcome {
        let line = &self.announced()?.raw;
        let text = stdout.text();
        match text.strip_suffix('\n') == Some(line) {
            true => Ok(()),
            false => {
                Err(Failure::differs(format!("{line:?} and nothing else"), format!("{text:?}")))
            }
        }
    }
}

/// Waits until standard error is as wanted, it ends, or the time is over.
async fn seen(output: &Output, limit: Duration, wanted: impl Fn(&str) -> bool) -> bool {
    // A single line may be what is wanted.
    let look = |seen: Seen<'_>| wanted(&String::from_utf8_lossy(seen.fresh_lines())).then_some(());
    output.find(limit, look).await.is_some() || wanted(&output.text())
}

fn check_certificate(wanted: CertificateWanted, line: &Line, earlier: Option<&Line>) -> Outcome {
    let field = line.certificate_field();
    if wanted == CertificateWanted::None {
        return match field.is_empty() {
            true => Ok(()),
            false => Err(Failure::differs("an empty sixth field", field)),
        };
    }
    let der =
        line.certificate().map_err(|error| Failure::differs("a certificate", error.to_string()))?;
    let der = der.ok_or_else(|| Failure::differs("a certificate", format!("{field:?}")))?;
    // A SEQUENCE with a length of two bytes: the outermost of every certificate of this size.
    if der.first() != Some(&0x30) {
        return Err(Failure::differs(
            "the DER of a certificate",
            format!("it begins with {:?}", der.first()),
        ));
    }
    // In a certificate's names, a DNS name is of tag 2 in its context.
    let name = [&[0x82, 9][..], b"localhost"].concat();
    if !der.windows(name.len()).any(|part| part == name) {
        return Err(Failure::differs("a certificate for localhost", "that is not among its names"));
    }
    if wanted == CertificateWanted::New
        && earlier.is_some_and(|earlier| earlier.certificate_field() == field)
    {
        return Err(Failure::differs("another certificate than before", "the same"));
    }
    Ok(())
}
