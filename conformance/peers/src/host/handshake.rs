//! The handshake line: read, and checked in the order of HS-6.

use std::time::Duration;

use plugwire_conformance_wire::environment::parse_bool;
use plugwire_conformance_wire::line::{Line, decode_certificate};
use plugwire_conformance_wire::socket::Address;
use plugwire_conformance_wire::tls::Expect;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use tokio::time::timeout;

use super::failure::Failure;
use super::flaw::Flaw;
use super::process::Process;
use super::{FOR_EVER, Settings, certificate};

/// The longest line (HS-23).
const LONGEST: usize = 64 * 1024;
/// The longest path that a socket's address holds (SOCK-2).
const LONGEST_PATH: usize = 107;

/// The contents of a line, after all checks.
#[derive(Debug)]
pub(super) struct Announced {
    pub(super) version: i64,
    pub(super) address: Address,
    /// Which certificate the plugin has to show; none: the connection is in plaintext.
    pub(super) certificate: Option<Expect>,
}

/// Returns the first line of standard output (HS-2), unchanged.
pub(super) async fn first_line(
    settings: &Settings,
    process: &Process,
    stdout: &mut (impl AsyncBufRead + Unpin),
) -> Result<Vec<u8>, Failure> {
    let patience = match settings.flaw {
        Some(Flaw::WaitsForEver) => FOR_EVER,
        Some(Flaw::GivesUpEarly) => Duration::from_secs(1),
        _ => settings.start_timeout(),
    };
    let reading = async {
        loop {
            let line = one_line(settings, process, stdout).await;
            match line {
                Ok(line) if is_skipped(settings, &line) => {}
                Err(_) if settings.has(Flaw::WaitsOutTheStartTimeout) => {
                    std::future::pending::<()>().await;
                }
                line => return line,
            }
        }
    };
    let timed_out =
        || Failure::new("start.timeout", format!("no line within {} ms", patience.as_millis()));
    timeout(patience, reading).await.unwrap_or_else(|_| Err(timed_out()))
}

async fn one_line(
    settings: &Settings,
    process: &Process,
    stdout: &mut (impl AsyncBufRead + Unpin),
) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    let read = stdout.take(LONGEST as u64).read_until(b'\n', &mut line).await;
    read.map_err(|error| Failure::new("start.other", error.to_string()))?;
    let is_whole = line.ends_with(b"\n");
    if line.len() == LONGEST && !is_whole {
        if settings.has(Flaw::WaitsForEver) {
            drain(stdout).await;
        }
        return Err(Failure::new("start.not-a-handshake", "a line of more than 64 KiB"));
    }
    if is_whole || (!line.is_empty() && !settings.has(Flaw::NeedsALineFeed)) {
        return Ok(line);
    }
    let exit = process.exited(Duration::from_secs(1)).await;
    if settings.has(Flaw::TakesExit0ForAStart) && exit.is_some_and(|exit| exit.success()) {
        return Ok(line);
    }
    let exit = exit.map_or("it lives on".to_owned(), |exit| exit.to_string());
    Err(Failure::new("start.exited", format!("standard output ended without a line; {exit}")))
}

fn is_skipped(settings: &Settings, line: &[u8]) -> bool {
    match settings.flaw {
        Some(Flaw::SkipsNoise) => Line::parse(line).is_err(),
        Some(Flaw::SkipsBlankLines) => line.trim_ascii().is_empty(),
        _ => false,
    }
}

/// Reads to the end, and throws it away (HS-22).
pub(super) async fn drain(stdout: &mut (impl AsyncBufRead + Unpin)) {
    while let Ok(size @ 1..) = stdout.fill_buf().await.map(<[u8]>::len) {
        stdout.consume(size);
    }
}

/// Checks a line.
pub(super) fn check(settings: &Settings, line: &[u8]) -> Result<Announced, Failure> {
    let line = parse(settings, line)?;
    core_version(settings, &line)?;
    let version = app_version(settings, &line)?;
    let address = address(settings, &line)?;
    protocol(settings, &line)?;
    let certificate = certificate_field(settings, &line)?;
    multiplexing(settings, &line)?;
    Ok(Announced { version, address, certificate })
}

fn parse(settings: &Settings, bytes: &[u8]) -> Result<Line, Failure> {
    let not_a_handshake = |why: String| Failure::new("start.not-a-handshake", why);
    let padded = [bytes.trim_ascii(), b"||||"].concat();
    let bytes = match settings.flaw {
        Some(Flaw::FillsInMissingFields) => &padded[..],
        _ => bytes,
    };
    let mut line = Line::parse(bytes).map_err(|error| not_a_handshake(error.to_string()))?;
    if settings.has(Flaw::KeepsWhiteSpace) {
        let text = String::from_utf8_lossy(bytes);
        line.fields = text.trim_end_matches('\n').split('|').map(str::to_owned).collect();
    }
    let exactly = if settings.plugin.multiplex { 7 } else { 6 };
    if settings.has(Flaw::CountsFieldsExactly) && line.fields.len() != exactly {
        return Err(not_a_handshake(format!("{} fields", line.fields.len())));
    }
    Ok(line)
}

fn core_version(settings: &Settings, line: &Line) -> Result<(), Failure> {
    if settings.has(Flaw::AnyCoreVersion)
        || (line.core() == Some(1) && are_plain_digits(settings, &line.fields[0]))
    {
        return Ok(());
    }
    Err(Failure::new("start.core-version", format!("core version {:?} is not 1", line.fields[0])))
}

fn app_version(settings: &Settings, line: &Line) -> Result<i64, Failure> {
    let text = &line.fields[1];
    let version = line.version().filter(|_| are_plain_digits(settings, text));
    let version = match settings.flaw {
        Some(Flaw::TakesVersion0ForNone) => version.filter(|version| *version != 0),
        Some(Flaw::AnyAppVersion) => return Ok(version.unwrap_or_default()),
        _ => version,
    };
    let offered = &settings.plugin.app_versions;
    version.filter(|version| offered.contains(version)).ok_or_else(|| {
        Failure::new("start.app-version", format!("app version {text:?} is none of {offered:?}"))
    })
}

fn are_plain_digits(settings: &Settings, text: &str) -> bool {
    !settings.has(Flaw::WantsPlainDigits)
        || (text == "0" || !text.starts_with(['0', '+', '-'])) && !text.is_empty()
}

fn address(settings: &Settings, line: &Line) -> Result<Address, Failure> {
    let network = match line.network() {
        "tcp" if settings.has(Flaw::KnowsNoTcp) => "",
        "unix" | "tcp" => line.network(),
        _ if settings.has(Flaw::AnyNetwork) => "tcp",
        _ => "",
    };
    let address = Address::parse(network, line.address()).map_err(|_| {
        let network = line.network();
        Failure::new("start.network", format!("the network {network:?} is not known"))
    })?;
    let is_possible = match &address {
        Address::Unix(path) => (1..=LONGEST_PATH).contains(&path.as_os_str().len()),
        Address::Tcp(text) => {
            text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        }
    };
    if !is_possible && !settings.has(Flaw::BelievesTheLine) {
        let text = line.address();
        return Err(Failure::new(
            "start.address",
            format!("no connection to {text:?} is possible"),
        ));
    }
    Ok(address)
}

fn protocol(settings: &Settings, line: &Line) -> Result<(), Failure> {
    let protocol = line.protocol();
    let is_taken = match settings.flaw {
        Some(Flaw::AnyProtocol) => true,
        Some(Flaw::FourFieldsAreGrpc) => protocol == "grpc" || line.fields.len() == 4,
        Some(Flaw::ProtocolInAnyCase) => protocol.eq_ignore_ascii_case("grpc"),
        _ => protocol == "grpc",
    };
    match is_taken {
        true => Ok(()),
        false => {
            Err(Failure::new("start.protocol", format!("the protocol {protocol:?} is not grpc")))
        }
    }
}

fn certificate_field(settings: &Settings, line: &Line) -> Result<Option<Expect>, Failure> {
    let field = line.certificate_field();
    let read = match settings.flaw {
        Some(Flaw::ShortFieldIsACertificate) if !field.is_empty() => {
            decode_certificate(field).map(Some)
        }
        Some(Flaw::TakesPadding) if !field.is_empty() => {
            decode_certificate(field.trim_end_matches('=')).map(Some)
        }
        _ => line.certificate(),
    };
    certificate::expected(settings, read.map_err(|error| error.to_string()))
}

fn multiplexing(settings: &Settings, line: &Line) -> Result<(), Failure> {
    let is_possible = line.multiplex().and_then(parse_bool) == Some(true);
    let is_let_through =
        matches!(settings.flaw, Some(Flaw::AnyMuxField | Flaw::MultiplexesUnasked));
    if !settings.plugin.multiplex || is_possible || is_let_through {
        return Ok(());
    }
    let field = line.multiplex();
    Err(Failure::new("start.multiplex", format!("the plugin does not multiplex: {field:?}")))
}
