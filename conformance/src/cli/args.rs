//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};

/// Judges any implementation of go-plugin's gRPC protocol, plugin or host, by the clauses of its specification.
///
/// Exit status: 0 conformant, 1 not, 2 a mistake on the command line or in a file, 3 the suite could not do its job,
/// 4 nothing was selected, 130 interrupted.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Judge a plugin: the suite is its host.
    Plugin(Plugin),
    /// Judge a host, through a driver: the suite is its plugin.
    Host(Host),
    /// Play one case and show all that was seen.
    Run(One),
    /// List the cases.
    List(List),
    /// Say what a case requires, by which clause, why, and how it is tried.
    Explain(Explain),
    /// Put several runs, written with --report jsonl=FILE, beside each other.
    Report(Report),
    /// Judge the suite: every case must reject each of its mutants.
    Mutants(Mutants),
    /// Print the JSON Schema of a file: plugin-cases, host-cases, subject, known.
    Schema {
        /// Which.
        name: String,
    },
    /// Be the suite's own plugin, healthy or one of the mutants.
    ScriptedPlugin {
        /// Its name; `mutants --list plugin` prints them.
        #[arg(long)]
        mutant: Option<String>,
        /// Listen on 127.0.0.1 in place of a unix socket.
        #[arg(long)]
        tcp: bool,
        /// The app versions that it serves.
        #[arg(long, value_name = "N,…", value_delimiter = ',')]
        versions: Vec<u32>,
    },
    /// Be a driver of the suite's own host, healthy or with one flaw.
    ScriptedHost {
        /// Its name; `mutants --list host` prints them.
        #[arg(long)]
        flaw: Option<String>,
    },
}

/// Who is judged, as plugin.
#[derive(Debug, Clone, Group)]
pub(super) struct PluginSubject {
    /// The magic cookie.
    #[arg(long, value_name = "KEY=VALUE", required_unless_present = "subject")]
    pub(super) cookie: Option<String>,
    /// An app protocol version that the plugin serves; may be given again. Default: 1.
    #[arg(long = "app-version", value_name = "N")]
    pub(super) app_versions: Vec<u32>,
    #[command(flatten)]
    pub(super) any: AnySubject,
    /// The plugin and its arguments. Cases have working directories of their own: an argument with a slash that names a file
    /// or a folder is made absolute.
    #[arg(last = true, value_name = "PLUGIN", required_unless_present = "subject")]
    pub(super) command: Vec<String>,
}

/// What both roles' subjects have.
#[derive(Debug, Clone, Group)]
pub(super) struct AnySubject {
    /// A file that describes the subject, in place of flags.
    #[arg(long, value_name = "FILE")]
    pub(super) subject: Option<PathBuf>,
    /// A name for reports. Default: the program's.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Says that the subject can do this. Default for a plugin: what it shows by itself; for a host: everything.
    #[arg(long = "feature", value_name = "NAME")]
    pub(super) features: Vec<String>,
    /// Says that it cannot do this: the cases that need it are skipped and counted.
    #[arg(long = "without", value_name = "NAME")]
    pub(super) without: Vec<String>,
}

#[derive(Debug, Group)]
pub(super) struct Plugin {
    #[command(flatten)]
    pub(super) run: RunOptions,
    #[command(flatten)]
    pub(super) subject: PluginSubject,
}

#[derive(Debug, Group)]
pub(super) struct Host {
    #[command(flatten)]
    pub(super) run: RunOptions,
    #[command(flatten)]
    pub(super) subject: HostSubject,
}

/// Who is judged, as host.
#[derive(Debug, Clone, Group)]
pub(super) struct HostSubject {
    #[command(flatten)]
    pub(super) any: AnySubject,
    /// The driver and its arguments. Cases have working directories of their own: an argument with a slash that names a file
    /// or a folder is made absolute.
    #[arg(last = true, value_name = "DRIVER", required_unless_present = "subject")]
    pub(super) command: Vec<String>,
}

#[derive(Debug, Group)]
pub(super) struct One {
    /// The case's name; `plugin:` or `host:` in front where both roles have one of that name.
    pub(super) case: String,
    /// For a plugin: the magic cookie.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) cookie: Option<String>,
    /// For a plugin: an app protocol version that it serves; may be given again. Default: 1.
    #[arg(long = "app-version", value_name = "N")]
    pub(super) app_versions: Vec<u32>,
    #[command(flatten)]
    pub(super) any: AnySubject,
    /// Let the case's folder stay: script, witness, sockets, and replay.sh, which starts the subject as the case did.
    #[arg(long)]
    pub(super) keep: bool,
    /// Multiply every budget and wait, for a debugger.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) timeout_scale: u32,
    /// Take the cases of this folder in place of the built-in ones.
    #[arg(long, value_name = "FOLDER")]
    pub(super) cases: Option<PathBuf>,
    /// Colour.
    #[arg(long, value_enum, default_value_t)]
    pub(super) color: Color,
    /// The plugin or driver, and its arguments, as for `plugin` and `host`.
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "subject")]
    pub(super) command: Vec<String>,
}

/// How a run is made and shown.
#[derive(Debug, Clone, Group)]
pub(super) struct RunOptions {
    /// Only cases that match; `*` is any text. May be given again.
    #[arg(long, value_name = "PATTERN")]
    pub(super) only: Vec<String>,
    /// No cases that match.
    #[arg(long, value_name = "PATTERN")]
    pub(super) skip: Vec<String>,
    /// Only cases of this tier: black-box, probe, raw. May be given again.
    #[arg(long, value_enum, value_name = "TIER")]
    pub(super) tier: Vec<TierWord>,
    /// Known failures, strictly: what is listed and passes fails the run.
    #[arg(long, value_name = "FILE")]
    pub(super) known: Option<PathBuf>,
    /// Write the failures of this run into --known's file. Not in CI.
    #[arg(long, requires = "known")]
    pub(super) bless: bool,
    /// SHOULD and robustness count, too.
    #[arg(long)]
    pub(super) strict: bool,
    /// What the subject says it does not implement is all right.
    #[arg(long)]
    pub(super) allow_unimplemented: bool,
    /// Cases at a time. Default: the number of cores.
    #[arg(long, short, value_name = "N")]
    pub(super) jobs: Option<usize>,
    /// Multiply every budget and wait, on a slow machine.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) timeout_scale: u32,
    /// Play the cases in another order: that of a seed, or a new one, which is printed.
    #[arg(long, value_name = "SEED", num_args = 0..=1)]
    pub(super) shuffle: Option<Option<u64>>,
    /// Play the whole run so often.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) repeat: u32,
    /// Stop repeating at the first run that does not pass.
    #[arg(long)]
    pub(super) until_fail: bool,
    /// Write a report: jsonl=FILE, junit=FILE, html=FILE, markdown=FILE. May be given again.
    #[arg(long = "report", value_name = "KIND=FILE")]
    pub(super) reports: Vec<String>,
    /// Let each case's folder stay.
    #[arg(long)]
    pub(super) keep: bool,
    /// Take the cases of this folder in place of the built-in ones.
    #[arg(long, value_name = "FOLDER")]
    pub(super) cases: Option<PathBuf>,
    /// Colour.
    #[arg(long, value_enum, default_value_t)]
    pub(super) color: Color,
    /// No progress.
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// When there is colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TierWord {
    /// Any plugin and its cookie.
    BlackBox,
    /// A plugin that serves the probe contract.
    Probe,
    /// From below gRPC.
    Raw,
}

/// A role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RoleWord {
    /// The subject is a plugin.
    Plugin,
    /// The subject is a host.
    Host,
}

#[derive(Debug, Group)]
pub(super) struct List {
    /// Only this role's.
    #[arg(value_enum)]
    pub(super) role: Option<RoleWord>,
    /// As JSON: everything that a case says of itself.
    #[arg(long)]
    pub(super) json: bool,
    /// Take the cases of this folder (with folders `plugin` and `host` in it) in place of the built-in ones.
    #[arg(long, value_name = "FOLDER")]
    pub(super) cases: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub(super) struct Explain {
    /// The case's name; `plugin:` or `host:` in front where both roles have one of that name.
    pub(super) case: String,
}

#[derive(Debug, Group)]
pub(super) struct Report {
    /// Runs as JSON lines.
    #[arg(required = true, value_name = "JSONL")]
    pub(super) runs: Vec<PathBuf>,
    /// What to write: html=FILE, junit=FILE, markdown=FILE, jsonl=FILE. May be given again.
    #[arg(long = "report", value_name = "KIND=FILE", required = true)]
    pub(super) reports: Vec<String>,
    /// A section for every case, also for those that passed.
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Debug, Group)]
pub(super) struct Mutants {
    /// Print the names and what each does wrong, and try nothing.
    #[arg(long, value_enum, value_name = "ROLE")]
    pub(super) list: Option<RoleWord>,
    /// Only this role's.
    #[arg(long, value_enum)]
    pub(super) role: Option<RoleWord>,
    /// Only cases that match.
    #[arg(long, value_name = "PATTERN")]
    pub(super) only: Vec<String>,
    /// One mutant for each case in place of all.
    #[arg(long)]
    pub(super) one: bool,
    /// Cases at a time. Default: the number of cores.
    #[arg(long, short, value_name = "N")]
    pub(super) jobs: Option<usize>,
    /// Multiply every budget and wait.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) timeout_scale: u32,
    /// No progress.
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Write down where each was rejected, in the form of mutants/caught.toml.
    #[arg(long, value_name = "FILE")]
    pub(super) caught: Option<PathBuf>,
    /// Write the table as Markdown.
    #[arg(long, value_name = "FILE")]
    pub(super) markdown: Option<PathBuf>,
}
