//! What only one kind of system has.
//!
//! `linux` and `other` have the same functions: each of `other`'s says that it is not supported, and the caller does without
//! it or refuses. `exec` is for all Unix systems.
//!
//! A port to Windows would add a module here, and put a job object in place of `group`, `guardian` and the parent-death signal:
//! it signals (kill only), and ends its processes when the parent's handle closes. `CreateProcessW` stands for `exec`.

pub(crate) mod exec;
// Tests compile it everywhere, so that it keeps up with `vfork`.
#[cfg(any(test, not(target_os = "linux")))]
mod fork;
#[cfg(target_os = "linux")]
mod linux;
// Tests compile it everywhere, so that it keeps up with `linux`.
#[cfg(any(test, not(target_os = "linux")))]
mod other;
#[cfg(target_os = "linux")]
mod vfork;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

#[cfg(not(target_os = "linux"))]
use fork::{default_signals, start};

#[cfg(target_os = "linux")]
use linux as this_system;
#[cfg(not(target_os = "linux"))]
use other as this_system;

#[cfg(target_os = "linux")]
use vfork::{default_signals, start};

pub(crate) use this_system::{
    Pidfd, become_user, die_with_parent, is_mounted_noexec, keep_only_standard_descriptors,
    may_die_with_parent, memory_file, no_new_privs, seal,
};

/// Returns a path that names an open file for every process that has it open. A child has it open until exec.
pub(crate) fn descriptor_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
