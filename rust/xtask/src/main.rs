//! **Promise: internal.** `cargo xtask`: the project's own tasks. This program does not depend on the library, so that it
//! builds in a moment and also works while the library does not compile.

mod codegen;
mod conformance;
mod demo;
mod dependencies;
mod libtest;
mod machine;
mod plan;
mod programs;
mod schedule;
mod sdk_go;
mod soak;
mod steps;
mod test;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write the checked-in Rust code that is generated from proto/.
    Codegen {
        /// Only compare, and fail with the names of the files that differ.
        #[arg(long)]
        check: bool,
    },
    /// Judge real go-plugin and ours with the conformance suite, and show both on one page.
    Conformance,
    /// Show the greeter in all pairings of Go and Rust, plain and with mutual TLS.
    Demo,
    /// Run the long forms of the tests that have one.
    Soak {
        /// Leave out what needs Go.
        #[arg(long)]
        without_go: bool,
    },
    /// Check and test everything; the last line is the sum.
    Test {
        /// Leave out what takes long, for a run between two edits.
        #[arg(long)]
        quick: bool,
        /// Leave out what needs Go.
        #[arg(long)]
        without_go: bool,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(error) = source {
                eprintln!("  because: {error}");
                source = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode, Box<dyn Error>> {
    match task {
        Task::Codegen { check: true } => codegen::check()?,
        Task::Codegen { check: false } => codegen::write()?,
        Task::Conformance => conformance::run()?,
        Task::Demo => demo::run()?,
        Task::Soak { without_go } => soak::run(without_go)?,
        Task::Test { quick, without_go } => {
            return test::run(test::Options { without_go, quick });
        }
    }
    Ok(ExitCode::SUCCESS)
}
