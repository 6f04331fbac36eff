//! Executes a program without the detours of the standard library. Only Unix has fork and exec.
//!
//! `std::process::Command` looks programs up as a shell does, and several C libraries then pass what the system refuses to a
//! shell: a program for another machine would be read as a script. It also panics if a program cannot be executed while the
//! process has been reaped already, as in a parent that ignores SIGCHLD.

use std::ffi::{CString, OsStr};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use rustix::io::Errno;

/// The exit status by which shells say that a program could not be executed. It is never reported.
const NOT_EXECUTED: i32 = 127;

type Step = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

/// A command, and the steps that its process takes between fork and exec.
pub(crate) struct Execution {
    pub(crate) command: Command,
    steps: Vec<Step>,
}

impl Execution {
    /// Prepares to execute this path, with a cleared environment.
    pub(crate) fn of(program: &Path) -> Self {
        let mut command = Command::new(program);
        command.env_clear();
        Self { command, steps: Vec::new() }
    }

    /// Adds a step.
    ///
    /// # Safety
    ///
    /// It runs between fork and exec, where only what is safe in a signal handler may be done: no memory, no locks.
    pub(crate) unsafe fn before_exec(
        &mut self,
        step: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) {
        self.steps.push(Box::new(step));
    }

    /// Changes to this directory, as a step.
    pub(crate) fn change_dir(&mut self, dir: &Path) -> io::Result<()> {
        let dir = CString::new(dir.as_os_str().as_bytes())?;
        // SAFETY: one system call; no memory, no locks.
        unsafe { self.before_exec(move || Ok(rustix::process::chdir(&*dir)?)) };
        Ok(())
    }

    /// Executes the program, with `name` as its `argv[0]`, after all steps. An error is a step's, or the system's about the
    /// program; no process is left in this case.
    pub(crate) fn spawn(self, name: &OsStr) -> io::Result<Child> {
        let Self { mut command, mut steps } = self;
        let (mut failure, mut failed) = io::pipe()?;
        let execute = execve(&command, name)?;
        let run = move || {
            let error = steps.iter_mut().find_map(|step| step().err()).unwrap_or_else(&execute);
            let number = error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error());
            let _ = failed.write_all(&number.to_ne_bytes());
            // SAFETY: it takes a number and never returns.
            unsafe { libc::_exit(NOT_EXECUTED) }
        };
        // SAFETY: each step is safe here, as is `execute`; besides that, one write and one exit. No memory, no locks.
        unsafe { command.pre_exec(run) };
        let mut child = command.spawn()?;
        // This closes this process's end of the pipe. What is left is the child's, which closes at exec.
        drop(command);
        let mut number = [0; size_of::<i32>()];
        if failure.read_exact(&mut number).is_err() {
            return Ok(child);
        }
        // It may have been reaped elsewhere in this process.
        let _ = child.wait();
        Err(io::Error::from_raw_os_error(i32::from_ne_bytes(number)))
    }
}

/// A list of strings as `execve` takes it. Moving it keeps the addresses valid, since they point to the strings' heap memory.
struct List {
    _strings: Vec<CString>,
    addresses: Vec<usize>,
}

impl List {
    fn new(strings: impl Iterator<Item = Vec<u8>>) -> io::Result<Self> {
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

/// Prepares the call of `execve` for a command. The call returns only if it fails.
fn execve(
    command: &Command,
    name: &OsStr,
) -> io::Result<impl Fn() -> io::Error + Send + Sync + use<>> {
    let program = CString::new(command.get_program().as_bytes())?;
    let arguments = [name].into_iter().chain(command.get_args());
    let arguments = List::new(arguments.map(|argument| argument.as_bytes().to_vec()))?;
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let environment =
        List::new(set.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()))?;
    Ok(move || {
        // SAFETY: the three are null-terminated, were made above, and are owned by this closure.
        unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        io::Error::last_os_error()
    })
}
