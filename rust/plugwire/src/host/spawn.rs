//! How a plugin comes to be: as a process of this machine, or by a runner.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use rustix::io::Errno;
use tokio::time::{Instant, timeout_at};

use super::error::{Evidence, StartError, TimeoutStep};
use super::exec::{Execution, MakeExecution};
use super::launch::Launch;
use super::logs::{self, SharedTail};
use super::runner::{Output, Plan, Runner};
use super::start;
use super::supervise::{Attended, Process, Program, Terms};
use super::system;
use super::verify::Image;
use crate::net::AddrTranslator;
use crate::net::group_id;
use crate::net::private_dir::PrivateFolder;

pub(super) type Begun = (Process, Output, Option<Arc<dyn AddrTranslator>>);

/// As a process of this machine.
pub(super) async fn spawn(
    launch: &mut Launch,
    image: Image,
    variables: BTreeMap<OsString, OsString>,
    withheld: usize,
    folder: PrivateFolder,
    deadline: Instant,
) -> Result<Begun, StartError> {
    // Ctrl-C in a terminal is for the host, which then ends the plugin; and the plugin's children end with it. But the
    // terminal would stop a plugin of another group that reads from it.
    let leads_group = !launch.inherit_stdin;
    let sockets = launch.socket_group.as_deref().map(group_id).transpose();
    let sockets = sockets.map_err(start::machine("looking up the socket group"))?;
    let named = image.program().to_owned();
    let arg0 = launch.program.clone().into_os_string();
    let execution = execution(launch, variables, leads_group, sockets);
    let program = Program { image, arg0, execution };
    let terms = Terms { folder, leads_group, stderr: stderr_reader(launch) };
    let starting = Process::start(program, terms, launch.outlives_host);
    match timeout_at(deadline, starting).await {
        Ok(Ok((process, stdout))) => Ok((process, Box::pin(stdout), None)),
        Ok(Err(cause)) => Err(not_spawned(cause, launch, &named, withheld).await),
        Err(_) => {
            let (limit, step) = (launch.limits.start, TimeoutStep::Execution);
            let evidence = Evidence { program: named, withheld, ..Evidence::default() };
            Err(StartError::Timeout { limit, step, evidence: Box::new(evidence) })
        }
    }
}

/// Makes what executes a path. `sockets` is the group that goes with the sockets.
fn execution(
    launch: &Launch,
    variables: BTreeMap<OsString, OsString>,
    leads_group: bool,
    sockets: Option<u32>,
) -> MakeExecution {
    let (arguments, directory) = (launch.arguments.clone(), launch.directory.clone());
    let (confinement, inherit_stdin) = (launch.confinement.clone(), launch.inherit_stdin);
    Box::new(move |path| {
        let mut execution = Execution::of(path);
        execution
            .command
            .args(&arguments)
            .envs(&variables)
            .stdin(if inherit_stdin { Stdio::inherit() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if leads_group {
            execution.command.process_group(0);
        }
        if let Some(directory) = &directory {
            execution.begin_in(directory)?;
        }
        keep_the_hosts_descriptors(&mut execution, confinement.is_other_user());
        confinement.apply(&mut execution, sockets);
        Ok(execution)
    })
}

/// What this process has open without the flag that closes it at exec is not the plugin's: what a service manager passed, what a C
/// library opened. It comes before the confinement, which may forbid to open anything, and before all that gives the
/// plugin a descriptor. Where the system cannot do that, a plugin of this user starts all the same.
fn keep_the_hosts_descriptors(execution: &mut Execution, insist: bool) {
    let keep = move || match system::keep_only_standard_descriptors() {
        Err(error) if insist => Err(error),
        _ => Ok(()),
    };
    // SAFETY: system calls on a buffer on the stack; no memory, no locks.
    unsafe { execution.before(keep) };
}

/// As the user's runner does it.
pub(super) async fn run(
    launch: &mut Launch,
    runner: &dyn Runner,
    variables: BTreeMap<OsString, OsString>,
    withheld: usize,
    folder: PrivateFolder,
    deadline: Instant,
) -> Result<Begun, StartError> {
    let plan = Plan {
        program: launch.program.clone(),
        arguments: launch.arguments.clone(),
        variables,
        directory: launch.directory.clone(),
        socket_folder: folder.path().to_owned(),
    };
    let evidence =
        || Box::new(Evidence { program: plan.program.clone(), withheld, ..Evidence::default() });
    let started = match timeout_at(deadline, runner.start(plan.clone())).await {
        Ok(Ok(started)) => started,
        Ok(Err(cause)) => return Err(StartError::Spawn { cause, evidence: evidence() }),
        Err(_) => {
            let (limit, step) = (launch.limits.start, TimeoutStep::Runner);
            return Err(StartError::Timeout { limit, step, evidence: evidence() });
        }
    };
    let attended = Attended { id: started.id, running: started.running, stderr: started.stderr };
    let process = Process::attend(attended, stderr_reader(launch), folder);
    Ok((process, started.stdout, started.translate))
}

/// The system's error is the same for a program and for a working directory that cannot be used.
async fn not_spawned(
    cause: io::Error,
    launch: &Launch,
    program: &Path,
    withheld: usize,
) -> StartError {
    if let Some(directory) = &launch.directory
        && !start::is_folder(directory).await
    {
        let directory = directory.display();
        return StartError::Configuration(format!(
            "its working directory {directory} is no folder"
        ));
    }
    let refused = cause.raw_os_error() == Some(Errno::PERM.raw_os_error());
    if refused && !launch.confinement.is_empty() {
        let why =
            "the system refuses a limit or the user (`Launch::confine`): this host may not set it";
        return StartError::Configuration(why.to_owned());
    }
    let executable = start::examine(program).await;
    let program = program.to_owned();
    let evidence = Evidence { program, executable, withheld, ..Evidence::default() };
    StartError::Spawn { cause, evidence: Box::new(evidence) }
}

fn stderr_reader(launch: &mut Launch) -> logs::Reader {
    logs::Reader {
        plugin: start::name(launch),
        sink: launch.output.log.clone(),
        raw: launch.output.raw_stderr.take(),
        longest_line: launch.output.longest_line,
        tail: SharedTail::default(),
    }
}
