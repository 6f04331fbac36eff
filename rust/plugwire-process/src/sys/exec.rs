//! Executes a program as the system does it.
//!
//! `Command` looks for programs as a shell does, and several C libraries then hand what the system refuses to a shell:
//! a program for another machine would be read as a script. And it panics where a program cannot be executed while
//! somebody else waits for its process: a host that ignores SIGCHLD.

use std::ffi::{CString, OsStr};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use rustix::io::Errno;

/// What the shell's users know as "it could not be executed". Nobody sees it.
const NOT_EXECUTED: i32 = 127;

type Step = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

/// Makes what executes a path.
pub(super) type MakeExecution = Box<dyn Fn(&Path) -> io::Result<Execution> + Send>;

/// A command, and what its process does before it becomes the program.
pub(super) struct Execution {
    pub(super) command: Command,
    steps: Vec<Step>,
}

impl Execution {
    /// Of this path, with a cleared environment.
    pub(super) fn of(program: &Path) -> Self {
        let mut command = Command::new(program);
        command.env_clear();
        Self { command, steps: Vec::new() }
    }

    /// Adds a step.
    ///
    /// # Safety
    ///
    /// It runs between fork and exec, where only what is safe in a signal handler may be done: no memory, no locks.
    pub(super) unsafe fn before(
        &mut self,
        step: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) {
        self.steps.push(Box::new(step));
    }

    /// Begins in this folder. As a step: it may fail.
    pub(super) fn begin_in(&mut self, folder: &Path) -> io::Result<()> {
        let folder = CString::new(folder.as_os_str().as_bytes())?;
        // SAFETY: one system call; no memory, no locks.
        unsafe { self.before(move || Ok(rustix::process::chdir(&*folder)?)) };
        Ok(())
    }

    /// Executes the program, called `name`, after all steps. An error is a step's, or the system's about the program; no
    /// process is left of it.
    pub(super) fn spawn(self, name: &OsStr) -> io::Result<Child> {
        let Self { mut command, mut steps } = self;
        let (mut failure, mut failed) = io::pipe()?;
        let execute = directly(&command, name)?;
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
        // With it, this process's end of the pipe: what is left is the child's, which closes when it executes the program.
        drop(command);
        let mut number = [0; size_of::<i32>()];
        if failure.read_exact(&mut number).is_err() {
            return Ok(child);
        }
        // Somebody else may have waited for it.
        let _ = child.wait();
        Err(io::Error::from_raw_os_error(i32::from_ne_bytes(number)))
    }
}

/// A list as `execve` takes it. The addresses stay right when it moves: they are those of the strings' own memory.
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

/// Makes the call that executes a command's program. It returns only where it failed.
fn directly(
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
        // SAFETY: the three are lists and strings of C, made above, and live in this closure.
        unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        io::Error::last_os_error()
    })
}
