//! The command line.

use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};

/// Judges implementations of go-plugin's gRPC protocol, plugins and hosts, by the clauses of its specification.
///
/// Exit status: 0 conformant, 1 not conformant, 2 a mistake on the command line or in a file, 3 no verdict because the
/// suite itself failed, 4 nothing was selected, 130 interrupted.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Judge a plugin. The suite acts as its host.
    Plugin(Plugin),
    /// Judge a host through a driver. The suite acts as its plugin.
    Host(Host),
    /// Run one case and show its whole timeline.
    Run(One),
    /// List the cases.
    List(List),
    /// Show what a case requires, by which clause, why, and how the suite tests it.
    Explain(Explain),
    /// Combine several runs that were written with --report jsonl=FILE.
    Report(Report),
    /// Test the suite itself: every case must reject each of its mutants.
    Mutants(Mutants),
    /// Print the JSON Schema of a file: plugin-cases, host-cases, subject, known.
    Schema {
        /// The kind of file.
        name: String,
    },
    /// Act as the suite's own plugin, healthy or one of the mutants.
    ScriptedPlugin {
        /// The mutant; `mutants --list plugin` prints their names.
        #[arg(long)]
        mutant: Option<String>,
        /// Listen on 127.0.0.1 instead of a unix socket.
        #[arg(long)]
        tcp: bool,
        /// The app protocol versions to serve.
        #[arg(long, value_name = "N,…", value_delimiter = ',')]
        versions: Vec<u32>,
    },
    /// Act as a driver of the suite's own host, healthy or with one flaw.
    ScriptedHost {
        /// The flaw; `mutants --list host` prints their names.
        #[arg(long)]
        flaw: Option<String>,
    },
}

/// The plugin to judge.
#[derive(Debug, Clone, Group)]
pub(super) struct PluginSubject {
    /// The magic cookie.
    #[arg(long, value_name = "KEY=VALUE", required_unless_present = "subject")]
    pub(super) cookie: Option<String>,
    /// An app protocol version that the plugin serves. Can be repeated. Default: 1.
    #[arg(long = "app-version", value_name = "N")]
    pub(super) app_versions: Vec<u32>,
    #[command(flatten)]
    pub(super) any: AnySubject,
    /// The plugin and its arguments. Each case has its own working directory, so an argument with a slash that names an
    /// existing file or directory is made absolute.
    #[arg(last = true, value_name = "PLUGIN", required_unless_present = "subject")]
    pub(super) command: Vec<String>,
}

/// The options that both roles share.
#[derive(Debug, Clone, Group)]
pub(super) struct AnySubject {
    /// A file that describes the subject, instead of flags.
    #[arg(long, value_name = "FILE")]
    pub(super) subject: Option<PathBuf>,
    /// A name for reports. Default: the name of the program.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// A feature that the subject has. Default for a plugin: what the suite detects; for a host: all features.
    #[arg(long = "feature", value_name = "NAME")]
    pub(super) features: Vec<String>,
    /// A feature that the subject lacks. Cases that need it are skipped and counted.
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

/// The host to judge.
#[derive(Debug, Clone, Group)]
pub(super) struct HostSubject {
    #[command(flatten)]
    pub(super) any: AnySubject,
    /// The driver and its arguments. Each case has its own working directory, so an argument with a slash that names an
    /// existing file or directory is made absolute.
    #[arg(last = true, value_name = "DRIVER", required_unless_present = "subject")]
    pub(super) command: Vec<String>,
}

#[derive(Debug, Group)]
pub(super) struct One {
    /// The case, with `plugin:` or `host:` in front if both roles have a case of that name.
    pub(super) case: String,
    /// For a plugin: the magic cookie.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) cookie: Option<String>,
    /// For a plugin: an app protocol version that it serves. Can be repeated. Default: 1.
    #[arg(long = "app-version", value_name = "N")]
    pub(super) app_versions: Vec<u32>,
    #[command(flatten)]
    pub(super) any: AnySubject,
    /// Keep the case's directory: script, witness, sockets, and replay.sh, which starts the subject as the case did.
    #[arg(long)]
    pub(super) keep: bool,
    /// Multiply every budget and timeout, to leave time for a debugger.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) timeout_scale: u32,
    /// Use the cases in this directory instead of the built-in ones.
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) cases: Option<PathBuf>,
    /// When to use colour.
    #[arg(long, value_enum, default_value_t)]
    pub(super) color: Color,
    /// The plugin or driver, and its arguments, as for `plugin` and `host`.
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "subject")]
    pub(super) command: Vec<String>,
}

/// The options of a run.
#[derive(Debug, Clone, Group)]
pub(super) struct RunOptions {
    /// Run only cases that match; `*` matches any text. Can be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub(super) only: Vec<String>,
    /// Skip cases that match. Can be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub(super) skip: Vec<String>,
    /// Run only cases of this tier: black-box, probe, raw. Can be repeated.
    #[arg(long, value_enum, value_name = "TIER")]
    pub(super) tier: Vec<TierWord>,
    /// A list of known failures. A listed case that passes fails the run.
    #[arg(long, value_name = "FILE")]
    pub(super) known: Option<PathBuf>,
    /// Write the failures of this run to the file of --known. Refused in CI.
    #[arg(long, requires = "known")]
    pub(super) bless: bool,
    /// Count SHOULD and robustness cases as well.
    #[arg(long)]
    pub(super) strict: bool,
    /// Accept what the subject reports as unimplemented.
    #[arg(long)]
    pub(super) allow_unimplemented: bool,
    /// The number of cases at a time. Default: four per core.
    #[arg(long, short, value_name = "N")]
    pub(super) jobs: Option<usize>,
    /// Multiply every budget and timeout, for a slow machine.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) timeout_scale: u32,
    /// Shuffle the cases with this seed, or with a new one, which is printed.
    #[arg(long, value_name = "SEED", num_args = 0..=1)]
    pub(super) shuffle: Option<Option<u64>>,
    /// Repeat the whole run this many times.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) repeat: u32,
    /// Stop repeating after the first run that does not pass.
    #[arg(long)]
    pub(super) until_fail: bool,
    /// Write a report: jsonl=FILE, junit=FILE, html=FILE, markdown=FILE. Can be repeated.
    #[arg(long = "report", value_name = "KIND=FILE")]
    pub(super) reports: Vec<String>,
    /// Keep each case's directory.
    #[arg(long)]
    pub(super) keep: bool,
    /// Use the cases in this directory instead of the built-in ones.
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) cases: Option<PathBuf>,
    /// When to use colour.
    #[arg(long, value_enum, default_value_t)]
    pub(super) color: Color,
    /// Do not show progress.
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// When output has colour.
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
    /// Any plugin; only its cookie must be known.
    BlackBox,
    /// A plugin that serves the probe contract.
    Probe,
    /// Any plugin, tested below gRPC.
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
    /// Only the cases of this role.
    #[arg(value_enum)]
    pub(super) role: Option<RoleWord>,
    /// Print JSON with the complete header of each case.
    #[arg(long)]
    pub(super) json: bool,
    /// Use the cases in the subdirectories `plugin` and `host` of this directory instead of the built-in ones.
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) cases: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub(super) struct Explain {
    /// The case, with `plugin:` or `host:` in front if both roles have a case of that name.
    pub(super) case: String,
}

#[derive(Debug, Group)]
pub(super) struct Report {
    /// Runs in the form of JSON lines.
    #[arg(required = true, value_name = "JSONL")]
    pub(super) runs: Vec<PathBuf>,
    /// What to write: html=FILE, junit=FILE, markdown=FILE, jsonl=FILE. Can be repeated.
    #[arg(long = "report", value_name = "KIND=FILE", required = true)]
    pub(super) reports: Vec<String>,
    /// Write a section for every case, including those that passed.
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Debug, Group)]
pub(super) struct Mutants {
    /// Print the mutants and what each does wrong, and run nothing.
    #[arg(long, value_enum, value_name = "ROLE")]
    pub(super) list: Option<RoleWord>,
    /// Only the cases of this role.
    #[arg(long, value_enum)]
    pub(super) role: Option<RoleWord>,
    /// Run only cases that match.
    #[arg(long, value_name = "PATTERN")]
    pub(super) only: Vec<String>,
    /// Run only the first mutant of each case.
    #[arg(long)]
    pub(super) one: bool,
    /// The number of cases at a time. Default: eight per core.
    #[arg(long, short, value_name = "N")]
    pub(super) jobs: Option<usize>,
    /// Multiply every budget and timeout.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) timeout_scale: u32,
    /// Do not show progress.
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Write where each mutant was rejected, as TOML by role and case.
    #[arg(long, value_name = "FILE")]
    pub(super) caught: Option<PathBuf>,
    /// Write the table as Markdown.
    #[arg(long, value_name = "FILE")]
    pub(super) markdown: Option<PathBuf>,
}
