//! The environment that the host has set, and how the plugin interprets it.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;

use plugwire_conformance_wire::environment::{self, parse_bool};
use plugwire_conformance_wire::identity::der_of_pem;
use rustix::fs::FileType;
use serde_json::{Value, json};

use crate::script::{Script, VersionChoice};

/// What the host asked for, interpreted as the script demands.
#[derive(Debug)]
pub(super) struct Asked {
    /// The app protocol version to serve.
    pub(super) version: u32,
    /// The host's certificate, where it sent one that can be read.
    pub(super) certificate: Option<Vec<u8>>,
    /// The host sent a certificate, readable or not.
    pub(super) tls: bool,
    /// Whether the variable for multiplexing is set, to any value.
    pub(super) multiplex_field: bool,
    /// Multiplexing is wanted.
    pub(super) multiplex: bool,
    /// The directory for sockets.
    pub(super) folder: PathBuf,
    /// The group for sockets.
    pub(super) group: Option<String>,
    /// The lowest and the highest port.
    pub(super) ports: (u16, u16),
}

/// Why a plugin does not start.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What it says.
    pub(super) text: String,
    /// Says it on standard output.
    pub(super) to_stdout: bool,
    /// Its exit status.
    pub(super) exit: u8,
}

/// Returns a variable of the environment; empty is as good as none.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(|value| value.to_string_lossy().into_owned())
}

/// Returns the protocol's variables as they are set, for the witness.
pub(super) fn protocol_variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        })
        .filter(|(name, _)| name.starts_with("PLUGIN_"))
        .collect()
}

/// Refuses a start without the cookie.
pub(super) fn check_cookie(script: &Script) -> Result<(), Refusal> {
    let cookie = &script.cookie;
    let found = variable(&cookie.key);
    let good = match found {
        None => cookie.unchecked,
        Some(value) => value == cookie.value || cookie.any_value || cookie.unchecked,
    };
    match good {
        true => Ok(()),
        false => Err(Refusal {
            text: cookie.text.clone(),
            to_stdout: cookie.to_stdout,
            exit: cookie.exit,
        }),
    }
}

impl Asked {
    /// Reads the environment.
    pub(super) fn read(script: &Script) -> Result<Self, Refusal> {
        let rules = &script.environment;
        if rules.dies_of_unknown_variable
            && let Some(name) = protocol_variables()
                .into_keys()
                .find(|name| !environment::ALL.contains(&name.as_str()))
        {
            return Err(refusal(format!("the variable {name} is unknown")));
        }
        let pem = variable(environment::CLIENT_CERT);
        let certificate = pem.as_ref().and_then(|pem| der_of_pem(pem).ok());
        let takes_bad = rules.bad_certificate_is_none || rules.bad_certificate_is_nobodys;
        if pem.is_some() && certificate.is_none() && !takes_bad {
            return Err(refusal(format!("{} is no certificate", environment::CLIENT_CERT)));
        }
        let set = std::env::var_os(environment::CLIENT_CERT).is_some();
        let empty_one = set && pem.is_none() && rules.empty_certificate_is_one;
        let multiplex = variable(environment::MULTIPLEX_GRPC);
        let folder = variable(environment::SOCKET_DIR).filter(|_| !rules.ignores_socket_dir);
        let otherwise = match rules.sockets_in_working_directory {
            true => std::env::current_dir().unwrap_or_default(),
            false => std::env::temp_dir(),
        };
        Ok(Self {
            version: version(script)?,
            tls: match &certificate {
                Some(_) => true,
                None => (pem.is_some() && !rules.bad_certificate_is_none) || empty_one,
            },
            certificate,
            multiplex_field: multiplex.is_some(),
            multiplex: multiplex.is_some_and(|value| parse_bool(&value) == Some(true)),
            folder: folder.map_or(otherwise, PathBuf::from),
            group: variable(environment::SOCKET_GROUP).filter(|_| !rules.ignores_socket_group),
            ports: ports(script)?,
        })
    }
}

fn refusal(text: String) -> Refusal {
    Refusal { text: format!("{text}\n"), to_stdout: false, exit: 1 }
}

fn version(script: &Script) -> Result<u32, Refusal> {
    let rules = &script.environment;
    let mut offered = Vec::new();
    for word in variable(environment::PROTOCOL_VERSIONS).unwrap_or_default().split(',') {
        match word.parse::<u32>() {
            Ok(version) => offered.push(version),
            Err(_) if rules.dies_of_bad_version && !word.is_empty() => {
                return Err(refusal(format!("{word:?} is no version")));
            }
            Err(_) => {}
        }
    }
    let own = &script.versions;
    let lowest = own.iter().min().copied().unwrap_or(1);
    let highest = own.iter().max().copied().unwrap_or(1);
    let mut common = offered.into_iter().filter(|version| own.contains(version));
    let chosen = match rules.version {
        VersionChoice::Highest => common.max(),
        VersionChoice::Lowest => common.min(),
        VersionChoice::First => common.next(),
        VersionChoice::Last => common.next_back(),
        VersionChoice::OwnHighest => Some(highest),
        VersionChoice::OwnLowest => Some(lowest),
        VersionChoice::Foreign => Some(highest.saturating_add(1)),
    };
    match chosen {
        Some(version) => Ok(version),
        None if rules.dies_without_common_version => {
            Err(refusal("no version in common".to_owned()))
        }
        None if rules.falls_back_to_highest => Ok(highest),
        None => Ok(lowest),
    }
}

/// Returns the ports for a plugin on TCP; other plugins ignore them.
fn ports(script: &Script) -> Result<(u16, u16), Refusal> {
    let rules = &script.environment;
    let reads = script.listen.tcp || rules.reads_ports_for_nothing || rules.needs_ports;
    if !reads || rules.ignores_ports {
        return Ok((0, 0));
    }
    let port = |name: &str| match variable(name) {
        None if rules.needs_ports => Err(refusal(format!("{name} is not set"))),
        None => Ok(0),
        Some(text) => match text.parse() {
            Ok(port) => Ok(port),
            Err(_) if rules.takes_bad_port_for_none => Ok(0),
            Err(_) => Err(refusal(format!("{name}: {text:?} is no port"))),
        },
    };
    let (min, max) = (port(environment::MIN_PORT)?, port(environment::MAX_PORT)?);
    match min <= max {
        true => Ok((min, max)),
        false if rules.swaps_ports => Ok((max, min)),
        false => Err(refusal(format!("the lowest port {min} is above the highest {max}"))),
    }
}

/// Returns everything that the plugin was given, for the witness.
pub(super) fn given() -> Value {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let mut names: Vec<String> = std::env::vars_os().map(|(name, _)| text(name)).collect();
    names.sort();
    json!({
        "pid": std::process::id(),
        "arguments": std::env::args_os().map(text).collect::<Vec<_>>(),
        "folder": std::env::current_dir().unwrap_or_default(),
        "variables": names,
        "protocol": protocol_variables(),
        "stdin": stdin_kind(),
    })
}

fn stdin_kind() -> &'static str {
    let Ok(status) = rustix::fs::fstat(rustix::stdio::stdin()) else { return "closed" };
    match FileType::from_raw_mode(status.st_mode) {
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        FileType::RegularFile => "file",
        FileType::CharacterDevice if std::io::stdin().is_terminal() => "terminal",
        FileType::CharacterDevice => "device",
        _ => "other",
    }
}
