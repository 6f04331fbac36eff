//! Executes a program as the system does it.
//!
//! `Command` looks for programs as a shell does, and several C libraries then hand what the system refuses to a shell:
//! a program for another machine would be read as a script.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A list as `execve` takes it. The addresses stay right when it moves: they are those of the strings' own memory.
struct List {
    _strings: Vec<CString>,
    addresses: Vec<usize>,
}

impl List {
    fn new(strings: impl Iterator<Item = Vec<u8>>) -> io::Result<Self> {
        let strings: Vec<CString> =
            strings.map(CString::new).collect::<Result<_, _>>().map_err(io::Error::other)?;
        let end = 0;
        let addresses =
            strings.iter().map(|string| string.as_ptr().expose_provenance()).chain([end]).collect();
        Ok(Self { _strings: strings, addresses })
    }

    fn as_ptr(&self) -> *const *const libc::c_char {
        self.addresses.as_ptr().cast()
    }
}

/// Lets the command execute its program by a call of its own, after all that was prepared so far. Its environment must
/// have been cleared first.
pub(super) fn directly(command: &mut Command, name: &OsStr) -> io::Result<()> {
    let program = CString::new(command.get_program().as_bytes()).map_err(io::Error::other)?;
    let arguments = [name].into_iter().chain(command.get_args());
    let arguments = List::new(arguments.map(|argument| argument.as_bytes().to_vec()))?;
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let environment =
        List::new(set.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()))?;
    let execute = move || {
        // SAFETY: the three are lists and strings of C, made above, and live in this closure.
        unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        // It returns only where it failed.
        Err(io::Error::last_os_error())
    };
    // SAFETY: one system call; no memory, no locks.
    unsafe { command.pre_exec(execute) };
    Ok(())
}
