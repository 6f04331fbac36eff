//! Hosts in a sandbox that forbids the system call that keeps plugins from outliving their host.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use plugwire_interop::leaks::eventually;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{not_here, rust};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

/// Executes a program for which, and for whose children, `prctl(PR_SET_PDEATHSIG)` fails with
/// EPERM. The seccomp filter checks the call's number (157) and its first argument (1).
const WITHOUT_DEATH_SIGNALS: &str = r#"
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 3, 157), (0x20, 0, 0, 16), (0x15, 0, 1, 1), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 6, ctypes.addressof(code)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, program, 0, 0) or not prctl(1, 9, 0, 0, 0):
    sys.exit("no filter")
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// The start succeeds, the log says what is missing, and the guardian ends the plugin of a killed
/// host.
#[tokio::test]
async fn without_a_parent_death_signal_the_guardian_ends_the_plugin() {
    let sandbox = Sandbox::new();
    let mut host = sandbox.command("python3");
    host.args(["-c", WITHOUT_DEATH_SIGNALS]).arg(rust::program("mortal-host"));
    host.args(["--log", "--lives", "1", "--then", "wait", "--"]).arg(rust::program("probe-plugin"));
    let mut host = match host.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => return not_here("no python3"),
        host => host.expect("the host starts"),
    };
    let mut said = BufReader::new(host.stdout.take().expect("piped")).lines();
    let mut log = BufReader::new(host.stderr.take().expect("piped")).lines();
    let called = async {
        while let Some(line) = said.next_line().await.expect("text") {
            if line == "called" {
                return true;
            }
        }
        false
    };
    if !timeout(LIMIT, called).await.expect("in time") {
        let why = log.next_line().await.expect("text").unwrap_or_default();
        assert_eq!(why, "no filter", "the host did not start its plugin");
        return not_here("this system does not allow system call filters");
    }
    host.kill().await.expect("the host can be killed");
    let gone = eventually(LIMIT, || sandbox.processes().is_empty()).await;
    assert!(gone, "left: {:?}", sandbox.processes());
    sandbox.assert_empty().await;
    let mut warned = 0;
    while let Some(line) = timeout(LIMIT, log.next_line()).await.expect("in time").expect("text") {
        warned += usize::from(line.contains("no parent-death signal"));
    }
    assert_eq!(warned, 1);
}
