//! Unix systems other than Linux.
#![cfg_attr(target_os = "linux", allow(dead_code, reason = "compiled for tests only"))]

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Gid, Uid};
use rustix::process::{Pid, Signal};

/// Succeeds: the guardian ends the processes here.
pub(crate) fn may_die_with_parent() -> io::Result<()> {
    Ok(())
}

/// Does nothing: the guardian ends the process here.
pub(crate) fn die_with_parent(_parent: Pid) -> io::Result<()> {
    Ok(())
}

/// Not supported: a child inherits every descriptor that is not `CLOEXEC`.
pub(crate) fn keep_only_standard_descriptors() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not supported: without a descriptor for it, a process that is not a child cannot be signalled safely.
#[derive(Debug)]
pub(crate) struct Pidfd(Infallible);

impl Pidfd {
    pub(crate) fn open(_pid: u32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn pid(&self) -> u32 {
        match self.0 {}
    }

    pub(crate) fn signal(&self, _signal: Signal) {
        match self.0 {}
    }

    pub(crate) async fn ended(&self) {
        match self.0 {}
    }
}

/// Not supported: the program is copied to the disk.
pub(crate) fn memory_file(_name: &OsStr) -> Option<File> {
    None
}

/// Not supported.
pub(crate) fn seal(_file: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not supported.
pub(crate) fn become_user(_user: Uid, _group: Gid, _groups: &[Gid]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not supported.
pub(crate) fn no_new_privs() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Unknown: not every system has the mount flag.
pub(crate) fn is_mounted_noexec(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_supported_says_so() {
        let unsupported = [
            keep_only_standard_descriptors(),
            Pidfd::open(1).map(drop),
            become_user(Uid::ROOT, Gid::ROOT, &[]),
            no_new_privs(),
        ];
        for result in unsupported {
            assert_eq!(result.map_err(|error| error.kind()), Err(io::ErrorKind::Unsupported));
        }
        assert!(memory_file(OsStr::new("a")).is_none() && !is_mounted_noexec(Path::new("/")));
    }
}
