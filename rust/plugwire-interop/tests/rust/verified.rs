//! The executed program is the verified one, whatever is written to the file in the meantime.

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use plugwire::host::{Checksum, Launch, StartError, TimeoutStep};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{GREETER, PROBE, not_here, rust, soaks};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

type Checked = Result<(), Box<dyn Error + Send + Sync>>;

/// The last byte of a program that may run, and of one that must not.
const GOOD: u8 = b'G';
const EVIL: u8 = b'E';
/// The limit for an expected event.
const SOON: Duration = Duration::from_secs(10);

/// A program that can be swapped for another under its name, and a record of the programs that ran.
struct Stage {
    sandbox: Sandbox,
    program: PathBuf,
}

impl Stage {
    /// Creates the witness as a program or as a script.
    fn new(script: bool) -> Self {
        let sandbox = Sandbox::new();
        let (program, evil) = (sandbox.folder().join("program"), sandbox.folder().join("evil"));
        let contents = |kind: u8| match script {
            // A comment ends the script, so that its last byte can vary.
            true => format!("#!/bin/sh\ntail -c 1 \"$0\" >> \"$1\"\n#{}", kind as char).into(),
            false => {
                let mut witness = fs::read(rust::program("witness")).expect("the witness is built");
                witness.push(kind);
                witness
            }
        };
        for (path, kind) in [(&program, GOOD), (&evil, EVIL)] {
            fs::write(path, contents(kind)).expect("a file");
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
        }
        Self { sandbox, program }
    }

    fn launch(&self) -> Launch {
        self.sandbox.launch(GREETER, &self.program).version(1).arg(self.ran_file())
    }

    fn ran_file(&self) -> PathBuf {
        self.sandbox.folder().join("ran")
    }

    /// Returns which programs ran, one byte each.
    fn ran(&self) -> Vec<u8> {
        fs::read(self.ran_file()).unwrap_or_default()
    }
}

fn swap(program: &Path) {
    let (spare, evil) = (program.with_file_name("spare"), program.with_file_name("evil"));
    for (from, to) in [(program, &*spare), (&evil, program), (&spare, &evil)] {
        fs::rename(from, to).expect("a rename");
    }
}

/// Checks as quickly as possible, so that the writer can interfere.
fn ends_good(mut program: &File) -> Checked {
    let mut last = [0];
    program.seek(SeekFrom::End(-1))?;
    program.read_exact(&mut last)?;
    if last == [GOOD] { Ok(()) } else { Err("wrong program".into()) }
}

/// Each round replaces the file right after the right one was read and accepted.
#[tokio::test]
async fn a_file_that_is_swapped_after_its_check_is_not_run() {
    for script in [false, true] {
        let stage = Stage::new(script);
        let program = stage.program.clone();
        let launch = stage.launch().verify_with(move |file| {
            ends_good(file)?;
            swap(&program);
            Ok(())
        });
        let error = launch.start().await.expect_err("the witness is not a plugin");
        assert_eq!(error.code(), "start.exited", "{error:?}");
        assert_eq!(stage.ran(), [GOOD], "script: {script}");
        // The other program is in place now, and is not run.
        let error = stage.launch().verify_with(ends_good).start().await.expect_err("refused");
        assert!(matches!(error, StartError::Unverified { .. }), "{error:?}");
        assert_eq!(stage.ran(), [GOOD], "script: {script}");
        stage.sandbox.assert_empty().await;
    }
}

/// Swaps the program by rename, and by writing into the file itself.
fn write_until(stop: &AtomicBool, writes: &AtomicUsize, program: &Path) {
    let mut kind = GOOD;
    while !stop.load(Ordering::Relaxed) {
        swap(program);
        kind = if kind == GOOD { EVIL } else { GOOD };
        let file =
            File::options().write(true).open(program).expect("a file that is never executed");
        let end = file.metadata().expect("the file exists").len() - 1;
        file.write_all_at(&[kind], end).expect("a byte");
        writes.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn soak_a_writer_swaps_the_file_all_the_time() {
    let rounds = if soaks() { 1000 } else { 100 };
    for script in [false, true] {
        let stage = Stage::new(script);
        let (stop, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let writer = std::thread::spawn({
            let (stop, writes, program) = (stop.clone(), writes.clone(), stage.program.clone());
            move || write_until(&stop, &writes, &program)
        });
        let (mut started, mut refused, mut missing) = (0, 0, 0);
        while started < rounds {
            match stage.launch().verify_with(ends_good).start().await {
                Err(StartError::Exited(_)) => started += 1,
                Err(StartError::Unverified { cause: error, .. })
                    if error.is::<std::io::Error>() =>
                {
                    missing += 1
                }
                Err(StartError::Unverified { .. }) => refused += 1,
                // Between the two renames, the name does not exist.
                Err(StartError::Spawn { .. }) => missing += 1,
                other => panic!("{other:?}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer wrote to the end");
        let (ran, writes) = (stage.ran(), writes.load(Ordering::Relaxed));
        println!(
            "script {script}: {started} run, {refused} refused, {missing} not there, {writes} swaps"
        );
        assert!(refused > 0 && writes > rounds, "the writer never interfered with a start");
        assert_eq!(ran, vec![GOOD; rounds], "an unverified program was run");
        stage.sandbox.assert_empty().await;
    }
}

/// The checksum is computed over the copy that is executed.
#[tokio::test]
async fn a_checksum_covers_the_copy_that_is_run() {
    for script in [false, true] {
        let stage = Stage::new(script);
        let contents = fs::read(&stage.program).expect("a file");
        let checksum = Checksum::new::<Sha256>(Sha256::digest(&contents).to_vec());
        let program = stage.program.clone();
        let launch = stage.launch().checksum(checksum.clone()).verify_with(move |_| {
            swap(&program);
            Ok(())
        });
        let error = launch.start().await.expect_err("the witness is not a plugin");
        assert_eq!(error.code(), "start.exited", "{error:?}");
        let error = stage.launch().checksum(checksum).start().await.expect_err("refused");
        assert_eq!(error.code(), "start.checksum", "{error:?}");
        assert_eq!(stage.ran(), [GOOD], "script: {script}");
    }
}

/// The checksum and the check must both accept the file.
#[tokio::test]
async fn a_check_refuses_what_the_checksum_lets_pass() {
    let stage = Stage::new(true);
    let contents = fs::read(&stage.program).expect("a file");
    let checksum = Checksum::new::<Sha256>(Sha256::digest(&contents).to_vec());
    let launch = stage.launch().checksum(checksum).verify_with(|_| Err("not signed".into()));
    let error = launch.start().await.expect_err("refused");
    assert_eq!(error.code(), "start.unverified");
    let source = error.source().expect("the error of the check").to_string();
    assert_eq!(source, "not signed");
    assert_eq!(stage.ran(), b"");
    stage.sandbox.assert_empty().await;
}

/// A check that panics counts as a rejection.
#[tokio::test]
async fn a_check_that_panics_refuses_and_its_message_is_in_the_error() {
    let stage = Stage::new(true);
    for (check, said) in [(panics as fn(&File) -> Checked, "no key"), (panics_with, "no key 7")] {
        let error = stage.launch().verify_with(check).start().await.expect_err("refused");
        assert_eq!(error.code(), "start.unverified", "{error:?}");
        let source = error.source().expect("the error of the check").to_string();
        assert_eq!(source, format!("the check panicked: {said}"));
    }
    assert_eq!(stage.ran(), b"");
    stage.sandbox.assert_empty().await;
}

fn panics(_: &File) -> Checked {
    panic!("no key")
}

fn panics_with(file: &File) -> Checked {
    let length = file.metadata()?.len().min(7);
    panic!("no key {length}")
}

/// A check sees the whole file from its beginning, and cannot change it.
#[tokio::test]
async fn a_check_is_given_the_file_and_cannot_write_it() {
    for script in [false, true] {
        let stage = Stage::new(script);
        let contents = fs::read(&stage.program).expect("a file");
        let launch = stage.launch().verify_with(move |mut file| {
            let mut seen = Vec::new();
            file.read_to_end(&mut seen)?;
            assert!(seen == contents, "other bytes");
            let written = file.write_at(b"x", 0).expect_err("the file must not be writable");
            drop(written);
            Ok(())
        });
        let error = launch.start().await.expect_err("the witness is not a plugin");
        assert_eq!(error.code(), "start.exited", "{error:?}");
        assert_eq!(stage.ran(), [GOOD]);
    }
}

/// The copy could be executed even where the file itself must not be.
#[tokio::test]
async fn permissions_are_checked_for_verified_files_too() {
    let stage = Stage::new(false);
    fs::set_permissions(&stage.program, fs::Permissions::from_mode(0o644)).expect("its mode");
    let error = stage.launch().verify_with(ends_good).start().await.expect_err("no permission");
    assert_eq!(error.code(), "start.spawn");
    assert!(error.to_string().contains("no user has permission to run it (mode 0644;"), "{error}");
    assert_eq!(stage.ran(), b"");
}

/// The copy of a script finds the files beside the original script.
#[tokio::test]
async fn files_beside_a_verified_script_are_found() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.folder().join("data"), "found").expect("a file");
    let script = sandbox.folder().join("script");
    fs::write(&script, "#!/bin/sh\ncat \"$(dirname \"$0\")/data\" >&2\nexit 3\n").expect("a file");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("its mode");
    let launch = || sandbox.launch(GREETER, &script).version(1).verify_with(|_| Ok(()));
    for (launch, expected) in [(launch().with_neighbours(), "found"), (launch(), "No such file")] {
        let error = launch.start().await.expect_err("the script is not a plugin");
        let evidence = error.evidence().expect("the script ran");
        assert_eq!(evidence.program, script, "its own name, not the copy's");
        assert!(evidence.stderr.contains(expected), "{expected}: {}", evidence.stderr);
    }
    sandbox.assert_empty().await;
}

/// An oversized file is rejected without copying it first.
#[tokio::test]
async fn a_file_too_large_for_a_program_is_refused() {
    let stage = Stage::new(false);
    let program = File::options().write(true).open(&stage.program).expect("a file");
    program.set_len(5 << 30).expect("a hole");
    let error = stage.launch().verify_with(|_| Ok(())).start().await.expect_err("refused");
    let source = error.source().expect("why").to_string();
    assert_eq!(source, "it is too large to be verified: 5368709120 bytes");
    assert_eq!(stage.ran(), b"");
    stage.sandbox.assert_empty().await;
}

/// The variable that tells a test that it runs inside a namespace it has prepared.
const INSIDE: &str = "PLUGWIRE_INSIDE";

/// Runs one of these tests again in its own namespaces, prepared by a shell command.
fn again(test: &str, prepare: &str) {
    let namespace = |command: &[&str]| {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["--mount", "--pid", "--fork", "--mount-proc", "sh", "-c"]);
        unshare.arg(format!(r#"{prepare} && exec "$0" "$@""#)).args(command);
        unshare.env(INSIDE, prepare).output().expect("unshare is there")
    };
    if !namespace(&["true"]).status.success() {
        not_here(&format!("this system does not allow `{prepare}`"));
        return;
    }
    let own = std::env::current_exe().expect("a test is a program");
    let own = own.to_str().expect("UTF-8");
    let inside = namespace(&[own, "--exact", &format!("verified::{test}"), "--nocapture"]);
    let output = String::from_utf8_lossy(&inside.stdout);
    assert!(inside.status.success() && output.contains("1 passed"), "{inside:?}");
}

/// The system can forbid memory files in a pid namespace, or require that they are requested as
/// executable.
#[tokio::test]
async fn where_memory_files_are_forbidden_a_copy_is_run() {
    let forbid = |level| format!("echo {level} > /proc/sys/vm/memfd_noexec");
    let Some(inside) = std::env::var_os(INSIDE) else {
        for level in [1, 2] {
            again("where_memory_files_are_forbidden_a_copy_is_run", &forbid(level));
        }
        return;
    };
    let sandbox = Sandbox::new();
    let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).version(1);
    let plugin = launch.verify_with(|_| Ok(())).start().await.expect("a start");
    let executed = fs::read_link(format!("/proc/{}/exe", plugin.pid().expect("a pid")))
        .expect("the plugin runs");
    if inside == *forbid(1) {
        assert_eq!(executed.to_str(), Some("/memfd:probe-plugin (deleted)"));
    } else {
        assert!(executed.starts_with(sandbox.folder()), "{executed:?}");
        assert!(executed.ends_with("verified-program/probe-plugin"), "{executed:?}");
    }
    plugin.shutdown().await.expect("the shutdown works");
    sandbox.assert_empty().await;
}

/// A diagnosis of the program's own file would not show this: the copy is what cannot be executed.
#[tokio::test]
async fn a_copy_where_nothing_can_be_executed() {
    if std::env::var_os(INSIDE).is_none() {
        again("a_copy_where_nothing_can_be_executed", "mount -t tmpfs -o noexec none /mnt");
        return;
    }
    let stage = Stage::new(true);
    let launch = stage.launch().verify_with(ends_good).socket_dir("/mnt");
    let error = launch.start().await.expect_err("the copy cannot be executed");
    let StartError::Spawn { cause, .. } = &error else { panic!("{error:?}") };
    let cause = cause.to_string();
    assert!(
        cause.contains("/verified-program/program: its file system is mounted noexec"),
        "{cause}"
    );
    assert!(cause.ends_with("(`Launch::socket_dir`)"), "{cause}");
    assert_eq!(stage.ran(), b"");
}

const IN_TIME: Duration = Duration::from_millis(300);

/// On a busy machine even the socket directory may not be created in time; then the start is tried
/// again.
async fn takes_too_long(launch: impl Fn() -> Launch) {
    let mut error = None;
    for _ in 0..4 {
        let started = timeout(IN_TIME + SOON, launch().start_timeout(IN_TIME).start());
        let late = started.await.expect("the start has a deadline").expect_err("not in time");
        let early = matches!(late, StartError::Timeout { step: TimeoutStep::Directory, .. });
        error = Some(late);
        if !early {
            break;
        }
    }
    let error = error.expect("at least one start was tried");
    let too_long = matches!(error, StartError::Timeout { step: TimeoutStep::Program, .. });
    assert!(too_long, "{error:?}");
    let text = "the program's file was not found, read and verified within 300ms";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_check_that_hangs_does_not_hold_up_the_start() {
    let stage = Stage::new(false);
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let hangs = || {
        let released = released.clone();
        move |_: &File| {
            let released = released.lock().expect("not poisoned");
            let _ = released.recv_timeout(SOON * 2);
            Ok(())
        }
    };
    takes_too_long(|| stage.launch().verify_with(hangs())).await;
    drop(release);
    stage.sandbox.assert_empty().await;
    assert_eq!(stage.ran(), b"");
}

/// A sparse file of three gigabytes. Reading it stops once no start waits for the result.
#[tokio::test]
async fn a_huge_file_does_not_hold_up_the_start() {
    let stage = Stage::new(true);
    let file = File::options().write(true).open(&stage.program).expect("the file exists");
    file.set_len(3 * 1024 * 1024 * 1024).expect("the file can be extended");
    takes_too_long(|| stage.launch().checksum(Checksum::new::<Sha256>([0; 32]))).await;
    stage.sandbox.assert_empty().await;
}
