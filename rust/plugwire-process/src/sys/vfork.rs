//! Starts a process that uses this one's memory until it executes its program.
//!
//! A fork copies the page tables, and every page that is written afterwards, so it takes the longer the more memory the
//! parent has: 300 ms and more with 6 GiB. `CLONE_VM` copies nothing, and `CLONE_VFORK` stops the calling thread until the
//! new process has executed its program or ended. This is what `posix_spawn` does in the C libraries, and Go's
//! `syscall.forkExec`.
//!
//! **Why it is safe.** Between clone and exec two processes run in one memory: the new process, and all threads of this one
//! but the caller.
//!
//! - *The stack* is its own: it cannot overwrite the caller's frames. What it uses besides (the [`Execution`]) belongs to the
//!   calling thread, which is stopped, and outlives the call.
//! - *Locks and the allocator* may be in any state, held by threads that go on. The new process therefore only makes system
//!   calls: `Execution::before_exec` requires that of each step.
//! - *Thread-local storage* is the calling thread's, which is stopped. Only `errno` is used, and the caller reads it only
//!   where its own call failed.
//! - *Signal handlers* would run in the new process with this one's memory. All signals are blocked before the clone, also
//!   those that the C library keeps to itself, and the new process resets every handler before it unblocks them. It has a
//!   copy of the handlers (no `CLONE_SIGHAND`), so that changes nothing in this process.
//! - *Descriptors, working directory, limits, user, process group* are the new process's own: it is made without
//!   `CLONE_FILES`, `CLONE_FS` and `CLONE_THREAD`, and the steps make raw system calls, which concern the calling process
//!   alone, where libc would make all threads of its process follow.
//! - *Errors* come back through the memory: a write before the exit, a read after it, which the system puts in order.
//! - *The new process may be killed* at any time. The caller then goes on, and finds no error and a process that has ended.
//!   If this process is killed instead, the memory lives on until the new one has executed its program.
//! - *Another user's eyes.* The system marks a memory as not to be debugged, nor dumped, when a process that uses it changes
//!   its user. That is needed as long as both use it; for what comes after, see [`Undumpable`].

use std::ffi::c_void;
use std::io;
use std::ptr;

use parking_lot::Mutex;
use rustix::process::{DumpableBehavior, Pid, dumpable_behavior, set_dumpable_behavior};

use super::exec::{Execution, Failure, NOT_EXECUTED};
use crate::spawn_error::{SpawnError, SpawnStep};

/// Much more than the steps need, also in a build without optimisation.
const STACK: usize = 128 * 1024;
/// The lowest part of the stack, which cannot be written.
const GUARD: usize = 64 * 1024;
/// The highest number of a signal, which is also the number of bits in the kernel's set of them.
const LAST_SIGNAL: i32 =
    if cfg!(any(target_arch = "mips", target_arch = "mips64")) { 128 } else { 64 };
type SignalSet = [u8; LAST_SIGNAL as usize / 8];
const EVERY_SIGNAL: SignalSet = [0xff; LAST_SIGNAL as usize / 8];
const NO_SIGNAL: SignalSet = [0; LAST_SIGNAL as usize / 8];

struct Shared {
    execution: Execution,
    failure: Option<Failure>,
}

/// Starts the process, and returns it with what failed in it. Returns once it has executed its program, or has failed.
pub(crate) fn start(execution: Execution) -> Result<(Pid, Option<Failure>), SpawnError> {
    let failed = |error| SpawnStep::Fork.failed(error);
    let stack = Stack::new().map_err(failed)?;
    let _undumpable = execution.changes_user.then(Undumpable::begin);
    let mut shared = Shared { execution, failure: None };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let signals = set_signal_mask(&EVERY_SIGNAL);
    // SAFETY: the module says why. The stack and `shared` live until this thread goes on, by which time the new process uses
    // neither any more.
    let pid = unsafe { libc::clone(run, stack.top(), flags, (&raw mut shared).cast()) };
    // Before anything else can change it.
    let error = io::Error::last_os_error();
    set_signal_mask(&signals);
    let pid = Pid::from_raw(pid).filter(|_| pid > 0).ok_or_else(|| failed(error))?;
    Ok((pid, shared.failure))
}

extern "C" fn run(shared: *mut c_void) -> libc::c_int {
    // SAFETY: `start` passes it, and does not touch it until this process has executed its program or ended.
    let shared = unsafe { &mut *shared.cast::<Shared>() };
    remove_handlers();
    shared.failure = Some(shared.execution.execute());
    // SAFETY: it takes a number and never returns.
    unsafe { libc::_exit(NOT_EXECUTED) }
}

/// Gives every signal that has a handler its default effect, as exec would do. Signals stay blocked.
fn remove_handlers() {
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: `sigaction` writes a whole struct, or fails and leaves one that is valid if it is zero.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, ptr::null(), &raw mut action) == 0
                && !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
            {
                action.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &raw const action, ptr::null_mut());
            }
        }
    }
}

/// Gives the program what a program expects: no signal is blocked, and SIGPIPE, which Rust programs ignore, has its effect.
pub(crate) fn default_signals() {
    // SAFETY: one system call; no handler is set.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    set_signal_mask(&NO_SIGNAL);
}

/// Sets which signals are blocked in this thread, and returns which were. By the system call: the C library would leave out
/// the signals that it uses itself.
fn set_signal_mask(mask: &SignalSet) -> SignalSet {
    let mut old = NO_SIGNAL;
    // SAFETY: both are sets of the size that is given.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            mask.as_ptr(),
            (&raw mut old).cast::<u8>(),
            size_of::<SignalSet>(),
        )
    };
    old
}

/// Memory for the new process's stack.
struct Stack(*mut c_void);

impl Stack {
    fn new() -> io::Result<Self> {
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory at an address that the system chooses.
        let memory = unsafe { libc::mmap(ptr::null_mut(), STACK, access, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self(memory);
        // SAFETY: it is the lowest part of that memory. Stacks grow down on every machine that Rust's Linux runs on.
        match unsafe { libc::mprotect(memory, GUARD, libc::PROT_NONE) } {
            0 => Ok(stack),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn top(&self) -> *mut c_void {
        self.0.wrapping_byte_add(STACK)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the process that used it has executed its program or ended.
        unsafe { libc::munmap(self.0, STACK) };
    }
}

/// Restores this process's own setting once the last process that changes its user has left this memory. The system forbids
/// then to debug the memory and to dump it, so that the other user cannot read it, and does not lift that by itself: hosts
/// would leave no core dumps any more after their first plugin of another user.
struct Undumpable;

/// How many such processes use this memory, and the setting from before the first.
static UNDUMPABLE: Mutex<(usize, Option<DumpableBehavior>)> = Mutex::new((0, None));

impl Undumpable {
    fn begin() -> Self {
        let mut state = UNDUMPABLE.lock();
        if state.0 == 0 {
            state.1 = dumpable_behavior().ok();
        }
        state.0 += 1;
        Self
    }
}

impl Drop for Undumpable {
    fn drop(&mut self) {
        let mut state = UNDUMPABLE.lock();
        state.0 -= 1;
        if let (0, Some(before @ DumpableBehavior::Dumpable)) = *state {
            let _ = set_dumpable_behavior(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use rustix::process::{Signal, WaitOptions, WaitStatus, getpid, kill_process, waitpid};

    use super::*;

    fn shell(script: &str) -> Execution {
        let arguments = ["sh", "-c", script].map(OsStr::new);
        let variables = [(OsStr::new("PATH"), OsStr::new("/usr/bin:/bin"))];
        Execution::new(Path::new("/bin/sh"), arguments, variables).expect("no zeros in it")
    }

    fn ended(execution: Execution) -> WaitStatus {
        let (pid, failure) = start(execution).expect("it starts");
        assert!(failure.is_none(), "{failure:?}");
        waitpid(Some(pid), WaitOptions::empty()).expect("ours").expect("it ended").1
    }

    #[test]
    fn a_program_finds_no_signal_blocked_and_sigpipe_not_ignored() {
        let before = set_signal_mask(&EVERY_SIGNAL);
        let status = ended(shell(
            "grep -q '^SigBlk:.0*$' /proc/self/status && grep -q '^SigIgn:.*[02468ace]...$' /proc/self/status",
        ));
        let ours = set_signal_mask(&before);
        assert_eq!(status.exit_status(), Some(0));
        // SIGKILL and SIGSTOP cannot be blocked.
        assert!(ours.iter().map(|byte| byte.count_zeros()).sum::<u32>() <= 4, "{ours:?}");
    }

    #[test]
    fn a_signal_handler_of_this_process_does_not_run_in_the_new_one() {
        static RAN: AtomicBool = AtomicBool::new(false);
        extern "C" fn handler(_: libc::c_int) {
            RAN.store(true, Relaxed);
        }
        // SAFETY: the handler only sets a flag.
        unsafe { libc::signal(libc::SIGUSR2, handler as *const () as usize) };
        let mut execution = shell("exit 0");
        let signal = || Ok(kill_process(getpid(), Signal::USR2)?);
        // SAFETY: two system calls; no memory, no locks.
        unsafe { execution.before_exec(SpawnStep::Group, signal) };
        assert_eq!(ended(execution).terminating_signal(), Some(libc::SIGUSR2));
        assert!(!RAN.load(Relaxed));
    }

    /// As the system does when the user changes; only root could try that.
    #[test]
    fn this_process_can_be_dumped_again_after_a_process_of_another_user() {
        let before = dumpable_behavior().expect("Linux has it");
        let forbid = || Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?);
        for (told, after) in [(true, before), (false, DumpableBehavior::NotDumpable)] {
            let mut execution = shell("exit 0");
            // SAFETY: one system call; no memory, no locks.
            unsafe { execution.before_exec(SpawnStep::Confine, forbid) };
            if told {
                execution.changes_user();
            }
            assert_eq!(ended(execution).exit_status(), Some(0));
            assert_eq!(dumpable_behavior().expect("Linux has it"), after);
        }
        set_dumpable_behavior(before).expect("Linux has it");
    }
}
