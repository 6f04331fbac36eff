//! What a plugin may not do or use.

use std::io;
use std::time::Duration;

use rustix::fs::{Gid, Uid};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::exec::Execution;
use super::system;

/// Limits for a plugin's process, set between its birth and its first instruction. Its children inherit them. By default there
/// are none but the host's own.
///
/// ```
/// use std::time::Duration;
/// use plugwire::host::Confinement;
///
/// let small = Confinement::new().open_files(256).processes(64).core_dumps(0).no_new_privs();
/// ```
///
/// A limit holds for each process by itself, [`Confinement::processes`] excepted; a plugin that forks has each of them
/// again. What holds for a plugin as a whole is the business of cgroups, and of a [`Runner`](super::Runner). Limits can
/// only be lowered: one above the host's own is refused at the start (`start.configuration`), unless the host may raise it.
#[derive(Debug, Clone, Default)]
#[must_use = "it confines nothing before it is given to `Launch::confine`"]
pub struct Confinement {
    limits: Vec<(Resource, u64)>,
    no_new_privs: bool,
    user: Option<(u32, u32)>,
}

impl Confinement {
    /// No limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most address space, in bytes; allocating beyond it fails, which ends most programs. Address space is not
    /// memory: Go and many runtimes reserve far more than they use, and do not start with less than some hundreds of MiB.
    /// `RLIMIT_AS`.
    pub fn address_space(self, bytes: u64) -> Self {
        self.limit(Resource::As, bytes)
    }

    /// The most open descriptors. A plugin needs some ten, and one for each connection. `RLIMIT_NOFILE`.
    pub fn open_files(self, count: u64) -> Self {
        self.limit(Resource::Nofile, count)
    }

    /// The most time on a processor, all threads together, in whole seconds, rounded up. The process gets SIGXCPU then, and
    /// SIGKILL a second later. `RLIMIT_CPU`.
    pub fn cpu_time(self, time: Duration) -> Self {
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        self.limit(Resource::Cpu, seconds.max(1))
    }

    /// The longest file that it may write, in bytes; writing beyond that is SIGXFSZ. Pipes and sockets are no files.
    /// `RLIMIT_FSIZE`.
    pub fn file_size(self, bytes: u64) -> Self {
        self.limit(Resource::Fsize, bytes)
    }

    /// The most processes and threads that the plugin's *user* may have when the plugin makes another; so it makes sense
    /// with [`Confinement::user`]. The system does not hold root to it. `RLIMIT_NPROC`.
    pub fn processes(self, count: u64) -> Self {
        self.limit(Resource::Nproc, count)
    }

    /// The largest core dump, in bytes; 0 for none. A dump holds what the plugin held, secrets included. `RLIMIT_CORE`.
    pub fn core_dumps(self, bytes: u64) -> Self {
        self.limit(Resource::Core, bytes)
    }

    /// No program that the plugin executes gets more rights than the plugin has: set-user-ID bits do nothing. Linux only.
    pub fn no_new_privs(mut self) -> Self {
        self.no_new_privs = true;
        self
    }

    /// Runs the plugin as this user and group, without further groups but [`Launch::socket_group`]'s. Linux only; the host
    /// has to be root, or may not change users.
    ///
    /// Without a socket group, the group given here may use the plugin's sockets: give each plugin a group that nobody
    /// else is in. Nothing else is made reachable: not the working directory, nor the folders above
    /// [`Launch::socket_dir`]. `HOME` and `USER` stay what [`Launch::env`] or the host says.
    ///
    /// [`Launch::socket_group`]: super::Launch::socket_group
    /// [`Launch::socket_dir`]: super::Launch::socket_dir
    /// [`Launch::env`]: super::Launch::env
    pub fn user(mut self, user: u32, group: u32) -> Self {
        self.user = Some((user, group));
        self
    }

    fn limit(mut self, resource: Resource, most: u64) -> Self {
        self.limits.retain(|(known, _)| *known != resource);
        self.limits.push((resource, most));
        self
    }

    /// The group that has to reach the plugin's sockets.
    pub(super) fn group(&self) -> Option<u32> {
        self.user.map(|(_, group)| group)
    }

    /// Whether the plugin is somebody whom the host's open files are to be kept from.
    pub(super) fn is_other_user(&self) -> bool {
        self.user.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.limits.is_empty() && !self.no_new_privs && self.user.is_none()
    }

    /// What no system can do, said before anything is started.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        // To the system these mean "leave it as it is", which is root.
        if self.user.is_some_and(|(user, group)| user == u32::MAX || group == u32::MAX) {
            return Err("4294967295 is no user and no group (`Confinement::user`)");
        }
        let linux_only = self.no_new_privs || self.user.is_some();
        if linux_only && !cfg!(target_os = "linux") {
            return Err("`Confinement::user` and `no_new_privs` are there on Linux only");
        }
        Ok(())
    }

    /// Lets the child confine itself before it executes the plugin. `sockets` is the group that goes with the sockets.
    pub(super) fn apply(&self, execution: &mut Execution, sockets: Option<u32>) {
        if self.is_empty() {
            return;
        }
        let confinement = self.clone();
        let groups: Vec<Gid> = sockets.map(Gid::from_raw).into_iter().collect();
        // SAFETY: between fork and exec only what is safe in a signal handler may be done. `enter` makes system calls, without
        // libc's wrappers, on values that were allocated before the fork; it takes no lock, allocates nothing and
        // frees nothing, and its errors are numbers.
        unsafe { execution.before(move || confinement.enter(&groups)) };
    }

    /// In the child, which has one thread.
    fn enter(&self, groups: &[Gid]) -> io::Result<()> {
        for (resource, most) in &self.limits {
            setrlimit(*resource, rlimit(*resource, *most))?;
        }
        if let Some((user, group)) = self.user {
            system::become_user(Uid::from_raw(user), Gid::from_raw(group), groups)?;
        }
        if self.no_new_privs {
            system::no_new_privs()?;
        }
        Ok(())
    }
}

/// Soft and hard alike, so that the plugin cannot raise it again; but SIGXCPU, which says what happened, has to come before
/// SIGKILL, which does not.
fn rlimit(resource: Resource, most: u64) -> Rlimit {
    let hard = if resource == Resource::Cpu { most.saturating_add(1) } else { most };
    Rlimit { current: Some(most), maximum: Some(hard) }
}
