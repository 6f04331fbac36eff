//! What only Linux has. Elsewhere each of these says that it is not there, and the caller does without or refuses.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use rustix::fs::{Gid, Uid};

/// An empty file that lives in memory and is named nowhere, where the system lets such a file be executed. Kernels
/// before 6.3 do not know that this has to be asked for, and some systems forbid it altogether.
#[cfg(target_os = "linux")]
pub(super) fn memory_file(name: &OsStr) -> Option<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => memfd_create(name, flags),
        result => result,
    };
    let file = File::from(file.ok()?);
    // Without /proc nobody could name it.
    descriptor_path(&file).exists().then_some(file)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn memory_file(_name: &OsStr) -> Option<File> {
    None
}

/// Makes a memory file unchangeable for everybody, this process included, for good.
#[cfg(target_os = "linux")]
pub(super) fn seal(file: &File) -> io::Result<()> {
    use rustix::fs::SealFlags;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    Ok(rustix::fs::fcntl_add_seals(file, seals)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn seal(_file: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A path that names an open file for whoever has it open. A child has, until it executes it.
pub(super) fn descriptor_path(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Becomes another user, for good. Called between fork and exec: nothing here allocates or takes a lock.
#[cfg(target_os = "linux")]
pub(super) fn become_user(user: Uid, group: Gid, groups: &[Gid]) -> io::Result<()> {
    // The right to change groups goes with the user id, so that is last.
    rustix::thread::set_thread_groups(groups)?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn become_user(_user: Uid, _group: Gid, _groups: &[Gid]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Gives up what set-user-ID programs and file capabilities would add. Called between fork and exec.
#[cfg(target_os = "linux")]
pub(super) fn no_new_privs() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn no_new_privs() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
