//! What only Linux can do for the lifetime of processes. Elsewhere the guardian does it alone.
//!
//! All of it runs between fork and exec, where little is allowed: plain system calls, no memory, no locks.

#[cfg(target_os = "linux")]
mod linux {
    use std::io;

    use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

    /// Lets this process be killed when the thread that made it ends. `parent` has that thread.
    pub(in crate::host) fn die_with(parent: Pid) -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have ended before the call, and then no signal comes.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    /// Closes at exec whatever else this process got from the host without being meant to.
    pub(in crate::host) fn keep_only_standard_descriptors() -> io::Result<()> {
        // SAFETY: the call only sets a flag on descriptors; none is closed under somebody who uses it.
        let result = unsafe {
            libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::{die_with, keep_only_standard_descriptors};

#[cfg(not(target_os = "linux"))]
pub(super) fn die_with(_: rustix::process::Pid) -> std::io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn keep_only_standard_descriptors() -> std::io::Result<()> {
    Ok(())
}
