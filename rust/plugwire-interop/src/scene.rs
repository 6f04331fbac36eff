//! Runs a greeter plugin that misbehaves in a sandbox, and checks what must hold afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plugwire::Handshake;
use plugwire::host::{Launch, PluginHandle, StartError};
use serde_json::Value;

use crate::generated::greeter::GreetRequest;
use crate::generated::greeter::greeter_client::GreeterClient;
use crate::leaks::eventually;
use crate::sandbox::Sandbox;
use crate::{GREETER, go};

/// The start timeout in these tests. Only tests of the timeout itself come near it.
const START: Duration = Duration::from_secs(20);
/// The limit for an expected event, including clean-up after a failed start.
const SOON: Duration = Duration::from_secs(10);

/// A sandbox with a witness file.
#[derive(Debug, Default)]
pub struct Scene(Sandbox);

impl Scene {
    /// Creates an empty scene.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the directory that holds the plugin's sockets.
    pub fn folder(&self) -> &Path {
        self.0.folder()
    }

    /// Prepares to start a plugin in this scene.
    pub fn launch(&self, handshake: Handshake, program: impl Into<PathBuf>) -> Launch {
        self.0.launch(handshake, program).version(1).start_timeout(START)
    }

    /// Prepares to start a greeter plugin in this scene.
    pub fn program(&self, program: impl Into<PathBuf>) -> Launch {
        self.launch(GREETER, program)
    }

    /// Prepares to start a shell script as the plugin. The arguments become its `$0`, `$1`…
    pub fn script(&self, script: &str, arguments: &[&Path]) -> Launch {
        self.program("/bin/sh").arg("-c").arg(script).args(arguments)
    }

    /// Prepares to start the Go program that does one thing wrong (`sdk-go-compat/README.md` lists
    /// them). It puts its sockets where the host says, as Go plugins do since go-plugin 1.5.
    pub fn misbehave(&self, how: &str) -> Launch {
        const IN_THE_HOSTS_FOLDER: &str = r#"TMPDIR="$PLUGIN_UNIX_SOCKET_DIR" exec "$0" "$@""#;
        self.script(IN_THE_HOSTS_FOLDER, &[&go::peer("1.8.0", "misbehave")])
            .args(["--how", how, "--witness"])
            .arg(self.witness_file())
            .name("misbehave")
    }

    fn witness_file(&self) -> PathBuf {
        self.folder().join("witness")
    }

    fn all_told(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.witness_file()).unwrap_or_default();
        // The last line may not be completely written yet.
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }

    /// Returns the first event with this name in the witness file, if there is one yet.
    pub fn told(&self, event: &str) -> Option<Value> {
        self.all_told().into_iter().find(|told| told["event"] == event)
    }

    /// Returns all events with this name, in order.
    pub fn all(&self, event: &str) -> Vec<Value> {
        self.all_told().into_iter().filter(|told| told["event"] == event).collect()
    }

    /// Waits for the first event with this name.
    pub async fn comes(&self, event: &str) {
        let told = eventually(SOON, || self.told(event).is_some()).await;
        assert!(told, "the witness file has no event `{event}`");
    }

    /// Returns the first event with this name. It has happened by now, but another process may
    /// still have to write it down; waiting for that needs nothing of this test's runtime. A test
    /// proves nothing if the misbehaviour did not happen.
    pub fn witness(&self, event: &str) -> Value {
        let give_up = Instant::now() + SOON;
        loop {
            match self.told(event) {
                Some(told) => return told,
                None if Instant::now() > give_up => {
                    panic!("the witness file has no event `{event}`")
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Starts a plugin whose start must fail, within its deadline and without leaving anything
    /// behind.
    pub async fn refuse(&self, launch: Launch) -> StartError {
        let began = Instant::now();
        let error = launch.start().await.expect_err("the start must fail");
        assert!(began.elapsed() < START + SOON, "the start took {:?}", began.elapsed());
        // The files are gone at this point; a process that was killed may take a moment to exit.
        assert_eq!(self.files_left(), Vec::<PathBuf>::new());
        self.empties().await;
        error
    }

    /// Waits until nothing is left. What another process has to clean up can take a little longer.
    pub async fn empties(&self) {
        let empty = eventually(SOON, || self.left().is_empty()).await;
        assert!(empty, "left: {:?}", self.left());
    }

    /// Asserts that nothing is left at this moment.
    pub fn assert_empty(&self) {
        assert_eq!(self.left(), Vec::<PathBuf>::new());
    }

    /// Returns the running processes that were started in this scene.
    pub fn processes(&self) -> Vec<u32> {
        self.0.processes()
    }

    fn files_left(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder()).expect("the folder is there").flatten();
        files.map(|entry| entry.path()).filter(|path| *path != self.witness_file()).collect()
    }

    /// Returns the processes that were started here and files other than the witness. A process
    /// that has exited but was not reaped counts as left: it occupies an entry in the process
    /// table.
    pub fn left(&self) -> Vec<PathBuf> {
        let told = self.all_told().into_iter().filter_map(|told| told["pid"].as_u64());
        let told = told.map(|pid| pid.to_string());
        let living = self.processes().into_iter().map(|pid| pid.to_string());
        let processes = told.chain(living).map(|pid| Path::new("/proc").join(pid));
        let files = self.files_left();
        let mut left: Vec<PathBuf> = processes.filter(|path| path.exists()).chain(files).collect();
        left.sort();
        left.dedup();
        left
    }
}

/// Calls the greeter and checks its reply.
pub async fn greet(plugin: &PluginHandle) -> Result<(), tonic::Status> {
    let request = GreetRequest { name: "World".to_owned() };
    let reply = GreeterClient::new(plugin.channel()).greet(request).await?;
    assert_eq!(reply.into_inner().message, "Hello, World!");
    Ok(())
}
