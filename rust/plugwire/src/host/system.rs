//! What only Linux can do for the lifetime of processes. Elsewhere the guardian does it alone.
//!
//! The two functions run between fork and exec, where little is allowed: plain system calls, no memory, no locks.

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::process::{
        Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal,
        set_parent_process_death_signal,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

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

    /// Lets this process be killed when the thread that made it ends. `parent` has that thread.
    pub(in crate::host) fn die_with(parent: Pid) -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have ended before the call, and then no signal comes. A parent in another namespace is not seen.
        match getppid() {
            Some(other) if other != parent => Err(io::ErrorKind::BrokenPipe.into()),
            _ => Ok(()),
        }
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
pub(super) use linux::{Foreign, die_with, keep_only_standard_descriptors};

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::convert::Infallible;
    use std::io;

    use rustix::process::{Pid, Signal};

    pub(in crate::host) fn die_with(_: Pid) -> io::Result<()> {
        Ok(())
    }

    pub(in crate::host) fn keep_only_standard_descriptors() -> io::Result<()> {
        Ok(())
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
}

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::{Foreign, die_with, keep_only_standard_descriptors};
