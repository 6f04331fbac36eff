//! Between fork and exec, where some of these run, little is allowed: plain system calls, no memory, no locks.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Gid, MemfdFlags, SealFlags, Uid, memfd_create};
use rustix::process::{
    Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::descriptor_path;

/// A process that somebody else started. What is sent reaches that one or nobody, whoever gets its id later.
pub(in crate::host) struct Foreign {
    pid: Pid,
    descriptor: AsyncFd<OwnedFd>,
}

impl Foreign {
    /// Must be called inside a runtime.
    pub(in crate::host) fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        let descriptor = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        // SAFETY: the descriptor is closed with the registration, not before.
        let descriptor =
            unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE)? };
        Ok(Self { pid, descriptor })
    }

    pub(in crate::host) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(in crate::host) fn signal(&self, signal: Signal) {
        // Fails only where it has gone, or is another user's.
        let _ = pidfd_send_signal(&self.descriptor, signal);
    }

    pub(in crate::host) async fn gone(&self) {
        let _ = self.descriptor.readable().await;
    }
}

/// Lets this process be killed when the thread that made it ends; `parent` has that thread. Between fork and exec.
pub(in crate::host) fn die_with(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before the call, and then no signal comes. A parent in another namespace is not seen.
    match getppid() {
        Some(other) if other != parent => Err(io::ErrorKind::BrokenPipe.into()),
        _ => Ok(()),
    }
}

/// Closes at exec whatever else this process got from the host without being meant to. Between fork and exec.
pub(in crate::host) fn keep_only_standard_descriptors() -> io::Result<()> {
    // SAFETY: the call only sets a flag on descriptors; none is closed under somebody who uses it.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An empty file that lives in memory and is named nowhere, where the system lets such a file be executed. Kernels
/// before 6.3 do not know that this has to be asked for, and some systems forbid it altogether.
pub(in crate::host) fn memory_file(name: &OsStr) -> Option<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => memfd_create(name, flags),
        result => result,
    };
    let file = File::from(file.ok()?);
    // Without /proc nobody could name it.
    descriptor_path(&file).exists().then_some(file)
}

/// Makes a memory file unchangeable for everybody, this process included, for good.
pub(in crate::host) fn seal(file: &File) -> io::Result<()> {
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    Ok(rustix::fs::fcntl_add_seals(file, seals)?)
}

/// Becomes another user, for good. Between fork and exec.
pub(in crate::host) fn become_user(user: Uid, group: Gid, groups: &[Gid]) -> io::Result<()> {
    // The right to change groups goes with the user id, so that is last.
    rustix::thread::set_thread_groups(groups)?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    Ok(())
}

/// Gives up what set-user-ID programs and file capabilities would add. Between fork and exec.
pub(in crate::host) fn no_new_privs() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}
