//! Linux. Some of these functions run between clone and exec, where only plain system calls are allowed: no allocation, no
//! locks.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    Gid, MemfdFlags, Mode, OFlags, RawDir, SealFlags, StatVfsMountFlags, Uid, memfd_create,
};
use rustix::io::FdFlags;
use rustix::process::{
    Pid, PidfdFlags, Signal, getppid, parent_process_death_signal, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::descriptor_path;

/// A process that is not a child. A signal reaches this process or none, even if its pid is reused.
#[derive(Debug)]
pub(crate) struct Pidfd {
    pid: Pid,
    descriptor: AsyncFd<OwnedFd>,
}

impl Pidfd {
    /// Must be called inside a runtime.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        let descriptor = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        // SAFETY: the descriptor is closed with the registration, not before.
        let descriptor =
            unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE)? };
        Ok(Self { pid, descriptor })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // Fails only if it has ended, or belongs to another user.
        let _ = pidfd_send_signal(&self.descriptor, signal);
    }

    pub(crate) async fn ended(&self) {
        let _ = self.descriptor.readable().await;
    }
}

/// Tests whether [`die_with_parent`] works: a sandbox may forbid it to this process and its children. The test sets the
/// signal of this thread to what it is.
pub(crate) fn may_die_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(parent_process_death_signal()?)?)
}

/// Makes the system kill this process when the thread that started it ends; the thread belongs to `parent`. For use between
/// clone and exec.
pub(crate) fn die_with_parent(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // If the parent ended before the call, no signal comes. A parent in another pid namespace is not visible.
    match getppid() {
        Some(other) if other != parent => Err(io::ErrorKind::BrokenPipe.into()),
        _ => Ok(()),
    }
}

/// Marks every inherited descriptor except the standard three `CLOEXEC`. For use between clone and exec.
pub(crate) fn keep_only_standard_descriptors() -> io::Result<()> {
    // SAFETY: the call only sets a flag on descriptors and closes none.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    // Linux before 5.11 does not have it, and a container may forbid it.
    if result == 0 { Ok(()) } else { close_each_at_exec() }
}

/// Does the same one by one.
fn close_each_at_exec() -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty())?;
    let mut space = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(&dir, &mut space);
    while let Some(entry) = entries.next() {
        // Two of the names are `.` and `..`.
        let Some(descriptor) = number(entry?.file_name().to_bytes()) else { continue };
        if descriptor > libc::STDERR_FILENO {
            // SAFETY: it is open, as the directory says, and is not closed meanwhile: no other process has this table.
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

/// Creates an empty file in memory that has no name, if the system lets such a file be executed. Kernels before 6.3 have
/// no flag to request this, and some systems forbid it altogether.
pub(crate) fn memory_file(name: &OsStr) -> Option<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => memfd_create(name, flags),
        result => result,
    };
    let file = File::from(file.ok()?);
    // Without /proc it could not be named for exec.
    descriptor_path(&file).exists().then_some(file)
}

/// Makes a memory file permanently immutable, for this process, too.
pub(crate) fn seal(file: &File) -> io::Result<()> {
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    Ok(rustix::fs::fcntl_add_seals(file, seals)?)
}

/// Becomes another user, irrevocably. For use between clone and exec.
pub(crate) fn become_user(user: Uid, group: Gid, groups: &[Gid]) -> io::Result<()> {
    // The right to change groups depends on the user, so the user is last.
    rustix::thread::set_thread_groups(groups)?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    Ok(())
}

/// Disables set-user-ID programs and file capabilities. For use between clone and exec.
pub(crate) fn no_new_privs() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Returns whether a path is on a file system that is mounted `noexec`.
pub(crate) fn is_mounted_noexec(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::NOEXEC))
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
        // Three, and the directory itself.
        assert_eq!(names(true), 4);
        assert!(names(false) > 4, "nothing was left open");
    }

    #[test]
    fn names_in_the_directory_are_numbers() {
        assert_eq!(number(b"1024"), Some(1024));
        assert_eq!(number(b".."), None);
        assert_eq!(number(b"99999999999"), None);
    }
}
