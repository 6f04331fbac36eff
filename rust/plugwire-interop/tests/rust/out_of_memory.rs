//! A plugin is ended by the kernel's out-of-memory killer in its own memory cgroup. Where the
//! machine does not allow creating one, the test says so.

use std::fs;
use std::path::{Path, PathBuf};

use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{not_here, rust, snapshot};

const LIMIT: &str = "67108864";

/// A memory cgroup, version 1 or 2, for one host and its plugin.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Option<Self> {
        let name = format!("plugwire-test-{}", std::process::id());
        // A machine with version 2 may have an ordinary directory where version 1 would be.
        let versions = [
            ("/sys/fs/cgroup", "memory.max", "cgroup.controllers"),
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.limit_in_bytes"),
        ];
        let here = versions.into_iter().find(|(root, _, sign)| Path::new(root).join(sign).exists());
        let (root, limit, _) = here?;
        let cgroup = Path::new(root).join(name);
        fs::create_dir(&cgroup).ok()?;
        let cgroup = Self(cgroup);
        fs::write(cgroup.0.join(limit), LIMIT).ok()?;
        // Swap must not be used instead of memory; without swap, this file does not exist.
        let _ = fs::write(cgroup.0.join("memory.swap.max"), "0");
        Some(cgroup)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn a_kill_by_the_out_of_memory_killer_is_reported() {
    let Some(cgroup) = Cgroup::new() else {
        return not_here("this system does not allow creating a memory cgroup");
    };
    let _alone = crate::OUT_OF_MEMORY.write().await;
    let sandbox = Sandbox::new();
    let enter = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;
    let mut host = sandbox.command("/bin/sh");
    host.args(["-c", enter]).arg(&cgroup.0).arg(rust::program("mortal-host"));
    host.args(["--die", "memory", "--"]).arg(rust::program("probe-plugin"));
    let output = sandbox.run(&mut host).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let died = said.lines().find(|line| line.starts_with("died ")).unwrap_or_else(|| {
        panic!("{output:?}");
    });
    assert!(died.contains("killed by signal 9 (SIGKILL)"), "{died}");
    let memory = "in that time the out-of-memory killer killed a process of its memory cgroup";
    assert!(died.contains(memory), "{died}");
    let reports = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rust/reports");
    let text = died.strip_prefix("died ").unwrap_or(died);
    snapshot::assert_same(&reports.join("gone-out-of-memory.txt"), text, &[]);
    sandbox.assert_no_processes().await;
}
