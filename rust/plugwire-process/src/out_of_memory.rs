//! Evidence that the kernel's out-of-memory killer was at work, where the system provides it.
//!
//! The system does not say of a single process that this killer killed it: its end looks like any SIGKILL. But there are
//! counters, of the memory cgroup that the process shares with its parent, and of the machine. Only Linux has them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the out-of-memory killer killed something during the life of a process that died of a SIGKILL which its parent did
/// not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutOfMemory {
    /// In the memory cgroup that the process shares with its parent.
    InCgroup,
    /// Somewhere on this machine: the cgroup has no counter, or its counter has not moved.
    OnMachine,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OutOfMemory::InCgroup => {
                "in that time the out-of-memory killer killed a process of its memory cgroup"
            }
            OutOfMemory::OnMachine => {
                "in that time the out-of-memory killer killed a process of this machine"
            }
        })
    }
}

/// The numbers of processes that the killer has killed so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kills {
    in_cgroup: Option<u64>,
    on_machine: Option<u64>,
}

impl Kills {
    pub(crate) fn count() -> Self {
        let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let files = counters(&cgroups);
        Self {
            in_cgroup: files.iter().find_map(|file| read_counter(file)),
            on_machine: read_counter(Path::new("/proc/vmstat")),
        }
    }

    /// Compares with the counters of now.
    pub(crate) fn until_now(self) -> Option<OutOfMemory> {
        let now = Self::count();
        let more =
            |before: Option<u64>, now: Option<u64>| Some(now? > before?).filter(|more| *more);
        let in_cgroup = more(self.in_cgroup, now.in_cgroup).map(|_| OutOfMemory::InCgroup);
        let on_machine = || more(self.on_machine, now.on_machine).map(|_| OutOfMemory::OnMachine);
        in_cgroup.or_else(on_machine)
    }
}

/// Lists where the counter of this process's memory cgroup may be, for both versions of cgroups. In a container the path
/// in `/proc/self/cgroup` begins outside of what the process can see.
fn counters(cgroups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.events"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.oom_control")
            }
            _ => continue,
        };
        let own = Path::new(root).join(path.trim_start_matches('/')).join(file);
        files.extend([own, Path::new(root).join(file)]);
    }
    files
}

fn read_counter(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_counters_of_both_versions() {
        let both = "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/c\n";
        let files = counters(both);
        let expected = [
            "/sys/fs/cgroup/memory/a/b/memory.oom_control",
            "/sys/fs/cgroup/memory/memory.oom_control",
            "/sys/fs/cgroup/c/memory.events",
            "/sys/fs/cgroup/memory.events",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
        assert!(counters("").is_empty() && counters("nonsense\n1:memory").is_empty());
    }

    #[test]
    fn reads_the_kernels_forms() {
        let read = |text| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            fs::write(file.path(), text).expect("write");
            read_counter(file.path())
        };
        assert_eq!(read("low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(read("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(read("under_oom 0\n"), None);
        assert_eq!(read_counter(Path::new("/nowhere")), None);
    }
}
