//! A place for one run, which detects everything that the run leaves behind.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use plugwire_conformance_wire::process::alive;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// The time limit of a run, on a machine of any speed. The tests check that it ends at all.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// A directory with the run's temporary directory in it, and the subjects that a test writes.
pub(crate) struct Desk(TempDir);

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Desk {
    pub(crate) fn new() -> Self {
        // Short, since sockets are created in it; its name shows which test a process belongs to.
        let folder = tempfile::Builder::new().prefix("desk").tempdir_in("/tmp").unwrap();
        fs::create_dir(folder.path().join("t")).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns the path as a word of a command.
    pub(crate) fn word(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self.word(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Writes a program of these bytes. `cp` writes it: a file that is open for writing cannot be
    /// executed, and children of other tests inherit the descriptors of this process.
    pub(crate) async fn program(&self, name: &str, text: &str, mode: u32) -> String {
        let draft = self.write(&format!("{name}.draft"), text);
        let path = self.word(name);
        let copied = Command::new("cp").args([&draft, &path]).status().await.unwrap();
        assert!(copied.success());
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Writes a subject file for a plugin that is this shell script. With a subject file no
    /// features are detected.
    pub(crate) fn plugin(&self, script: &str) -> String {
        let script = self.write("plugin.sh", &script.replace("DESK", &self.word("")));
        self.write("plugin.toml", &described(&["/bin/sh", &script]))
    }

    /// Writes a subject file for a plugin with this command.
    pub(crate) fn described(&self, command: &[&str]) -> String {
        self.write("plugin.toml", &described(command))
    }

    /// Writes a driver script and returns its path. The command is `sh PATH`.
    pub(crate) fn driver(&self, script: &str) -> String {
        self.write("driver.sh", &script.replace("DESK", &self.word("")))
    }

    /// Returns the suite, about to be started.
    pub(crate) fn suite<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        self.wrapped(&[env!("CARGO_BIN_EXE_plugwire-conformance")], arguments)
    }

    /// Returns the same, started by another program.
    pub(crate) fn wrapped<S: AsRef<OsStr>>(
        &self,
        program: &[&str],
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program[0]);
        command
            .args(&program[1..])
            .args(arguments)
            .env("TMPDIR", self.path("t"))
            .env_remove("CI")
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs the suite and checks that nothing is left.
    pub(crate) async fn run<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Done {
        self.finish(self.suite(arguments).spawn().unwrap()).await
    }

    /// Judges a plugin by these cases.
    pub(crate) async fn judge(&self, subject: &str, only: &[&str]) -> Done {
        let mut arguments = vec!["plugin", "--subject", subject];
        arguments.extend(only.iter().flat_map(|pattern| ["--only", *pattern]));
        self.run(arguments).await
    }

    /// Waits for the end of a run and checks that nothing is left.
    pub(crate) async fn finish(&self, running: Child) -> Done {
        let ended = timeout(LONGEST, running.wait_with_output()).await;
        let done = Done::of(ended.expect("the run ends").unwrap());
        let left = self.processes();
        for pid in &left {
            // The assertion below reports it; here it is only killed.
            let _ = Pid::from_raw(*pid as i32).map(|pid| kill_process(pid, Signal::KILL));
        }
        assert!(left.is_empty(), "{left:?} are left; {done}");
        let folders: Vec<PathBuf> =
            fs::read_dir(self.path("t")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(folders.is_empty(), "{folders:?} are left; {done}");
        let socket = |name: &String| name.starts_with("plugin") && !name.starts_with("plugin.");
        let here = fs::read_dir(self.path("")).unwrap().flatten();
        let here = here.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let here: Vec<String> = here.filter(socket).collect();
        assert!(here.is_empty(), "{here:?} are left in the working directory; {done}");
        done
    }

    /// Returns the processes that have to do with this place: by their environment or arguments, or because a subject noted their
    /// number in the file `pids`.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let here = self.word("");
        let speaks_of_here = |pid: &u32| {
            ["environ", "cmdline"].iter().any(|file| {
                let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                String::from_utf8_lossy(&text).contains(&here)
            })
        };
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let marked = all.filter(speaks_of_here);
        let mut living: Vec<u32> = marked.chain(self.noted()).filter(|pid| alive(*pid)).collect();
        living.sort_unstable();
        living.dedup();
        living
    }

    /// Returns the processes whose numbers a subject wrote into the file `pids`.
    pub(crate) fn noted(&self) -> Vec<u32> {
        self.read("pids").lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Waits until a file is there.
    pub(crate) async fn appears(&self, name: &str) {
        let give_up = Instant::now() + LONGEST;
        while !self.path(name).exists() {
            assert!(Instant::now() < give_up, "{name} never appears");
            // Another process writes the file, which does not notify.
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Done {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Checks the exit status, and that the output contains these words.
    #[track_caller]
    pub(crate) fn says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self}");
        // Reports wrap their lines, so white space is normalised.
        let said = format!("{} {}", self.stdout, self.stderr);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in words {
            assert!(said.contains(part), "{part:?} is not said: {self}");
        }
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }
}

fn described(command: &[&str]) -> String {
    format!(
        "[implementation]\nname = \"subject\"\nrole = \"plugin\"\ncommand = {command:?}\n\
         [handshake]\ncookie = {{ key = \"K\", value = \"V\" }}\n"
    )
}

/// Returns the program that everything is built for.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_plugwire-conformance"))
}
