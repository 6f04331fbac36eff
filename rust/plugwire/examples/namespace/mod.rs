//! A runner: its plugins live among mounts and processes of their own. They find their sockets in `/mnt`, an empty `/tmp`,
//! and nobody else's processes to send signals to.

use std::io;
use std::process::{ExitStatus, Stdio};

use plugwire::host::{Plan, Runner, Running, Started};
use tokio::process::{Child, Command};

/// Where a plugin sees its folder for sockets. A folder that every system has, so that there is something to mount on.
const SEEN: &str = "/mnt";
/// Arranges what the plugin sees, and becomes the plugin. Its own directory stays where it is even below `/tmp`: from within
/// it, the directory can be mounted again after it has been covered. The last `cd` takes the working directory as it is now.
const ENTER: &str = r#"
mount --bind "$1" "$2" || exit
home=$(dirname "$3")
(cd "$home" && mount -t tmpfs none /tmp && { test -e "$3" || { mkdir -p "$home" && mount -c --bind . "$home"; }; }) || exit
cd "$PWD" 2>/dev/null || cd /
shift 2
exec "$@""#;

/// Starts plugins by `unshare`, from util-linux.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Namespace {
    /// Makes a user namespace first, in which anybody may mount. Where the system forbids that, root can do without.
    pub(crate) user: bool,
}

#[tonic::async_trait]
impl Runner for Namespace {
    async fn start(&self, mut plan: Plan) -> io::Result<Started> {
        let mounted = plan.mounted_at(SEEN);
        let mut unshare = Command::new("unshare");
        if self.user {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh"])
            .args([plan.socket_folder.as_os_str(), SEEN.as_ref(), plan.program.as_os_str()])
            .args(&plan.arguments)
            .env_clear()
            .envs(&plan.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(directory) = &plan.directory {
            unshare.current_dir(directory);
        }
        let mut child = unshare.spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let id = format!("namespace of {}", child.id().unwrap_or_default());
        Ok(Started::new(id, stdout, stderr, Inside(child)).translate(mounted))
    }
}

/// `unshare`, which waits for the first process inside. When that ends, the system ends all others there.
struct Inside(Child);

#[tonic::async_trait]
impl Running for Inside {
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }

    async fn kill(&mut self) -> io::Result<()> {
        // `--kill-child`: the first process inside goes with `unshare`.
        self.0.start_kill()
    }
}
