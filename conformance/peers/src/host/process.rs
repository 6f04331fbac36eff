//! The plugin's process: started with pipes in its own process group, and killed together with the
//! group (SHD-7).

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{ChildStderr, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Settings;
use super::failure::Failure;
use super::flaw::Flaw;

/// How long a killed process may take to be gone.
const GONE: Duration = Duration::from_secs(5);
/// How long the pipes may stay open once the process is gone (SHD-8).
const LAST_WORDS: Duration = Duration::from_millis(250);

/// A plugin that was started. Dropping it kills what is left.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    exit: watch::Receiver<Option<ExitStatus>>,
    readers: Vec<JoinHandle<()>>,
    flaw: Option<Flaw>,
    /// Whether the process may outlive this value.
    spared: bool,
}

impl Process {
    /// Starts the plugin's command in this environment.
    pub(super) fn start(
        settings: &Settings,
        variables: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<(Self, ChildStdout, ChildStderr), Failure> {
        let other = |why: String| Failure::new("start.other", why);
        let [program, arguments @ ..] = &settings.plugin.command[..] else {
            return Err(other("the command is empty".to_owned()));
        };
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(variables).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        match settings.flaw {
            // Otherwise the plugins that these hosts leave behind would end with the driver.
            Some(Flaw::LeavesPlugins | Flaw::LeavesRefusedPlugins) => {}
            Some(Flaw::PluginsOutliveIt) => {}
            _ => ends_with_its_host(&mut command),
        }
        let mut child = command.spawn().map_err(|error| other(format!("{program}: {error}")))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        let (Some(pid), Some(stdout), Some(stderr)) =
            (pid, child.stdout.take(), child.stderr.take())
        else {
            return Err(other(format!("{program}: no process, or no pipes")));
        };
        let (ended, exit) = watch::channel(None);
        tokio::spawn(async move {
            if let Ok(status) = child.wait().await {
                ended.send_replace(Some(status));
            }
        });
        let flaw = settings.flaw;
        Ok((Self { pid, exit, readers: Vec::new(), flaw, spared: false }, stdout, stderr))
    }

    /// Reads one of its pipes to the end.
    pub(super) fn read(&mut self, reader: impl Future<Output = ()> + Send + 'static) {
        self.readers.push(tokio::spawn(reader));
    }

    pub(super) fn has_ended(&self) -> bool {
        self.exit.borrow().is_some()
    }

    /// Waits for its end, with a timeout. Cancel safe.
    pub(super) async fn exited(&self, within: Duration) -> Option<ExitStatus> {
        let mut exit = self.exit.clone();
        let ended = timeout(within, exit.wait_for(Option::is_some)).await;
        ended.ok()?.ok().and_then(|exit| *exit)
    }

    /// Waits until it is gone, and what it wrote was read.
    pub(super) async fn gone(&mut self, within: Duration) -> bool {
        if self.exited(within).await.is_none() {
            return false;
        }
        self.read_to_the_end().await;
        true
    }

    async fn read_to_the_end(&mut self) {
        let readers = &mut self.readers;
        let reading = async {
            for reader in readers.iter_mut() {
                let _ = reader.await;
            }
        };
        if self.flaw == Some(Flaw::WaitsForThePipes) {
            reading.await;
        } else if timeout(LAST_WORDS, reading).await.is_err() {
            readers.iter().for_each(JoinHandle::abort);
        }
        readers.clear();
    }

    /// Kills it, and its whole group, and waits until it is gone.
    pub(super) async fn kill(&mut self) {
        self.kill_now();
        self.gone(GONE).await;
    }

    /// Lets the process outlive this value.
    pub(super) fn spare(&mut self) {
        self.spared = true;
    }

    fn kill_now(&self) {
        // Fails if the group is empty; then nothing is left to do.
        let _ = match self.flaw {
            Some(Flaw::LeavesTheProcessGroup) if self.has_ended() => return,
            Some(Flaw::LeavesTheProcessGroup) => kill_process(self.pid, Signal::KILL),
            _ => kill_process_group(self.pid, Signal::KILL),
        };
    }
}

/// Makes the kernel kill the plugin when the host dies (SHD-12). The host has a single thread, so
/// its end is the host's.
#[cfg(target_os = "linux")]
fn ends_with_its_host(command: &mut Command) {
    let in_the_child =
        || rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into);
    // SAFETY: between fork and exec only one system call is made, which allocates nothing and is safe there.
    unsafe {
        command.pre_exec(in_the_child);
    }
}

#[cfg(not(target_os = "linux"))]
fn ends_with_its_host(_: &mut Command) {}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.spared {
            self.kill_now();
        }
    }
}
