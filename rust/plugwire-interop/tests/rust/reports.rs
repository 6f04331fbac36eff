//! The error texts for a plugin that does not start, or is gone. The texts are in `reports/`;
//! [`snapshot`] says how to update them.

use std::error::Error;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plugwire::Handshake;
use plugwire::host::{Checksum, Confinement, Launch, PluginGone, PluginHandle};
use plugwire_interop::probe::DieRequest;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::scenarios::probe;
use plugwire_interop::{PROBE, not_here, rust, snapshot};

use crate::executables;

/// The environment for plugins that go wrong in one way.
struct Stage {
    sandbox: Sandbox,
    programs: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        Self { sandbox: Sandbox::new(), programs: tempfile::tempdir().expect("a directory") }
    }

    fn file(&self, contents: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.programs.path().join("plugin");
        let draft = self.programs.path().join("draft");
        fs::write(&draft, contents).expect("write");
        // As in `Sandbox::script`: a file that a fork of another test still holds open for writing
        // cannot be executed.
        let mut install = std::process::Command::new("install");
        install.arg("-m").arg(format!("{mode:o}")).args([&draft, &path]);
        assert!(install.status().expect("install is there").success());
        path
    }

    fn launch(&self, program: impl Into<PathBuf>) -> Launch {
        self.sandbox.launch(PROBE, program).version(1)
    }

    fn script(&self, script: &str) -> Launch {
        self.launch("/bin/sh").args(["-c", script]).name("plugin")
    }

    fn assert_same(&self, name: &str, text: &str) {
        let program = rust::program("probe-plugin");
        let build = program.parent().expect("a directory").display().to_string();
        let (sockets, programs) = (self.sandbox.folder(), self.programs.path());
        let (sockets, programs) = (sockets.display().to_string(), programs.display().to_string());
        let names = [(&*build, "<build>"), (&*sockets, "<sockets>"), (&*programs, "<programs>")];
        let reports = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rust/reports");
        snapshot::assert_same(&reports.join(name).with_extension("txt"), text, &names);
    }

    /// Tells a running plugin how to die, and compares the error of that call.
    async fn dies(&self, name: &str, plugin: &PluginHandle, how: &str) {
        let died = probe(plugin).die(DieRequest { how: how.to_owned() }).await;
        let status = died.expect_err("the plugin is gone");
        let gone = status.source().and_then(|source| source.downcast_ref::<PluginGone>());
        let gone = gone.unwrap_or_else(|| panic!("{status:?}"));
        self.assert_same(name, &snapshot::with_causes(gone));
    }

    /// Ends a running plugin by SIGTERM, with these last commands in shell.
    async fn ends(&self, name: &str, words: &str) {
        let script = r#"trap 'kill -KILL $!; eval "$1"' TERM; "$0" & wait"#;
        let launch = self.script(script).arg(rust::program("probe-plugin")).arg(words);
        let plugin = launch.start().await.expect("a start");
        let pid = i32::try_from(plugin.pid().expect("a pid"))
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::TERM)
            .expect("the plugin runs");
        plugin.exited().await;
        self.dies(name, &plugin, "").await;
    }

    async fn start_fails(&self, name: &str, launch: Launch) {
        let error = launch.start().await.expect_err("the start must fail");
        self.assert_same(name, &snapshot::start_error(&error));
        self.sandbox.assert_empty().await;
    }
}

#[tokio::test]
async fn files_that_do_not_run() {
    let stage = Stage::new();
    stage.start_fails("file-missing", stage.launch(stage.programs.path().join("plugin"))).await;
    stage.start_fails("file-directory", stage.launch(stage.programs.path())).await;
    stage.start_fails("file-not-executable", stage.launch(stage.file("", 0o644))).await;
    stage.start_fails("file-unknown", stage.launch(stage.file("hello", 0o755))).await;
    let script = "#!/usr/bin/no-such-python\n";
    stage.start_fails("file-no-interpreter", stage.launch(stage.file(script, 0o755))).await;
    let windows = "#!/bin/sh\r\nexit\r\n";
    stage.start_fails("file-windows-line-ends", stage.launch(stage.file(windows, 0o755))).await;
}

#[tokio::test]
async fn files_that_are_not_trusted() {
    let stage = Stage::new();
    let launch = || stage.launch(stage.file("#!/bin/sh\nexit\n", 0o755));
    let other = Checksum::new::<sha2::Sha256>([0x5a; 32]);
    stage.start_fails("file-other-checksum", launch().checksum(other)).await;
    let refused = launch().verify_with(|_| Err("the signer is unknown".into()));
    stage.start_fails("file-refused", refused).await;
}

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[tokio::test]
async fn programs_for_other_machines() {
    let stage = Stage::new();
    let own = fs::read(rust::program("probe-plugin")).expect("read");
    let mut foreign = own.clone();
    foreign[18..20].copy_from_slice(&183_u16.to_le_bytes());
    stage.start_fails("file-other-machine", stage.launch(stage.file(&foreign, 0o755))).await;
    let (loader, other) = (b"/lib64/ld-linux-x86-64.so.2", b"/lib64/ld-musl-x86_64.so.99");
    let at = own.windows(loader.len()).position(|part| part == loader).expect("a loader");
    let mut elsewhere = own;
    elsewhere[at..at + other.len()].copy_from_slice(other);
    stage.start_fails("file-no-loader", stage.launch(stage.file(&elsewhere, 0o755))).await;
}

#[tokio::test]
async fn plugins_that_end_before_their_line() {
    let _shared = crate::OUT_OF_MEMORY.read().await;
    let stage = Stage::new();
    stage.start_fails("exit-silent", stage.script("exit 3")).await;
    stage
        .start_fails("exit-with-message", stage.script("echo 'no configuration' >&2; exit 3"))
        .await;
    stage.start_fails("exit-by-signal", stage.script("kill -KILL $$")).await;
    let rust = stage.launch(rust::program("probe-plugin")).args(["--versions", "one"]);
    stage.start_fails("exit-rust-panic", rust.env("RUST_BACKTRACE", "0")).await;
    let go = r#"printf 'panic: no database\n\ngoroutine 1 [running]:\nmain.main()\n' >&2; exit 2"#;
    stage.start_fails("exit-go-panic", stage.script(go)).await;
    let python = r#"printf 'Traceback (most recent call last):\n  File "plugin.py", line 3, in <module>\n    import grpc\nModuleNotFoundError: No module named '"'grpc'"'\n' >&2; exit 1"#;
    stage.start_fails("exit-python-error", stage.script(python)).await;
    let other = Handshake::new("SOME_OTHER_HOST", "its value");
    let cookie = stage.sandbox.launch(other, rust::program("probe-plugin")).version(1);
    stage.start_fails("exit-cookie", cookie).await;
}

#[tokio::test]
async fn lines_that_are_not_accepted() {
    let stage = Stage::new();
    let line = |line: &str| stage.script(&format!("echo '{line}'; exec sleep 60"));
    stage.start_fails("line-noise", line("Loading plugins...")).await;
    stage.start_fails("line-app-version", line("1|7|unix|/tmp/plugin1|grpc|").version(2)).await;
    stage.start_fails("line-core-version", line("2|1|unix|/tmp/plugin1|grpc|")).await;
    stage.start_fails("line-netrpc", line("1|1|unix|/tmp/plugin1|netrpc")).await;
    stage.start_fails("line-no-certificate", line("1|1|unix|/tmp/plugin1|grpc|")).await;
    let long = format!("1|1|unix|/tmp/{}/plugin1|grpc|", "long/".repeat(22));
    stage.start_fails("line-long-path", line(&long)).await;
    let no_listener = line("1|1|unix|/tmp/plugwire-no-listener|grpc|").dangerous().plaintext();
    stage.start_fails("line-no-listener", no_listener).await;
    let silent = stage.script("echo working >&2; exec sleep 60");
    stage.start_fails("line-none-in-time", silent.start_timeout(Duration::from_secs(5))).await;
}

#[tokio::test]
async fn hosts_that_ask_for_the_impossible() {
    let stage = Stage::new();
    let plugin = rust::program("probe-plugin");
    let long = format!("/tmp/{}", "long/".repeat(20));
    stage.start_fails("host-long-path", stage.launch(&plugin).socket_dir(long)).await;
    let nowhere = stage.launch(&plugin).current_dir("/nowhere");
    stage.start_fails("host-no-directory", nowhere).await;
    let none = stage.sandbox.launch(PROBE, &plugin);
    stage.start_fails("host-no-version", none).await;
}

#[tokio::test]
async fn plugins_that_are_gone() {
    let _shared = crate::OUT_OF_MEMORY.read().await;
    let stage = Stage::new();
    // Without this limit, the machine would decide whether there is a core dump.
    let launch =
        || stage.launch(rust::program("probe-plugin")).confine(Confinement::new().core_dumps(0));
    for how in ["exit:7", "kill", "abort"] {
        let plugin = launch().start().await.expect("a start");
        stage.dies(&format!("gone-{}", how.replace(':', "-")), &plugin, how).await;
    }
    let plugin = launch().env("RUST_BACKTRACE", "0").start().await.expect("a start");
    stage.dies("gone-rust-panic", &plugin, "panic-abort").await;

    let words = r#"echo "the disk is full" >&2; exit 4"#;
    stage.ends("gone-with-message", words).await;
    let python = r#"exec python3 -c 'raise KeyError("no such region")'"#;
    stage.ends("gone-python-error", python).await;
}

#[tokio::test]
async fn a_plugin_that_is_gone_and_left_a_core_dump() {
    let stage = Stage::new();
    let dumps = Confinement::new().core_dumps(1 << 30);
    let launch = stage.launch(rust::program("probe-plugin")).confine(dumps);
    let plugin = launch.current_dir(stage.programs.path()).start().await;
    let Ok(plugin) = plugin else { return not_here("this user may not raise the limit") };
    probe(&plugin).die(DieRequest { how: "abort".to_owned() }).await.expect_err("it is gone");
    if !plugin.exited().await.status.is_some_and(|status| status.core_dumped()) {
        return not_here("the system dumps no core");
    }
    stage.dies("gone-abort-core-dumped", &plugin, "").await;
}

/// A panic ends the call, not the plugin.
#[tokio::test]
async fn a_call_in_which_a_rust_plugin_panics() {
    let stage = Stage::new();
    let launch = stage.launch(rust::program("probe-plugin"));
    let plugin = launch.start().await.expect("a start");
    let died = probe(&plugin).die(DieRequest { how: "panic".to_owned() }).await;
    stage.assert_same("call-rust-panic", &died.expect_err("it panics").to_string());
    plugin.ping().await.expect("the plugin runs");
}

/// Runs where this user may mount a file system.
#[test]
fn a_file_system_mounted_noexec() {
    executables::noexec("reports::inside_a_file_system_mounted_noexec");
}

#[tokio::test]
#[ignore = "run by the test above, where the directory is mounted"]
async fn inside_a_file_system_mounted_noexec() {
    let stage = Stage::new();
    let folder = std::env::var(executables::NOEXEC).expect("the test above sets it");
    let launch = stage.launch(Path::new(&folder).join("plugin"));
    let error = launch.start().await.expect_err("the start must fail");
    let text = snapshot::start_error(&error).replace(&folder, "<noexec>");
    stage.assert_same("file-noexec", &text);
}
