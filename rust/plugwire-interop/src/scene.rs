//! A greeter plugin in a sandbox that may do everything wrong, and what has to be true afterwards.

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

/// How long a start may take here. Only a test of the timeout itself comes near it.
const START: Duration = Duration::from_secs(20);
/// How long what must come may take, clean-up after a failed start included.
const SOON: Duration = Duration::from_secs(10);

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

    fn all_told(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.witness_file()).unwrap_or_default();
        // The last may still be on its way.
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }

    /// The first event of this name in the witness file, if there is one yet.
    pub fn told(&self, event: &str) -> Option<Value> {
        self.all_told().into_iter().find(|told| told["event"] == event)
    }

    /// All events of this name, in their order.
    pub fn all(&self, event: &str) -> Vec<Value> {
        self.all_told().into_iter().filter(|told| told["event"] == event).collect()
    }

    /// Waits for the first event of this name.
    pub async fn comes(&self, event: &str) {
        let told = eventually(SOON, || self.told(event).is_some()).await;
        assert!(told, "the witness does not tell of `{event}`");
    }

    /// The same, where it has happened by now and another process may only still have to write it down; that needs nothing
    /// of this test's runtime. A test of a misbehaviour that did not happen proves nothing.
    pub fn witness(&self, event: &str) -> Value {
        let give_up = Instant::now() + SOON;
        loop {
            match self.told(event) {
                Some(told) => return told,
                None if Instant::now() > give_up => {
                    panic!("the witness does not tell of `{event}`")
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Starts what must not start, within its deadline, and leaves nothing.
    pub async fn refuse(&self, launch: Launch) -> StartError {
        let began = Instant::now();
        let error = launch.start().await.expect_err("it must not start");
        assert!(began.elapsed() < START + SOON, "it took {:?}", began.elapsed());
        // Files are gone now; who was killed may have to die yet.
        assert_eq!(self.files_left(), Vec::<PathBuf>::new());
        self.empties().await;
        error
    }

    /// Waits until nothing is left: what another process has to wait for comes a little later.
    pub async fn empties(&self) {
        let empty = eventually(SOON, || self.left().is_empty()).await;
        assert!(empty, "left: {:?}", self.left());
    }

    /// Nothing is left, now.
    pub fn assert_empty(&self) {
        assert_eq!(self.left(), Vec::<PathBuf>::new());
    }

    /// The processes that were started here and live.
    pub fn processes(&self) -> Vec<u32> {
        self.0.processes()
    }

    fn files_left(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder()).expect("the folder is there").flatten();
        files.map(|entry| entry.path()).filter(|path| *path != self.witness_file()).collect()
    }

    /// Processes that were started here, and files other than the witness. A process that ended and was not waited
    /// for is left, too: it takes a place in the system's table.
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

/// Greets, as any greeter has it.
pub async fn greet(plugin: &PluginHandle) -> Result<(), tonic::Status> {
    let request = GreetRequest { name: "World".to_owned() };
    let reply = GreeterClient::new(plugin.channel()).greet(request).await?;
    assert_eq!(reply.into_inner().message, "Hello, World!");
    Ok(())
}
