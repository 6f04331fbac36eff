//! Files that do not run as a plugin, and what the host reports for each. Every test asserts that
//! nothing is left.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use plugwire::host::{Checksum, ChecksumError, Executable, Launch, StartError};
use plugwire_interop::scene::Scene;
use plugwire_interop::{GREETER, not_here, rust};

/// A file to execute, outside the sandbox, which a test expects to be empty.
struct File(tempfile::TempDir);

impl File {
    fn new(contents: impl AsRef<[u8]>, mode: u32) -> Self {
        let file = Self(tempfile::tempdir().expect("a directory"));
        fs::write(file.path(), contents).expect("write");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).expect("chmod");
        file
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("plugin")
    }
}

/// Returns what is reported for a program that cannot be executed.
async fn diagnosis(program: impl AsRef<Path>) -> (Executable, String) {
    let scene = Scene::new();
    let error = scene.refuse(scene.program(program.as_ref())).await;
    assert_eq!(error.code(), "start.spawn");
    let StartError::Spawn { evidence, .. } = &error else { panic!("{error:?}") };
    assert_eq!(evidence.program, program.as_ref());
    assert_eq!((evidence.stdout.as_str(), evidence.stderr.as_str()), ("", ""));
    assert_eq!(evidence.exit, None);
    (evidence.executable.clone().expect("a diagnosis"), error.to_string())
}

#[tokio::test]
async fn a_missing_file() {
    let (executable, text) = diagnosis("/nowhere/plugin").await;
    assert_eq!(executable, Executable::Missing);
    assert_eq!(text, "the plugin cannot be executed: there is no such file");
}

/// A name without a slash is looked up in PATH only: the current directory of this test has a file
/// with the second name.
#[tokio::test]
async fn a_name_that_is_not_in_the_path() {
    for name in ["no-such-plugin-anywhere", "Cargo.toml"] {
        let scene = Scene::new();
        let error = scene.refuse(scene.program(name)).await;
        let StartError::Spawn { cause, evidence } = &error else { panic!("{error:?}") };
        assert_eq!(cause.to_string(), "not found in PATH");
        assert_eq!(evidence.executable, Some(Executable::Missing));
    }
}

#[tokio::test]
async fn a_directory() {
    let folder = tempfile::tempdir().expect("a directory");
    let (executable, text) = diagnosis(folder.path()).await;
    assert_eq!(executable, Executable::Directory);
    assert_eq!(text, "the plugin cannot be executed: it is a directory");
}

#[tokio::test]
async fn a_file_without_permission_to_run() {
    let program = fs::read(rust::program("probe-plugin")).expect("read");
    let file = File::new(program, 0o644);
    let (executable, text) = diagnosis(file.path()).await;
    assert_eq!(executable, Executable::NotExecutable { mode: 0o644 });
    assert_eq!(
        text,
        "the plugin cannot be executed: no user has permission to run it (mode 0644; `chmod +x` gives it)"
    );
}

#[tokio::test]
async fn a_program_for_another_machine() {
    let mut program = fs::read(rust::program("probe-plugin")).expect("read");
    // The field e_machine of an ELF header; hardly any machine that runs this test is an S/390.
    program[18..20].copy_from_slice(&22_u16.to_le_bytes());
    let (executable, text) = diagnosis(File::new(program, 0o755).path()).await;
    let Executable::OtherMachine { kind, expected } = executable else { panic!("{executable:?}") };
    assert_eq!(kind, "Elf s390x");
    assert!(text.contains(&expected) && text.contains("made for another machine"), "{text}");
}

#[tokio::test]
async fn a_script_without_its_interpreter() {
    let (executable, text) =
        diagnosis(File::new("#!/no/such/shell -e\nexit\n", 0o755).path()).await;
    let interpreter = PathBuf::from("/no/such/shell");
    assert_eq!(executable, Executable::MissingInterpreter { interpreter });
    assert!(text.contains("its interpreter /no/such/shell is missing"), "{text}");
}

/// The system treats the carriage return of a Windows line end as part of the interpreter's name.
#[tokio::test]
async fn a_script_with_windows_line_ends() {
    let (executable, text) = diagnosis(File::new("#!/bin/sh\r\nexit\r\n", 0o755).path()).await;
    let interpreter = PathBuf::from("/bin/sh\r");
    assert_eq!(executable, Executable::MissingInterpreter { interpreter });
    assert!(text.contains(r"/bin/sh\r"), "{text}");
}

/// A shell would run it; the system does not.
#[tokio::test]
async fn a_text_without_an_interpreter_line() {
    for contents in ["echo '1|1|unix|/tmp/x|grpc|'\n", ""] {
        let (executable, text) = diagnosis(File::new(contents, 0o755).path()).await;
        assert_eq!(executable, Executable::Unknown);
        assert!(text.contains("neither a program nor a script"), "{text}");
    }
}

/// Opening a named pipe blocks until a process opens it for writing.
#[tokio::test]
async fn a_named_pipe() {
    let folder = tempfile::tempdir().expect("a directory");
    let pipe = folder.path().join("plugin");
    let mode = rustix::fs::Mode::from_raw_mode(0o755);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a pipe");
    assert_eq!(diagnosis(&pipe).await.0, Executable::Unknown);

    let scene = Scene::new();
    let error = scene.refuse(scene.program(&pipe).checksum(any_checksum())).await;
    assert_eq!(error.code(), "start.checksum");
    let StartError::Checksum { cause: ChecksumError::Read(cause), .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        cause.to_string(),
        "it is a directory, a named pipe or a device, not a regular file"
    );
}

fn any_checksum() -> Checksum {
    Checksum::new::<sha2::Sha256>([0; 32])
}

#[tokio::test]
async fn a_link_to_itself() {
    let folder = tempfile::tempdir().expect("a directory");
    let link = folder.path().join("plugin");
    symlink("plugin", &link).expect("a link");
    let (executable, _) = diagnosis(&link).await;
    assert!(matches!(executable, Executable::Unreadable { .. }), "{executable:?}");
}

/// The error names the missing directory, not the program.
#[tokio::test]
async fn a_missing_working_directory() {
    let scene = Scene::new();
    let launch = scene.program(rust::example("greeter-plugin")).current_dir("/nowhere");
    let error = scene.refuse(launch).await;
    assert_eq!(error.code(), "start.configuration");
    assert!(error.to_string().contains("/nowhere"), "{error}");
}

#[tokio::test]
async fn a_socket_directory_that_cannot_be_used() {
    for (folder, kind) in [
        (PathBuf::from("/nowhere"), std::io::ErrorKind::NotFound),
        (PathBuf::from(format!("/{}", "x".repeat(200))), std::io::ErrorKind::InvalidInput),
    ] {
        let launch = Launch::new(GREETER, rust::example("greeter-plugin")).version(1);
        let error = launch.socket_dir(folder).start().await.expect_err("no folder, no plugin");
        assert_eq!(error.code(), "start.machine");
        let StartError::Machine { cause, .. } = &error else { panic!("{error:?}") };
        assert_eq!(cause.kind(), kind);
    }
}

/// Another user could put a directory of its own in the place of the private one.
#[tokio::test]
async fn a_socket_directory_that_others_may_write_to() {
    use std::os::unix::fs::PermissionsExt;

    let scene = Scene::new();
    let base = scene.folder().join("shared");
    std::fs::create_dir(&base).expect("a directory");
    let mode = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&base, mode).expect("it is ours");
    };
    let launch = || scene.program(rust::example("greeter-plugin")).socket_dir(&base);
    mode(0o777);
    let error = launch().start().await.expect_err("others may write to it");
    assert_eq!(error.code(), "start.machine");
    let StartError::Machine { cause, .. } = &error else { panic!("{error:?}") };
    assert!(cause.to_string().contains("has mode 0777, without the sticky bit"), "{cause}");
    mode(0o1777);
    launch().start().await.expect("a start").shutdown().await.expect("the shutdown works");
}

#[tokio::test]
async fn a_group_that_does_not_exist() {
    let scene = Scene::new();
    let launch = scene.program(rust::example("greeter-plugin")).socket_group("no-such-group");
    let error = scene.refuse(launch).await;
    assert_eq!(error.code(), "start.machine");
}

/// Runs where this user may mount a file system.
#[test]
fn a_file_system_mounted_noexec() {
    noexec("executables::inside_a_file_system_mounted_noexec");
}

/// Runs an ignored test of this program with a directory that holds a plugin and is mounted
/// `noexec`; [`NOEXEC`] names it.
pub(crate) fn noexec(test: &str) {
    const MOUNT: &str = r#"mount -t tmpfs -o noexec none "$0" && cp "$1" "$0/plugin" && exec "$2" --exact --ignored "$3""#;
    let works = |options: &&[&str]| {
        let tried = Command::new("unshare").args(*options).arg("true").output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let own_view = [&["--mount"][..], &["--user", "--map-root-user", "--mount"]];
    let Some(options) = own_view.into_iter().find(works) else {
        return not_here("nothing can be mounted");
    };
    let folder = tempfile::tempdir().expect("a directory");
    let inner = Command::new("unshare")
        .args(options)
        .args(["sh", "-c", MOUNT])
        .arg(folder.path())
        .arg(rust::program("probe-plugin"))
        .arg(std::env::current_exe().expect("a test is a program"))
        .arg(test)
        .env(NOEXEC, folder.path())
        .output()
        .expect("the test program runs");
    let said = String::from_utf8_lossy(&inner.stdout);
    assert!(said.contains("1 passed"), "{inner:?}");
}

/// The variable that tells the ignored test where [`noexec`] put its plugin.
pub(crate) const NOEXEC: &str = "PLUGWIRE_NOEXEC";

#[tokio::test]
#[ignore = "run by the test above, where the directory is mounted"]
async fn inside_a_file_system_mounted_noexec() {
    let folder = std::env::var_os(NOEXEC).expect("the test above sets it");
    let (executable, text) = diagnosis(Path::new(&folder).join("plugin")).await;
    assert_eq!(executable, Executable::NoExec);
    assert_eq!(text, "the plugin cannot be executed: its file system is mounted noexec");
}
