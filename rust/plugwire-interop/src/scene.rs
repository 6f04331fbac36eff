//! A greeter plugin in a sandbox that may do everything wrong, and what has to be true afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plugwire::Handshake;
use plugwire::host::{Launch, PluginHandle, StartError};
use serde_json::Value;

use crate::generated::greeter::GreetRequest;
use crate::generated::greeter::greeter_client::GreeterClient;
use crate::sandbox::Sandbox;
use crate::{GREETER, go};

/// How long a start may take here. Only a test of the timeout itself comes near it.
const START: Duration = Duration::from_secs(20);
/// How long a failed start may take to clean up.
const CLEAN_UP: Duration = Duration::from_secs(5);

/// A sandbox with a witness file.
#[derive(Debug, Default)]
pub struct Scene(Sandbox);

impl Scene {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the plugin's sockets are.
    pub fn folder(&self) -> &Path {
        self.0.folder()
    }

    /// A plugin to be started here.
    pub fn launch(&self, handshake: Handshake, program: impl Into<PathBuf>) -> Launch {
        self.0.launch(handshake, program).version(1).start_timeout(START)
    }

    /// A greeter plugin to be started here.
    pub fn program(&self, program: impl Into<PathBuf>) -> Launch {
        self.launch(GREETER, program)
    }

    /// A shell script as the plugin. The arguments are its `$0`, `$1`…
    pub fn script(&self, script: &str, arguments: &[&Path]) -> Launch {
        self.program("/bin/sh").arg("-c").arg(script).args(arguments)
    }

    /// The Go program that does one thing wrong (`sdk-go-compat/README.md` lists them), and puts its sockets where the
    /// host says, as Go's plugins do since 1.5.
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

    fn told(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.witness_file()).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }

    /// The first event of this name in the witness file. A test of a misbehaviour that did not happen proves nothing.
    pub fn witness(&self, event: &str) -> Value {
        let mut told = self.told().into_iter();
        told.find(|told| told["event"] == event)
            .unwrap_or_else(|| panic!("the witness does not tell of `{event}`"))
    }

    /// Starts what must not start, within its deadline, and leaves nothing.
    pub async fn refuse(&self, launch: Launch) -> StartError {
        let began = Instant::now();
        let error = launch.start().await.expect_err("it must not start");
        assert!(began.elapsed() < START + CLEAN_UP, "it took {:?}", began.elapsed());
        self.assert_empty();
        error
    }

    /// Nothing is left, now.
    pub fn assert_empty(&self) {
        assert_eq!(self.left(), Vec::<PathBuf>::new());
    }

    /// Processes that were started here, and files other than the witness. A process that ended and was not waited
    /// for is left, too: it takes a place in the system's table.
    pub fn left(&self) -> Vec<PathBuf> {
        let told = self.told().into_iter().map(|told| told["pid"].to_string());
        let living = self.0.processes().into_iter().map(|pid| pid.to_string());
        let processes = told.chain(living).map(|pid| Path::new("/proc").join(pid));
        let files = fs::read_dir(self.folder()).expect("the folder is there").flatten();
        let files = files.map(|entry| entry.path()).filter(|path| *path != self.witness_file());
        let mut left: Vec<PathBuf> = processes.filter(|path| path.exists()).chain(files).collect();
        left.sort();
        left.dedup();
        left
    }
}

/// Greets, as any greeter has it.
pub async fn greet(plugin: &PluginHandle) -> Result<(), tonic::Status> {
    let request = GreetRequest { name: "World".to_owned() };
    let reply = GreeterClient::new(plugin.channel()).greet(request).await?;
    assert_eq!(reply.into_inner().message, "Hello, World!");
    Ok(())
}
