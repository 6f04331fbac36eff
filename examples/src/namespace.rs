//! A runner that starts plugins in their own mount and PID namespaces. A plugin finds its sockets in `/mnt` and an empty
//! `/tmp`, and cannot send signals to any process outside.

use std::io;
use std::process::{ExitStatus, Stdio};

use plugwire::host::{Plan, Runner, Running, Started};
use tokio::process::{Child, Command};

/// Where the plugin sees its socket directory. The directory exists on every system, so it can serve as a mount point.
const SEEN: &str = "/mnt";
/// Sets up the mounts, and then executes the plugin. The plugin's own directory stays visible even below `/tmp`: the shell
/// has entered it before the new `/tmp` covers it, and mounts it again from within. The last `cd` enters the working
/// directory as it is after the mounts.
const ENTER: &str = r#"
mount --bind "$1" "$2" || exit
home=$(dirname "$3")
(cd "$home" && mount -t tmpfs none /tmp && { test -e "$3" || { mkdir -p "$home" && mount -c --bind . "$home"; }; }) || exit
cd "$PWD" 2>/dev/null || cd /
shift 2
exec "$@""#;

/// Starts plugins with `unshare` from util-linux.
#[derive(Debug, Clone, Copy)]
pub struct Namespace {
    /// Creates a user namespace first, in which any user may mount. Root can do without one on systems that forbid it.
    pub user: bool,
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
            .args([plan.socket_dir.as_os_str(), SEEN.as_ref(), plan.program.as_os_str()])
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

/// The `unshare` process. It waits for the first process inside; when that exits, the kernel kills all others there.
struct Inside(Child);

#[tonic::async_trait]
impl Running for Inside {
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }

    async fn kill(&mut self) -> io::Result<()> {
        // With `--kill-child`, the first process inside dies with `unshare`.
        self.0.start_kill()
    }
}
