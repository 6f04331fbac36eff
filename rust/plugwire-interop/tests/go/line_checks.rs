//! Every check of the handshake line that go-plugin's host makes. A shell between a real Go plugin
//! and the host changes the plugin's line. Each line is also shown to the real Go host, and both
//! must reach the same verdict.

use std::path::Path;

use futures_util::{StreamExt, stream};
use plugwire_interop::go;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scene::{Scene, greet};

/// `$0` is the plugin. It replaces the shell, so its process is the one the host knows: a Go host
/// that has to kill a shell waits forever for the shell's children. The change prints something
/// instead of `$line`, which is `1|1|unix|$address|grpc|`.
const BETWEEN: &str = r#"
    pipe="$TMPDIR/pipe"
    mkfifo "$pipe"
    {
        exec < "$pipe"
        rm "$pipe"
        IFS= read -r line
        address="${line#1|1|unix|}"
        address="${address%|grpc|}"
        CHANGE
        cat
    } &
    exec "$0" > "$pipe"
"#;

/// A change to the line, and the code of the resulting error; `None` if the line is accepted.
struct Check {
    clause: &'static str,
    change: &'static str,
    code: Option<&'static str>,
}

const fn accepted(clause: &'static str, change: &'static str) -> Check {
    Check { clause, change, code: None }
}

const fn refused(clause: &'static str, change: &'static str, code: &'static str) -> Check {
    Check { clause, change, code: Some(code) }
}

const CHECKS: &[Check] = &[
    accepted("the control", r#"echo "$line""#),
    // Which line is used, and where it ends.
    refused("HS-2", r#"echo; echo "$line""#, "start.unrecognized"),
    refused("HS-2", r#"echo Loading; echo "$line""#, "start.unrecognized"),
    refused("HS-2", r#"printf '\357\273\277%s\n' "$line""#, "start.core-version-not-a-number"),
    accepted("HS-2", r#"printf '%s\nmore\n1|2|unix|/x|grpc|\n' "$line""#),
    accepted("HS-3", r#"printf ' \t%s \r\n' "$line""#),
    accepted("HS-3", r#"printf %s "$line"; exec >/dev/null"#),
    // The number of fields.
    refused("HS-4", r#"echo '1|1|unix'"#, "start.unrecognized"),
    refused("HS-4", r#"echo "1 1 unix $address grpc""#, "start.unrecognized"),
    accepted("HS-4", r#"echo "$line|true|8|9|10""#),
    accepted("HS-1", r#"echo "1|1|unix|$address|grpc""#),
    refused("HS-16", r#"echo "1|1|unix|$address""#, "start.netrpc"),
    // The versions.
    refused("HS-10", r#"echo "2|${line#1|}""#, "start.core-version"),
    refused("HS-10", r#"echo "0|${line#1|}""#, "start.core-version"),
    refused("HS-10", r#"echo "-1|${line#1|}""#, "start.core-version"),
    accepted("HS-11", r#"echo "+1|${line#1|}""#),
    accepted("HS-11", r#"echo "0001|${line#1|}""#),
    refused("HS-11", r#"echo "1.0|${line#1|}""#, "start.core-version-not-a-number"),
    refused("HS-11", r#"echo "|${line#1|}""#, "start.core-version-not-a-number"),
    refused("HS-11", r#"echo "1 |${line#1|}""#, "start.core-version-not-a-number"),
    refused(
        "HS-11",
        r#"echo "99999999999999999999|${line#1|}""#,
        "start.core-version-not-a-number",
    ),
    accepted("HS-11", r#"echo "1|+01|${line#1|1|}""#),
    refused("HS-11", r#"echo "1|one|${line#1|1|}""#, "start.app-version-not-a-number"),
    refused("HS-11", r#"echo "1|0x1|${line#1|1|}""#, "start.app-version-not-a-number"),
    refused("HS-11", r#"echo "1|1_0|${line#1|1|}""#, "start.app-version-not-a-number"),
    refused("HS-12", r#"echo "1|2|${line#1|1|}""#, "start.app-version"),
    refused("HS-12", r#"echo "1|0|${line#1|1|}""#, "start.app-version"),
    refused("HS-12", r#"echo "1|-1|${line#1|1|}""#, "start.app-version"),
    refused("HS-12", r#"echo "1|4294967297|${line#1|1|}""#, "start.app-version"),
    // The network and the address.
    refused("HS-13", r#"echo "1|1|udp|$address|grpc|""#, "start.network"),
    refused("HS-13", r#"echo "1|1|Unix|$address|grpc|""#, "start.network"),
    refused("HS-3", r#"echo "1|1| unix|$address|grpc|""#, "start.network"),
    refused("HS-13", r#"echo "1|1||$address|grpc|""#, "start.network"),
    refused("HS-14", r#"echo "1|1|tcp|$address|grpc|""#, "start.address"),
    refused("HS-14", r#"echo "1|1|tcp|127.0.0.1:65536|grpc|""#, "start.address"),
    refused("HS-15", r#"echo "1|1|unix||grpc|""#, "start.address"),
    refused("HS-15", r#"echo "1|1|unix|$(printf %0300d 1)|grpc|""#, "start.address"),
    // The protocol.
    refused("HS-16", r#"echo "1|1|unix|$address|netrpc|""#, "start.netrpc"),
    refused("HS-16", r#"echo "1|1|unix|$address|""#, "start.protocol"),
    refused("HS-16", r#"echo "1|1|unix|$address|GRPC|""#, "start.protocol"),
    refused("HS-16", r#"echo "1|1|unix|$address|grpc |""#, "start.protocol"),
    refused("HS-16", r#"echo "1|1|unix|$address|grpc2|""#, "start.protocol"),
    // The certificate.
    accepted("HS-17", r#"echo "${line}extra""#),
    accepted("HS-17", r#"echo "$line$(printf %050d 1)""#),
    refused("HS-17", r#"echo "$line$(printf %051d 1)""#, "start.certificate"),
    refused("TLS-10", r#"echo "$line$(printf '*%.0s' $(seq 60))""#, "start.certificate"),
    // The multiplexing field, when the host did not ask for it.
    accepted("HS-18", r#"echo "$line|false""#),
    accepted("HS-18", r#"echo "$line|perhaps""#),
    accepted("HS-18", r#"echo "$line|""#),
    // HS-6, the order: each line has two mistakes, and the first one decides.
    refused("HS-6", r#"echo "2|99|udp""#, "start.unrecognized"),
    refused("HS-6", r#"echo "2|99|unix|$address|grpc|""#, "start.core-version"),
    refused("HS-6", r#"echo "1|99|udp|$address|grpc|""#, "start.app-version"),
    refused("HS-6", r#"echo "1|1|udp|$address|carrier-pigeon|""#, "start.network"),
    refused("HS-6", r#"echo "1|1|unix||carrier-pigeon|""#, "start.address"),
    refused("HS-6", r#"echo "1|1|unix|$address|netrpc|$(printf %051d 1)""#, "start.netrpc"),
];

/// Returns the code of our host's error for a changed line.
async fn ours(script: &str, plugin: &Path) -> Option<&'static str> {
    let scene = Scene::new();
    let started = scene.script(script, &[plugin]).dangerous().plaintext().start().await;
    if let Ok(plugin) = &started {
        greet(plugin).await.expect("a greeting");
        plugin.shutdown().await.expect("the shutdown works");
    }
    scene.empties().await;
    started.err().map(|error| error.code())
}

/// Returns whether the real Go host accepts the changed line.
async fn go_accepts(script: &str, plugin: &Path) -> bool {
    let sandbox = Sandbox::new();
    let mut host = sandbox.command(go::peer("1.8.0", "greeter-host"));
    let output = sandbox.run(host.args(["--", "/bin/sh", "-c", script]).arg(plugin)).await;
    output.status.success()
}

#[tokio::test]
async fn every_check_of_the_line() {
    let plugin = go::peer("1.8.0", "greeter-plugin");
    let verdicts = CHECKS.iter().map(|check| {
        let script = BETWEEN.replace("CHANGE", check.change);
        let plugin = &plugin;
        async move { (check, ours(&script, plugin).await, go_accepts(&script, plugin).await) }
    });
    // A rejection mostly waits for a process that might exit on its own.
    let verdicts: Vec<_> = stream::iter(verdicts).buffer_unordered(8).collect().await;
    let wrong: Vec<String> = verdicts
        .iter()
        .filter(|(check, ours, go)| *ours != check.code || *go != check.code.is_none())
        .map(|(check, ours, go)| {
            let Check { clause, change, code, .. } = check;
            format!("{clause}: `{change}`: expected {code:?}, got {ours:?}; Go accepts: {go}")
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
