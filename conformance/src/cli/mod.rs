//! The command line.

mod args;
mod interrupt;
mod mutants;
mod progress;
mod replay;
mod reports;
mod run;
mod show;

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use plugwire_conformance_report::model::Outcome;
use plugwire_conformance_wire::process::end_strays;

use args::{Args, Command};

/// An error before there was a verdict.
#[derive(Debug)]
enum Trouble {
    /// A mistake of the user: a wrong flag, file or name.
    Usage(String),
    /// A failure of the suite or the machine.
    Engine(String),
    /// Nothing was selected.
    Nothing,
    /// The user pressed Ctrl-C.
    Interrupted,
}

impl Trouble {
    fn usage(error: impl ToString) -> Self {
        Self::Usage(error.to_string())
    }

    fn engine(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Engine(format!("{what}: {error}"))
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Usage(_) => Outcome::Usage,
            Self::Engine(_) => Outcome::Engine,
            Self::Nothing => Outcome::NothingSelected,
            Self::Interrupted => Outcome::Interrupted,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Usage(text) | Self::Engine(text) => text,
            Self::Nothing => "no case is selected, so nothing is proved",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Runs the program. The exit status is that of an [`Outcome`].
pub fn main() -> ExitCode {
    let done = dispatch(Args::parse().command);
    // Whatever hid from its case's end.
    end_strays();
    let outcome = match done {
        Ok(code) => return code,
        Err(trouble) => {
            note(&format!("error: {}", trouble.text()));
            trouble.outcome()
        }
    };
    ExitCode::from(outcome.code())
}

/// Prints the requested output. A closed pipe, as with `head`, is not an error; a full disk is.
fn say(text: &str) -> Result<(), Trouble> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Trouble::engine("cannot write to standard output", error))
        }
        _ => Ok(()),
    }
}

/// Prints a remark on standard error, if it can be written.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn dispatch(command: Command) -> Result<ExitCode, Trouble> {
    match command {
        Command::Plugin(plugin) => run::plugin(&plugin),
        Command::Host(host) => run::host(&host),
        Command::Run(one) => run::one(&one),
        Command::Mutants(which) => mutants::check(&which),
        Command::List(list) => show::list(&list),
        Command::Explain(explain) => show::explain(&explain),
        Command::Report(report) => reports::combine(&report),
        Command::Schema { name } => show::schema(&name),
        Command::ScriptedPlugin { mutant, tcp, versions } => {
            mutants::scripted_plugin(mutant.as_deref(), tcp, versions)
        }
        Command::ScriptedHost { flaw } => mutants::scripted_host(flaw.as_deref()),
    }
}
