//! A flood of 50 MB does not grow the host's memory. The test looks at all memory of this process,
//! so it must be the only test in it. LOG-6, HS-22, HS-23, HS-5.

use std::fs;
use std::path::Path;
use std::time::Duration;

use plugwire::host::StartError;
use plugwire_interop::rust;
use plugwire_interop::scene::{Scene, greet};

/// The limit for growth: a few buffers, and what the allocator keeps. A collected flood takes ten
/// times as much.
const MOST: usize = 4 * 1024 * 1024;

/// Prints one line of 50 MB without a line end.
const FLOOD: &str = r"head -c 50000000 /dev/zero | tr '\0' y";

/// Returns the peak memory of this process.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("this process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak");
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}

/// Starts a plugin and calls it. The flood comes before the handshake line or ends before the
/// plugin answers, so a completed start or greeting shows that the host has read all of it.
async fn starts_and_greets(script: &str, greeter: &Path) {
    let scene = Scene::new();
    // A flood before the line takes as long as the machine needs to print it.
    let launch = scene.script(script, &[greeter]).start_timeout(Duration::from_secs(300));
    let plugin = launch.start().await.expect("a start");
    greet(&plugin).await.expect("a greeting");
    plugin.shutdown().await.expect("the shutdown works");
    scene.empties().await;
}

#[tokio::test]
async fn floods_take_no_memory() {
    let greeter = rust::example("greeter-plugin");
    starts_and_greets(r#"exec "$0""#, &greeter).await;
    let before = peak();

    let one_line = format!(r#"{FLOOD} >&2; echo >&2; exec "$0""#);
    starts_and_greets(&one_line, &greeter).await;
    let many_lines = format!(r#"{FLOOD} | fold -w 50 >&2; exec "$0""#);
    starts_and_greets(&many_lines, &greeter).await;

    // After the line: the shell goes on writing while the plugin serves.
    let after_the_line = format!(
        r#"pipe="$TMPDIR/pipe"; mkfifo "$pipe"
            {{ exec <"$pipe"; rm "$pipe"; IFS= read -r line; echo "$line"; {FLOOD}; echo; cat; }} &
            exec "$0" >"$pipe""#
    );
    starts_and_greets(&after_the_line, &greeter).await;

    // Instead of the line.
    let scene = Scene::new();
    let error = scene.refuse(scene.script(FLOOD, &[])).await;
    assert!(matches!(error, StartError::NoLine { .. }), "{error:?}");
    let noise = format!("{FLOOD} | fold -w 50");
    let error = scene.refuse(scene.script(&noise, &[]).skip_noise()).await;
    assert!(matches!(error, StartError::NoLine { .. }), "{error:?}");

    let grown = peak() - before;
    assert!(grown < MOST, "{} KiB", grown / 1024);
}
