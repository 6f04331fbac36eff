use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::File;
use std::io;

use rustix::fs::{Gid, Uid};
use rustix::process::{Pid, Signal};

pub(in crate::host) fn may_die_with() -> io::Result<()> {
    Ok(())
}

pub(in crate::host) fn die_with(_: Pid) -> io::Result<()> {
    Ok(())
}

/// Says that it cannot: what the host leaves open for every program, each of them has.
pub(in crate::host) fn keep_only_standard_descriptors() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Without a descriptor for it, a process of somebody else cannot be killed safely, so it cannot be killed.
pub(in crate::host) struct Foreign(Infallible);

impl Foreign {
    pub(in crate::host) fn open(_: u32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in crate::host) fn pid(&self) -> u32 {
        match self.0 {}
    }

    pub(in crate::host) fn signal(&self, _: Signal) {
        match self.0 {}
    }

    pub(in crate::host) async fn gone(&self) {
        match self.0 {}
    }
}

pub(in crate::host) fn memory_file(_name: &OsStr) -> Option<File> {
    None
}

pub(in crate::host) fn seal(_file: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(in crate::host) fn become_user(_user: Uid, _group: Gid, _groups: &[Gid]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(in crate::host) fn no_new_privs() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
