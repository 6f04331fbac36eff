//! How a plugin handles an environment that a correct host would not give it. HS-25: the reason why
//! it cannot serve is logged in one line on standard error, standard output stays empty, and the
//! exit status is 1.

use std::os::unix::process::ExitStatusExt;
use std::process::{Output, Stdio};
use std::time::Duration;

use assert_cmd::assert::OutputAssertExt;
use plugwire::protocol::hclog::{Entry, Kind, Level, StderrParser};
use plugwire_interop::rust;
use plugwire_interop::sandbox::Sandbox;
use predicates::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);
const COOKIE: (&str, &str) = ("PLUGWIRE_PROBE", "plugwire");

/// Runs the probe plugin with exactly this environment.
fn probe(sandbox: &Sandbox, variables: &[(&str, &str)], options: &[&str]) -> Command {
    let mut command = sandbox.command(rust::program("probe-plugin"));
    let kept: Vec<_> = command
        .as_std()
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command.env_clear().envs(kept).envs(variables.iter().copied()).args(options);
    command
}

async fn output(variables: &[(&str, &str)], options: &[&str]) -> Output {
    let sandbox = Sandbox::new();
    let output = sandbox.run(&mut probe(&sandbox, variables, options)).await;
    sandbox.assert_empty().await;
    output
}

/// Parses the lines of standard error as a host does.
fn log(stderr: &[u8]) -> Vec<Entry> {
    let mut parser = StderrParser::new();
    stderr.split_inclusive(|byte| *byte == b'\n').map(|line| parser.line(line)).collect()
}

/// Returns the single error line of a plugin that refuses to serve.
async fn refusal(variables: &[(&str, &str)], options: &[&str]) -> String {
    let variables = [&[COOKIE][..], variables].concat();
    let refused = output(&variables, options).await.assert().code(1).stdout("");
    let log = log(&refused.get_output().stderr);
    let [Entry { kind: Kind::Structured, record, .. }] = log.as_slice() else { panic!("{log:?}") };
    assert_eq!(record.level, Level::Error);
    assert_eq!(record.module.as_deref(), Some("plugwire"));
    assert!(record.timestamp.is_some());
    record.message.clone()
}

/// TLS-13: the client certificate is invalid.
#[tokio::test]
async fn an_invalid_client_certificate() {
    for (pem, words) in [
        ("garbage", "no certificate block"),
        ("-----BEGIN CERTIFICATE-----\nMIIB", "has no end"),
        ("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----", "stops being base64"),
        ("-----BEGIN CERTIFICATE-----\nTUlJQg==\n-----END CERTIFICATE-----", "not one certificate"),
    ] {
        let message = refusal(&[("PLUGIN_CLIENT_CERT", pem)], &[]).await;
        assert!(message.contains("PLUGIN_CLIENT_CERT cannot be read"), "{message}");
        assert!(message.contains(words), "{message}");
    }
}

/// Our plugins can require mutual TLS, which Go's cannot.
#[tokio::test]
async fn mutual_tls_is_required_and_there_is_no_certificate() {
    for variables in [&[][..], &[("PLUGIN_CLIENT_CERT", "")]] {
        let message = refusal(variables, &["--require-mutual-tls"]).await;
        assert!(message.contains("requires mutual TLS"), "{message}");
    }
}

/// ENV-3: an invalid port range is an error for TCP.
#[tokio::test]
async fn an_invalid_port_range() {
    for (min, max, words) in [
        ("25000", "10000", "the lowest port (25000) is above the highest (10000)"),
        ("10000", "", "above the highest (0)"),
        ("many", "25000", "PLUGIN_MIN_PORT is not a port: \"many\""),
        ("10000", "65536", "PLUGIN_MAX_PORT is not a port: \"65536\""),
    ] {
        let ports = [("PLUGIN_MIN_PORT", min), ("PLUGIN_MAX_PORT", max)];
        let message = refusal(&ports, &["--tcp"]).await;
        assert!(message.contains(words), "{message}");
    }
}

/// ENV-3: a plugin on a unix socket ignores the port range.
#[tokio::test]
async fn an_invalid_port_range_is_ignored_for_unix_sockets() {
    let ports = [("PLUGIN_MIN_PORT", "25000"), ("PLUGIN_MAX_PORT", "10000")];
    let (line, log) = serves(&ports, &[]).await;
    assert!(line.starts_with("1|1|unix|"), "{line}");
    assert_eq!(log, []);
}

/// ENV-9: the group does not exist.
#[tokio::test]
async fn a_group_that_does_not_exist() {
    let message = refusal(&[("PLUGIN_UNIX_SOCKET_GROUP", "no-such-group")], &[]).await;
    assert!(message.contains("no group is named `no-such-group`"), "{message}");
}

/// ENV-8, SOCK-2: the plugin cannot listen in the given directory.
#[tokio::test]
async fn a_socket_directory_that_cannot_be_used() {
    let long = format!("/{}", "x".repeat(200));
    let message = refusal(&[("PLUGIN_UNIX_SOCKET_DIR", &long)], &[]).await;
    assert!(message.contains("cannot listen") && message.contains(&long), "{message}");
    let message = refusal(&[("PLUGIN_UNIX_SOCKET_DIR", "/nowhere")], &[]).await;
    assert!(message.contains("No such file or directory"), "{message}");
}

/// HS-19: the line has no escaping.
#[tokio::test]
async fn a_socket_directory_that_the_line_cannot_carry() {
    for name in ["a|b", "a\nb"] {
        let directory = tempfile::Builder::new().prefix(name).tempdir().expect("a directory");
        for variable in ["PLUGIN_UNIX_SOCKET_DIR", "TMPDIR"] {
            let path = directory.path().to_str().expect("text");
            let message = refusal(&[(variable, path)], &[]).await;
            assert!(message.contains("cannot carry `|` or a line break"), "{message}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("it is there").count(), 0);
    }
}

/// HS-27, HS-29: a message for people, in three lines, and nothing for the host.
#[tokio::test]
async fn a_missing_or_wrong_cookie() {
    for variables in [&[][..], &[(COOKIE.0, "another")], &[(COOKIE.0, "")]] {
        let in_three_lines = predicate::str::contains("\n").count(3);
        let text = predicate::str::starts_with("This program is a plugin").and(in_three_lines);
        output(variables, &[]).await.assert().code(1).stdout("").stderr(text);
    }
}

/// HS-33: each invalid version is logged as a warning, and the choice is made among the others.
#[tokio::test]
async fn versions_that_are_not_numbers() {
    let versions = [("PLUGIN_PROTOCOL_VERSIONS", "one,1,,3.0,-1,99999999999,2")];
    let (line, log) = serves(&versions, &["--versions", "1,2,3"]).await;
    assert!(line.starts_with("1|2|unix|"), "{line}");
    let warned: Vec<(Level, bool)> = log
        .iter()
        .map(|entry| {
            (entry.record.level, entry.record.message.contains("not an app protocol version"))
        })
        .collect();
    assert_eq!(warned, [(Level::Warn, true); 5], "{log:?}");
    for entry in ["`one`", "``", "`3.0`", "`-1`", "`99999999999`"] {
        let named = log.iter().filter(|line| line.record.message.contains(entry)).count();
        assert_eq!(named, 1, "{entry} in {log:?}");
    }
}

/// HS-32: no common version, no valid version, an empty list.
#[tokio::test]
async fn versions_that_do_not_match() {
    for versions in ["7", "x", ""] {
        let versions = [("PLUGIN_PROTOCOL_VERSIONS", versions)];
        let (line, _) = serves(&versions, &["--versions", "2,3"]).await;
        assert!(line.starts_with("1|2|unix|"), "{line}");
    }
    let (line, _) = serves(&[], &["--versions", "2,3"]).await;
    assert!(line.starts_with("1|2|unix|"), "{line}");
}

/// The host never reads the line: the plugin exits instead of serving without a host.
#[tokio::test]
async fn a_host_that_is_gone_before_the_line() {
    let sandbox = Sandbox::new();
    let mut command = probe(&sandbox, &[COOKIE], &[]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command.stdout(writer).stderr(Stdio::piped());
    let child = command.spawn().expect("the plugin runs");
    drop(command);
    let output = timeout(SOON, child.wait_with_output())
        .await
        .expect("the plugin exits")
        .expect("the plugin ran");
    assert_eq!((output.status.code(), output.status.signal()), (Some(1), None), "{output:?}");
    let log = log(&output.stderr);
    let message = log.first().map(|entry| entry.record.message.clone()).unwrap_or_default();
    assert!(message.contains("the handshake line cannot be written"), "{log:?}");
    sandbox.assert_empty().await;
}

/// Returns the line of a plugin that serves anyway, and what it logged before. Kills the plugin.
async fn serves(variables: &[(&str, &str)], options: &[&str]) -> (String, Vec<Entry>) {
    let sandbox = Sandbox::new();
    let variables = [&[COOKIE][..], variables].concat();
    let mut command = probe(&sandbox, &variables, options);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the plugin runs");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
    timeout(SOON, stdout.read_line(&mut line)).await.expect("a line").expect("UTF-8");
    child.kill().await.expect("the plugin can be killed");
    let mut stderr = Vec::new();
    child
        .stderr
        .take()
        .expect("standard error is piped")
        .read_to_end(&mut stderr)
        .await
        .expect("the plugin exited");
    (line, log(&stderr))
}
