//! Catches Go peers that are broken in one way: a plugin written without go-plugin, and a host that
//! misuses go-plugin.
//!
//! Each peer is judged by one case, which the same program passes when it behaves.

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use plugwire_interop::go;

use crate::Subject;

/// The ways of `misbehave`, and the case that each must fail.
const PLUGINS: [(&str, &str); 22] = [
    ("core-2", "handshake/core-version-is-1"),
    ("network-udp", "handshake/network-and-protocol-are-known"),
    ("netrpc", "handshake/network-and-protocol-are-known"),
    ("app-version-99", "handshake/offered-version-is-announced"),
    ("three-fields", "handshake/six-fields-unless-mux-requested"),
    ("noise-then-line", "handshake/nothing-on-stdout-before-line"),
    ("stdout-after-line-flood", "handshake/one-line-then-silence"),
    ("no-line", "handshake/flushed-before-serving"),
    ("missing-socket", "handshake/accepts-connection-immediately-after-line"),
    ("accepts-then-closes", "grpc/health-of-plugin-serving"),
    ("garbage-after-accept", "grpc/health-of-plugin-serving"),
    ("health-not-serving", "grpc/health-of-plugin-serving"),
    ("no-stdio-service", "grpc/every-service-is-there"),
    ("cert-padded", "handshake/cert-field-is-raw-std-base64-no-padding"),
    ("cert-not-base64", "handshake/cert-field-is-raw-std-base64-no-padding"),
    ("cert-of-another-key", "tls/mutual-tls-serves-its-host"),
    ("cert-replayed", "tls/mutual-tls-serves-its-host"),
    ("plaintext-but-asked-tls", "tls/mutual-tls-serves-its-host"),
    ("no-alpn", "tls/h2-by-alpn"),
    ("no-client-auth", "tls/client-cert-required"),
    ("shutdown-hangs", "shutdown/shutdown-exits-within-2s"),
    ("grandchild-holds-pipes", "shutdown/no-orphan-grandchild"),
];

/// The flaws of the driver, and the case that each must fail.
const HOSTS: [(&str, &str); 5] = [
    ("other-version", "environment/cookie-and-versions"),
    ("other-cookie", "handshake/healthy-plugin"),
    ("no-mutual-tls", "environment/client-certificate"),
    ("no-mutual-tls", "tls/mutual"),
    ("never-kills", "handshake/healthy-plugin"),
];

/// The features are declared: a broken plugin cannot be asked for them.
fn plugin(how: &str) -> Subject {
    let described =
        "--cookie GREETER_PLUGIN=hello --feature mutual-tls --feature stdio --feature broker";
    Subject {
        role: "plugin",
        description: described.split(' ').map(str::to_owned).collect(),
        command: vec![go::peer("1.8.0", "misbehave"), "--how".into(), how.into()],
    }
}

fn host(flaw: &str) -> Subject {
    let mut host = Subject::go("1.8.0", "host");
    host.command.extend(["--flaw".into(), flaw.into()]);
    host
}

#[test]
fn broken_go_plugins_are_caught() {
    passes_all(&plugin("nothing"), &PLUGINS);
    each_is_caught(plugin, &PLUGINS);
}

#[test]
fn broken_go_hosts_are_caught() {
    passes_all(&host(""), &HOSTS);
    each_is_caught(host, &HOSTS);
}

/// The control: the same program passes without the flaw, so the cases catch the flaw and nothing
/// else.
#[track_caller]
fn passes_all(subject: &Subject, rows: &[(&str, &str)]) {
    let cases: BTreeSet<&str> = rows.iter().map(|(_, case)| *case).collect();
    let options: Vec<&str> = cases.iter().flat_map(|case| ["--only", case]).collect();
    let judged = subject.judge(&name(subject, "healthy"), &options);
    judged.is_conformant();
    assert_eq!(judged.with("pass"), cases, "{:?}", judged.verdicts);
}

/// Runs several at a time: a case mostly waits.
fn each_is_caught(subject: fn(&str) -> Subject, rows: &[(&str, &str)]) {
    for rows in rows.chunks(11) {
        thread::scope(|scope| {
            for &(how, case) in rows {
                scope.spawn(move || is_caught(&subject(how), how, case));
            }
        });
    }
}

fn is_caught(subject: &Subject, how: &str, case: &str) {
    let name = name(subject, &format!("{how}-{}", case.replace('/', "-")));
    let judged = subject.judge(&name, &["--only", case]);
    let said = String::from_utf8_lossy(&judged.output.stdout);
    assert_eq!(judged.output.status.code(), Some(1), "{how} is not caught by {case}: {said}");
    assert_eq!(judged.with("fail"), BTreeSet::from([case]), "{how}: {said}");
}

fn name(subject: &Subject, run: &str) -> String {
    fs::create_dir_all(go::root().join("target/conformance/broken")).expect("a directory");
    format!("broken/{}-{run}", subject.role)
}
