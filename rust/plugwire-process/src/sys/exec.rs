//! Executes a program without the detours of the standard library. Only Unix has fork and exec.
//!
//! `std::process::Command` looks programs up as a shell does, and several C libraries then pass what the system refuses to a
//! shell: a program for another machine would be read as a script. It also panics if a program cannot be executed while the
//! process has been reaped already, as in a parent that ignores SIGCHLD. And with steps between fork and exec, its fork takes
//! the longer the more memory the parent has; see `vfork`.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::spawn_error::{SpawnError, SpawnStep};

/// The exit status by which shells say that a program could not be executed. It is never reported.
pub(super) const NOT_EXECUTED: i32 = 127;

type Step = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

/// A program to execute, and the steps that its process takes before.
pub(crate) struct Execution {
    program: CString,
    arguments: List,
    variables: List,
    /// What becomes the standard three descriptors. `None` is inherited.
    stdio: [Option<OwnedFd>; 3],
    leads_group: bool,
    steps: Vec<(SpawnStep, Step)>,
    /// Whether a step changes the user.
    pub(super) changes_user: bool,
}

impl Execution {
    /// Prepares to execute this path, with these arguments, of which the first is `argv[0]`, and with this environment.
    pub(crate) fn new<'a>(
        program: &Path,
        arguments: impl IntoIterator<Item = &'a OsStr>,
        variables: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>,
    ) -> Result<Self, SpawnError> {
        let invalid = |error: std::ffi::NulError| SpawnStep::Execute.failed(error.into());
        let pairs = variables.into_iter();
        let pairs = pairs.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
        Ok(Self {
            program: CString::new(program.as_os_str().as_bytes()).map_err(invalid)?,
            arguments: List::new(arguments.into_iter().map(|argument| argument.as_bytes().into()))
                .map_err(invalid)?,
            variables: List::new(pairs).map_err(invalid)?,
            stdio: [None, None, None],
            leads_group: false,
            steps: Vec::new(),
            changes_user: false,
        })
    }

    /// Sets standard input.
    pub(crate) fn stdin(&mut self, input: impl Into<OwnedFd>) {
        self.stdio[0] = Some(input.into());
    }

    /// Sets standard output.
    pub(crate) fn stdout(&mut self, output: impl Into<OwnedFd>) {
        self.stdio[1] = Some(output.into());
    }

    /// Sets standard error.
    pub(crate) fn stderr(&mut self, output: impl Into<OwnedFd>) {
        self.stdio[2] = Some(output.into());
    }

    /// Makes the process lead a process group of its own.
    pub(crate) fn lead_group(&mut self) {
        self.leads_group = true;
    }

    /// Says that a step changes the user.
    pub(crate) fn changes_user(&mut self) {
        self.changes_user = true;
    }

    /// Adds a step, which runs in the process before its program is executed.
    ///
    /// # Safety
    ///
    /// The process may share this one's memory, of which any other thread may have locked any part. The step must do only
    /// what is safe in a signal handler: no allocation, also not by an error or by dropping something, no locks, no panic.
    /// System calls must be made for the calling process alone, unlike libc's `setuid`, which includes all threads.
    pub(crate) unsafe fn before_exec(
        &mut self,
        name: SpawnStep,
        step: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) {
        self.steps.push((name, Box::new(step)));
    }

    /// Changes to this directory, as a step.
    pub(crate) fn change_dir(&mut self, dir: &Path) -> Result<(), SpawnError> {
        let step = SpawnStep::WorkingDirectory;
        let dir =
            CString::new(dir.as_os_str().as_bytes()).map_err(|error| step.failed(error.into()))?;
        // SAFETY: one system call; no memory, no locks.
        unsafe { self.before_exec(step, move || Ok(rustix::process::chdir(&*dir)?)) };
        Ok(())
    }

    /// Executes the program, after all steps. No process is left if it fails.
    pub(crate) fn spawn(mut self) -> Result<Pid, SpawnError> {
        for descriptor in self.stdio.iter_mut().flatten() {
            // Below three, giving the process one of the three would overwrite another.
            if descriptor.as_raw_fd() <= libc::STDERR_FILENO {
                let above = rustix::io::fcntl_dupfd_cloexec(&*descriptor, 3);
                *descriptor = above.map_err(|errno| SpawnStep::Pipes.failed(errno.into()))?;
            }
        }
        let (pid, failure) = super::start(self)?;
        let Some(Failure { step, errno }) = failure else { return Ok(pid) };
        // It has ended, or ends now. It may have been reaped elsewhere in this process.
        wait(pid);
        Err(step.failed(io::Error::from_raw_os_error(errno)))
    }

    /// Runs in the new process, and returns only if something fails.
    pub(super) fn execute(&mut self) -> Failure {
        let failed = |step: SpawnStep, error: &io::Error| Failure {
            step,
            errno: error.raw_os_error().unwrap_or(libc::EINVAL),
        };
        if let Err(error) = self.take_stdio() {
            return failed(SpawnStep::Pipes, &error.into());
        }
        if self.leads_group
            && let Err(error) = rustix::process::setpgid(None, None)
        {
            return failed(SpawnStep::Group, &error.into());
        }
        for (name, step) in &mut self.steps {
            if let Err(error) = step() {
                return failed(*name, &error);
            }
        }
        super::default_signals();
        // SAFETY: the three are null-terminated, were made before, and live until this returns.
        unsafe {
            libc::execve(self.program.as_ptr(), self.arguments.as_ptr(), self.variables.as_ptr())
        };
        failed(SpawnStep::Execute, &io::Error::last_os_error())
    }

    fn take_stdio(&self) -> rustix::io::Result<()> {
        let [input, output, error] = &self.stdio;
        if let Some(input) = input {
            rustix::stdio::dup2_stdin(input.as_fd())?;
        }
        if let Some(output) = output {
            rustix::stdio::dup2_stdout(output.as_fd())?;
        }
        if let Some(error) = error {
            rustix::stdio::dup2_stderr(error.as_fd())?;
        }
        Ok(())
    }
}

/// Waits until a process has ended, and reaps it. Returns at once if it was reaped elsewhere in this process.
pub(crate) fn wait(pid: Pid) {
    while matches!(waitpid(Some(pid), WaitOptions::empty()), Err(Errno::INTR)) {}
}

/// Opens what a program without input or output gets in its place.
pub(crate) fn nothing() -> Result<OwnedFd, SpawnError> {
    let null = File::options().read(true).write(true).open("/dev/null");
    null.map(OwnedFd::from).map_err(|error| SpawnStep::Null.failed(error))
}

/// Makes a pipe: its reading and its writing end.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), SpawnError> {
    let (reader, writer) = io::pipe().map_err(|error| SpawnStep::Pipes.failed(error))?;
    Ok((reader.into(), writer.into()))
}

/// The step that failed in the new process, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    pub(super) step: SpawnStep,
    pub(super) errno: i32,
}

/// A list of strings as `execve` takes it. Moving it keeps the addresses valid, since they point to the strings' heap memory.
struct List {
    _strings: Vec<CString>,
    addresses: Vec<usize>,
}

impl List {
    fn new(strings: impl Iterator<Item = Vec<u8>>) -> Result<Self, std::ffi::NulError> {
        let strings: Vec<CString> = strings.map(CString::new).collect::<Result<_, _>>()?;
        let end = 0;
        let addresses =
            strings.iter().map(|string| string.as_ptr().expose_provenance()).chain([end]).collect();
        Ok(Self { _strings: strings, addresses })
    }

    fn as_ptr(&self) -> *const *const libc::c_char {
        self.addresses.as_ptr().cast()
    }
}
