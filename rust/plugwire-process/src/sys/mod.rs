//! What only Linux has. Elsewhere each of these says that it is not there, and the caller does without or refuses.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;

use std::fs::File;
use std::path::PathBuf;

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::{
    Foreign, become_user, die_with, keep_only_standard_descriptors, may_die_with, memory_file,
    no_new_privs, seal,
};
#[cfg(target_os = "linux")]
pub(super) use linux::{
    Foreign, become_user, die_with, keep_only_standard_descriptors, may_die_with, memory_file,
    no_new_privs, seal,
};

/// A path that names an open file for whoever has it open. A child has, until it executes it.
pub(super) fn descriptor_path(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
