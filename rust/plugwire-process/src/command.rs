//! What to start, and how.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use tokio::process::ChildStderr;

use crate::spawn_error::{SpawnError, SpawnStep};
use crate::sys;
use crate::sys::exec::{Execution, nothing, pipe};
use crate::{Confinement, Image, PrivateDir, StderrTail};

/// Reads a process's standard error to its end.
pub(crate) type StderrReader =
    Box<dyn FnOnce(ChildStderr, StderrTail) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A program to start as a child process that cannot outlive this one.
///
/// The process leads a process group of its own, and the group is killed when its leader has ended. It inherits nothing:
/// its environment is empty, its standard input is empty, and on Linux it gets no descriptors besides the standard three.
/// Its standard output is a pipe for the caller; its standard error is read, and its end is shown in
/// [`Exit::stderr`](crate::Exit::stderr).
#[must_use = "nothing is started before `spawn`"]
pub struct Command {
    pub(crate) prepared: Prepared,
    pub(crate) dir: Option<PrivateDir>,
    pub(crate) stderr: StderrReader,
    pub(crate) outlives_parent: bool,
}

impl Command {
    /// Prepares to start a program: a path, which is not looked up in `PATH`, or a [verified](crate::Verification) image.
    /// A relative path is relative to [`Command::current_dir`].
    pub fn new(program: impl Into<Image>) -> Self {
        let image = program.into();
        Self {
            prepared: Prepared {
                arg0: image.program().to_owned().into(),
                image,
                arguments: Vec::new(),
                variables: BTreeMap::new(),
                current_dir: None,
                leads_group: true,
                confinement: Confinement::default(),
                group: None,
            },
            dir: None,
            stderr: Box::new(|pipe, tail| Box::pin(tail.read(pipe))),
            outlives_parent: false,
        }
    }

    /// Sets `argv[0]`. Default: the program's path.
    pub fn arg0(mut self, name: impl Into<OsString>) -> Self {
        self.prepared.arg0 = name.into();
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.prepared.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds environment variables. Default: the environment is empty.
    pub fn envs<N: Into<OsString>, V: Into<OsString>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.prepared.variables.extend(variables);
        self
    }

    /// Sets the working directory. Default: this process's.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.prepared.current_dir = Some(directory.into());
        self
    }

    /// Passes this process's standard input on. Default: standard input is empty.
    ///
    /// The process then stays in this process's group, because a terminal stops processes of other groups that read from
    /// it. Ctrl-C reaches it, and its children are not ended with it.
    pub fn inherit_stdin(mut self) -> Self {
        self.prepared.leads_group = false;
        self
    }

    /// Sets limits. Default: none.
    pub fn confine(mut self, confinement: Confinement) -> Self {
        self.prepared.confinement = confinement;
        self
    }

    /// Ties a private directory to the process: it is removed once the process has ended. Default: none. The group of the
    /// directory, if it has one, becomes a supplementary group of a process that [`Confinement::user`] runs as another user.
    pub fn private_dir(mut self, dir: PrivateDir) -> Self {
        self.prepared.group = dir.group();
        self.dir = Some(dir);
        self
    }

    /// Reads standard error in this way. The reader should [push](StderrTail::push) each line to the tail. It must read to
    /// the end, or the process blocks once the pipe is full. Default: [`StderrTail::read`].
    pub fn stderr<F: Future<Output = ()> + Send + 'static>(
        mut self,
        read: impl FnOnce(ChildStderr, StderrTail) -> F + Send + 'static,
    ) -> Self {
        // The caller's code runs inside the task that reads: a panic in it ends that task alone.
        self.stderr = Box::new(move |pipe, tail| Box::pin(async move { read(pipe, tail).await }));
        self
    }

    /// Lets the process continue when this one ends or its runtime shuts down. Default: it is killed with its group.
    ///
    /// The process then owns its private directory, and holds a reading end of its own standard output.
    pub fn outlive_parent(mut self) -> Self {
        self.outlives_parent = true;
        self
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.prepared.image.program())
            .field("arguments", &self.prepared.arguments)
            .finish_non_exhaustive()
    }
}

/// What is executed. Its program may be tried by several paths, so each attempt makes an [`Execution`] of its own.
pub(crate) struct Prepared {
    pub(crate) image: Image,
    pub(crate) arg0: OsString,
    pub(crate) leads_group: bool,
    arguments: Vec<OsString>,
    variables: BTreeMap<OsString, OsString>,
    current_dir: Option<PathBuf>,
    pub(crate) confinement: Confinement,
    /// The group of the private directory.
    group: Option<u32>,
}

impl Prepared {
    /// Prepares an attempt to execute the program by this path, with the other ends of its standard output and error.
    pub(crate) fn execution(&self, path: &Path) -> Result<(Execution, Pipes), SpawnError> {
        let arguments = [&self.arg0].into_iter().chain(&self.arguments).map(OsString::as_os_str);
        let variables =
            self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        let mut execution = Execution::new(path, arguments, variables)?;
        let ((stdout, output), (stderr, errors)) = (pipe()?, pipe()?);
        execution.stdout(output);
        execution.stderr(errors);
        if self.leads_group {
            execution.stdin(nothing()?);
            // Ctrl-C in a terminal is for the parent, which then ends the process and its children.
            execution.lead_group();
        }
        if let Some(directory) = &self.current_dir {
            execution.change_dir(directory)?;
        }
        close_inherited_descriptors(&mut execution, self.confinement.changes_user());
        self.confinement.apply(&mut execution, self.group);
        Ok((execution, Pipes { stdout, stderr }))
    }
}

/// The reading ends of a process's output.
pub(crate) struct Pipes {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Marks every inherited descriptor `CLOEXEC`: those that a service manager passed, or that a C library opened. This comes
/// before the confinement, which may forbid to open anything, and before the steps that give the process a descriptor. If the
/// system cannot do that, the process starts anyway, unless it runs as another user.
fn close_inherited_descriptors(execution: &mut Execution, required: bool) {
    let close = move || match sys::keep_only_standard_descriptors() {
        Err(error) if required => Err(error),
        _ => Ok(()),
    };
    // SAFETY: system calls on a buffer on the stack; no allocation, no locks.
    unsafe { execution.before_exec(SpawnStep::Descriptors, close) };
}
