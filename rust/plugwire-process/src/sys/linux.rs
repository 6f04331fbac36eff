//! Between fork and exec, where some of these run, little is allowed: plain system calls, no memory, no locks.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Gid, MemfdFlags, Mode, OFlags, RawDir, SealFlags, Uid, memfd_create};
use rustix::io::FdFlags;
use rustix::process::{
    Pid, PidfdFlags, Signal, getppid, parent_process_death_signal, pidfd_open, pidfd_send_signal,
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

/// Whether [`die_with`] can do what it says: a sandbox may forbid it, to this process and to its children. Tried on this
/// thread, for which nothing changes.
pub(in crate::host) fn may_die_with() -> io::Result<()> {
    Ok(set_parent_process_death_signal(parent_process_death_signal()?)?)
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
    // Linux before 5.11 does not know it, and a container may forbid it.
    if result == 0 { Ok(()) } else { close_each_at_exec() }
}

/// The same, one by one.
fn close_each_at_exec() -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty())?;
    let mut space = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(&folder, &mut space);
    while let Some(entry) = entries.next() {
        // Two of the names are `.` and `..`.
        let Some(descriptor) = number(entry?.file_name().to_bytes()) else { continue };
        if descriptor > libc::STDERR_FILENO {
            // SAFETY: it is open, as the folder says, and nobody closes it: this process has one thread.
            let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
            rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
        }
    }
    Ok(())
}

fn number(digits: &[u8]) -> Option<i32> {
    digits.iter().try_fold(0_i32, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(i32::from(digit - b'0')),
        _ => None,
    })
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn descriptors_are_closed_at_exec_one_by_one_too() {
        use std::os::unix::process::CommandExt;
        let left_open = File::open("/dev/null").expect("it is there");
        rustix::io::fcntl_setfd(&left_open, FdFlags::empty()).expect("it is open");
        let names = |close: bool| {
            let mut command = Command::new("/bin/ls");
            command.arg("/proc/self/fd");
            if close {
                // SAFETY: system calls on a buffer on the stack; no memory, no locks.
                unsafe { command.pre_exec(close_each_at_exec) };
            }
            let output = command.output().expect("it runs");
            String::from_utf8(output.stdout).expect("numbers").lines().count()
        };
        // Three, and the folder itself.
        assert_eq!(names(true), 4);
        assert!(names(false) > 4, "nothing was left open");
    }

    #[test]
    fn names_in_the_folder_are_numbers() {
        assert_eq!(number(b"1024"), Some(1024));
        assert_eq!(number(b".."), None);
        assert_eq!(number(b"99999999999"), None);
    }
}
