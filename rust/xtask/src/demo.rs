//! `cargo xtask demo`: runs the greeter in every pairing and shows the time to its first reply.

use std::{
    error::Error,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    machine::{self, cargo},
    sdk_go,
};

/// The release of go-plugin on the Go side, a name in `versions.json`.
const RELEASE: &str = "1.8.0";

/// How often each pairing starts. The median time is shown, so that one cold start does not distort it.
const STARTS: usize = 5;

/// A greeting takes milliseconds: after this time the host is considered hung.
const DEADLINE: Duration = Duration::from_secs(30);

/// The two programs of one language.
struct Side {
    language: &'static str,
    host: PathBuf,
    plugin: PathBuf,
}

/// The result of one start of a host.
struct Greeting {
    message: String,
    first_reply_ms: f64,
}

pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    if !machine::has_c_compiler() {
        return Err("there is no C compiler (`cc`), and the mutual TLS libraries need one".into());
    }
    let mut sides = vec![build_rust()?];
    if machine::has_go() {
        sides.push(build_go()?);
    } else {
        println!(
            "`go` is not on the PATH: only Rust with Rust is shown, install Go to see the rest"
        );
    }
    println!("\n{:<6} {:<7} {:<11} {:<15} first reply", "host", "plugin", "transport", "says");
    let mut failed = false;
    for host in &sides {
        for plugin in &sides {
            for mutual_tls in [false, true] {
                failed |= !show(host, plugin, mutual_tls);
            }
        }
    }
    if failed { Err("not every pairing works".into()) } else { Ok(()) }
}

/// Prints one line of the table. Returns false if the line holds an error.
fn show(host: &Side, plugin: &Side, mutual_tls: bool) -> bool {
    let transport = if mutual_tls { "mutual TLS" } else { "plain" };
    let line = format!("{:<6} {:<7} {transport:<11}", host.language, plugin.language);
    match greet_several(host, &plugin.plugin, mutual_tls) {
        Ok(greeting) => {
            println!("{line} {:<15} {:>8.1} ms", greeting.message, greeting.first_reply_ms);
            true
        }
        Err(error) => {
            println!("{line} {error}");
            false
        }
    }
}

/// Returns the greeting with the median time.
fn greet_several(host: &Side, plugin: &Path, mutual_tls: bool) -> Result<Greeting, String> {
    let mut greetings = (0..STARTS)
        .map(|_| greet(&mut command(host, plugin, mutual_tls)))
        .collect::<Result<Vec<_>, _>>()?;
    greetings.sort_by(|a, b| a.first_reply_ms.total_cmp(&b.first_reply_ms));
    Ok(greetings.swap_remove(STARTS / 2))
}

/// Returns the command of a host. The defaults differ: ours is mutual TLS, Go's is plaintext.
fn command(host: &Side, plugin: &Path, mutual_tls: bool) -> Command {
    let mut command = Command::new(&host.host);
    match (host.language, mutual_tls) {
        ("Rust", false) => command.arg("--plaintext"),
        ("Go", true) => command.arg("--auto-mtls"),
        _ => &mut command,
    };
    command.arg("--json");
    if host.language == "Go" {
        command.arg("--");
    }
    command.arg(plugin);
    command
}

fn greet(command: &mut Command) -> Result<Greeting, String> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot run {}: {e}", command.get_program().display()))?;
    let (stdout, stderr) = output(child)?;
    parse(&stdout).ok_or_else(|| match stderr.trim().lines().last() {
        Some(line) => line.to_owned(),
        None => format!("did not print a greeting but {stdout:?}"),
    })
}

/// Returns everything that the host prints. A hung host is killed.
fn output(mut child: Child) -> Result<(String, String), String> {
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    // Both pipes end when the host does.
    let printed = stdout
        .recv_timeout(DEADLINE)
        .and_then(|stdout| Ok((stdout, stderr.recv_timeout(DEADLINE)?)));
    if printed.is_err() {
        // It fails only if the host has ended in the meantime.
        let _ = child.kill();
    }
    child.wait().map_err(|e| e.to_string())?;
    printed.map_err(|_| format!("no answer within {} s", DEADLINE.as_secs()))
}

/// Reads a pipe to its end on a thread of its own.
fn reader(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What arrived before the pipe broke is still worth reading.
            let _ = pipe.read_to_end(&mut bytes);
        }
        sender.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    receiver
}

/// Parses `{"message":"Hello, World!","first_reply_ms":1.23}`. Other fields are allowed.
fn parse(stdout: &str) -> Option<Greeting> {
    let json: Value = serde_json::from_str(stdout.trim()).ok()?;
    Some(Greeting {
        message: json["message"].as_str()?.to_owned(),
        first_reply_ms: json["first_reply_ms"].as_f64()?,
    })
}

fn build_rust() -> Result<Side, Box<dyn Error>> {
    println!("building the Rust greeter");
    let mut build = cargo();
    build.args(["build", "--release", "-p", "plugwire-examples"]);
    build.args(["--bin", "greeter-host", "--bin", "greeter-plugin"]);
    succeed(&mut build)?;
    Ok(side("Rust", &machine::target().join("release")))
}

fn build_go() -> Result<Side, Box<dyn Error>> {
    println!("building the Go greeter on go-plugin {RELEASE}");
    let release = sdk_go::releases()?
        .into_iter()
        .find(|release| release.name == RELEASE)
        .ok_or_else(|| format!("versions.json has no {RELEASE}"))?;
    let side = side("Go", &machine::target().join("demo"));
    for (program, path) in
        [("./cmd/greeter-host", &side.host), ("./cmd/greeter-plugin", &side.plugin)]
    {
        succeed(release.go("build").arg("-o").arg(path).arg(program))?;
    }
    Ok(side)
}

fn side(language: &'static str, directory: &Path) -> Side {
    let program = |name: &str| directory.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    Side { language, host: program("greeter-host"), plugin: program("greeter-plugin") }
}

fn succeed(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status().map_err(|e| format!("cannot run {command:?}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_greeting() {
        let greeting =
            parse("{\"message\":\"Hello\",\"first_reply_ms\":1.5,\"version\":1}\n").unwrap();
        assert_eq!((greeting.message.as_str(), greeting.first_reply_ms), ("Hello", 1.5));
        assert!(parse("").is_none());
        assert!(parse("{\"message\":\"Hello\"}").is_none());
    }

    #[test]
    fn each_language_has_its_own_default_for_tls() {
        let arguments = |language, mutual_tls| -> Vec<_> {
            let side = side(language, Path::new(""));
            let command = command(&side, Path::new("plugin"), mutual_tls);
            command.get_args().map(|a| a.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(arguments("Rust", true), ["--json", "plugin"]);
        assert_eq!(arguments("Rust", false), ["--plaintext", "--json", "plugin"]);
        assert_eq!(arguments("Go", true), ["--auto-mtls", "--json", "--", "plugin"]);
        assert_eq!(arguments("Go", false), ["--json", "--", "plugin"]);
    }

    #[test]
    fn the_error_is_what_the_host_said_last() {
        let error = greet(Command::new("rustc").arg("--no-such-option")).err().unwrap();
        assert!(error.contains("no-such-option"), "{error}");
    }
}
