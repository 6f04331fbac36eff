//! Limits for a child process, and the user that it runs as.

use std::io;
use std::time::Duration;

use rustix::fs::{Gid, Uid};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::spawn_error::SpawnStep;
use crate::sys;
use crate::sys::exec::Execution;

/// Limits for a process, set after it was made and before the program's first instruction. Its children inherit them. By
/// default there are none besides the parent's own.
///
/// ```
/// use plugwire_process::Confinement;
///
/// let small = Confinement::new().open_files(256).processes(64).core_dumps(0).no_new_privs();
/// ```
///
/// Each limit holds per process, except [`Confinement::processes`]: a process that forks gets each of them again. To
/// limit a process together with its children, use cgroups. Limits can only be lowered: one above the parent's own fails
/// the start with `EPERM`, unless the parent may raise it.
#[derive(Debug, Clone, Default)]
#[must_use = "it confines nothing before a process is started with it"]
pub struct Confinement {
    limits: Vec<(Resource, u64)>,
    no_new_privs: bool,
    user: Option<(u32, u32)>,
}

impl Confinement {
    /// Sets no limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits the address space, in bytes. Allocating beyond it fails, which ends most programs. Address space is not
    /// memory: Go and many other runtimes reserve far more than they use, and need some hundreds of MiB to start.
    /// `RLIMIT_AS`.
    pub fn address_space(self, bytes: u64) -> Self {
        self.limit(Resource::As, bytes)
    }

    /// Limits the number of open descriptors. A plugin needs about ten, and one for each connection. `RLIMIT_NOFILE`.
    pub fn open_files(self, count: u64) -> Self {
        self.limit(Resource::Nofile, count)
    }

    /// Limits the processor time of all threads together, in whole seconds, rounded up. At the limit the process gets
    /// SIGXCPU, and SIGKILL a second later. `RLIMIT_CPU`.
    pub fn cpu_time(self, time: Duration) -> Self {
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        self.limit(Resource::Cpu, seconds.max(1))
    }

    /// Limits the length of files that the process writes, in bytes; writing beyond it raises SIGXFSZ. Pipes and sockets
    /// are not affected. `RLIMIT_FSIZE`.
    pub fn file_size(self, bytes: u64) -> Self {
        self.limit(Resource::Fsize, bytes)
    }

    /// Limits the number of processes and threads that the process's *user* may have when the process starts another. It
    /// is therefore most useful with [`Confinement::user`]. The limit does not apply to root. `RLIMIT_NPROC`.
    pub fn processes(self, count: u64) -> Self {
        self.limit(Resource::Nproc, count)
    }

    /// Limits the size of a core dump, in bytes; 0 for none. A dump contains the memory of the process, secrets included.
    /// `RLIMIT_CORE`.
    pub fn core_dumps(self, bytes: u64) -> Self {
        self.limit(Resource::Core, bytes)
    }

    /// Keeps programs that the process executes from gaining privileges: set-user-ID bits have no effect. Linux only.
    pub fn no_new_privs(mut self) -> Self {
        self.no_new_privs = true;
        self
    }

    /// Runs the process as this user and group, without supplementary groups except that of its
    /// [`PrivateDir`](crate::PrivateDir). Linux only; the parent must be root, or have the capability to change users.
    ///
    /// A plugin's group may use the plugin's sockets unless another socket group is set, so give each plugin a group that
    /// has no other members. Nothing else is made accessible: neither the working directory nor the directories above the
    /// private one. `HOME` and `USER` are not changed.
    pub fn user(mut self, user: u32, group: u32) -> Self {
        self.user = Some((user, group));
        self
    }

    fn limit(mut self, resource: Resource, most: u64) -> Self {
        self.limits.retain(|(known, _)| *known != resource);
        self.limits.push((resource, most));
        self
    }

    /// The group of [`Confinement::user`], which has to reach the process's sockets.
    pub fn group(&self) -> Option<u32> {
        self.user.map(|(_, group)| group)
    }

    /// Whether the process runs as another user, from which the parent's open files must be kept.
    /// Returns the user that [`Confinement::user`] has set.
    #[must_use]
    pub fn user_id(&self) -> Option<u32> {
        self.user.map(|(user, _)| user)
    }

    pub(crate) fn changes_user(&self) -> bool {
        self.user.is_some()
    }

    /// Whether there are no limits.
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty() && !self.no_new_privs && self.user.is_none()
    }

    /// Reports what no system, or not this one, can do. [`Command::spawn`](crate::Command::spawn) checks it, too.
    pub fn check(&self) -> Result<(), &'static str> {
        // To the system these mean "leave it as it is", which is root.
        if self.user.is_some_and(|(user, group)| user == u32::MAX || group == u32::MAX) {
            return Err("4294967295 is not a valid user or group (`Confinement::user`)");
        }
        let linux_only = self.no_new_privs || self.user.is_some();
        if linux_only && !cfg!(target_os = "linux") {
            return Err("`Confinement::user` and `no_new_privs` are supported on Linux only");
        }
        Ok(())
    }

    /// Makes the child confine itself before it executes its program. `sockets` becomes its only supplementary group.
    pub(crate) fn apply(&self, execution: &mut Execution, sockets: Option<u32>) {
        if self.is_empty() {
            return;
        }
        let confinement = self.clone();
        let groups: Vec<Gid> = sockets.map(Gid::from_raw).into_iter().collect();
        if self.changes_user() {
            execution.changes_user();
        }
        // SAFETY: `enter` makes system calls, without libc's wrappers, on values that were allocated before; it takes no lock,
        // allocates nothing and frees nothing, and its errors are numbers.
        unsafe { execution.before_exec(SpawnStep::Confine, move || confinement.enter(&groups)) };
    }

    /// Runs in the child.
    fn enter(&self, groups: &[Gid]) -> io::Result<()> {
        for (resource, most) in &self.limits {
            setrlimit(*resource, rlimit(*resource, *most))?;
        }
        if let Some((user, group)) = self.user {
            sys::become_user(Uid::from_raw(user), Gid::from_raw(group), groups)?;
        }
        if self.no_new_privs {
            sys::no_new_privs()?;
        }
        Ok(())
    }
}

/// Sets the soft and the hard limit to the same value, so that the process cannot raise it again. For processor time the
/// hard limit is higher: SIGXCPU, which explains the death, has to come before SIGKILL, which does not.
fn rlimit(resource: Resource, most: u64) -> Rlimit {
    let hard = if resource == Resource::Cpu { most.saturating_add(1) } else { most };
    Rlimit { current: Some(most), maximum: Some(hard) }
}
