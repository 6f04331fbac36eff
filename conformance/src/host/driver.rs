//! The subject's driver: a program that follows the suite's instructions with the host that is
//! judged.

use std::time::{Duration, Instant};

use plugwire_conformance_wire::process::{Cage, Exit, Running, Seen};
use plugwire_conformance_wire::trace::Trace;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::answer::{Answer, Said};

/// A driver that is performing its task.
#[derive(Debug)]
pub(super) struct Driver {
    running: Running,
    /// How much of its output was read as answers.
    read: usize,
    last: Instant,
}

/// What happened instead of an answer.
#[derive(Debug)]
pub(super) enum Break {
    /// The driver said that it cannot do this.
    Unimplemented(String),
    /// It printed something other than an answer.
    Nonsense(String),
    /// It ended.
    Ended(Option<Exit>),
}

/// The output limit of a driver: more than this is a flood, not answers.
const MOST: u64 = 4 << 20;
/// How long a driver may take to end, once it has closed its output.
const END: Duration = Duration::from_secs(3);
/// The exit status of a driver that cannot do what it should.
const UNIMPLEMENTED: i32 = 89;

impl Driver {
    /// Starts the driver and sends it the task.
    pub(super) async fn start(
        command: &[String],
        variables: impl IntoIterator<Item = (&String, &String)>,
        task: &Value,
        cage: &Cage,
        trace: &Trace,
    ) -> Result<Self, String> {
        let [program, arguments @ ..] = command else {
            return Err("the driver's command is empty".to_owned());
        };
        let mut command = cage.command(program);
        command.args(arguments).envs(variables).stdin(std::process::Stdio::piped());
        let task = format!("{task}\n");
        cage.note_replay(&command, Some(&cage.note_file("task.json", &task)));
        let mut running = Running::start(command, "driver", trace)
            .map_err(|error| format!("{program}: {error}"))?;
        trace.event("suite", format!("the driver's task: {task}"));
        if let Some(mut stdin) = running.stdin.take() {
            // If the driver exits without reading its task, its missing answers show that.
            tokio::spawn(async move { stdin.write_all(task.as_bytes()).await });
        }
        Ok(Self { running, read: 0, last: Instant::now() })
    }

    /// Waits for the answer to an operation. The budget of the case limits the wait.
    pub(super) async fn answer(&mut self, op: &str) -> Result<Answer, Break> {
        let line = self.line().await?;
        let took = self.last.elapsed();
        self.last = Instant::now();
        match Said::read(&line, op, took) {
            Ok(Said::Answer(answer)) => Ok(answer),
            Ok(Said::Unimplemented(what)) => Err(Break::Unimplemented(what)),
            Err(nonsense) => Err(Break::Nonsense(nonsense)),
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>, Break> {
        let from = self.read;
        let stdout = &self.running.stdout;
        let found = stdout.find(Duration::MAX, |seen| {
            // What was read of earlier answers is not looked at again.
            let seen = Seen { fresh: seen.fresh.max(from).min(seen.bytes.len()), ..seen };
            match seen.position(b'\n') {
                Some(end) => Some(Ok(seen.bytes[from..end].to_vec())),
                None if seen.bytes.len() as u64 >= MOST => {
                    Some(Err("it printed more than 4 MiB".to_owned()))
                }
                None => None,
            }
        });
        match found.await {
            Some(Ok(line)) => {
                self.read += line.len() + 1;
                Ok(line)
            }
            Some(Err(flood)) => Err(Break::Nonsense(flood)),
            None => Err(self.ended().await),
        }
    }

    /// Kills its process and returns whether it is gone.
    pub(super) async fn kill(&self) -> bool {
        self.running.signal(Signal::KILL) && self.running.exited(END).await.is_some()
    }

    /// Waits for its exit after the last answer. Fails with what it did instead.
    pub(super) async fn finish(&mut self, scale: u32) -> Result<(), String> {
        self.ends_with(0, scale).await
    }

    /// Waits for its exit after it has declined an operation.
    pub(super) async fn declined(&self, scale: u32) -> Result<(), String> {
        self.ends_with(UNIMPLEMENTED, scale).await
    }

    async fn ends_with(&self, code: i32, scale: u32) -> Result<(), String> {
        if !self.running.stdout.ends(END * scale).await {
            return Err("it goes on after its last answer".to_owned());
        }
        if self.running.stdout.total() > self.read as u64 {
            return Err("it printed more than its answers".to_owned());
        }
        match self.running.exited(END * scale).await {
            Some(exit) if exit.code() == Some(code) => Ok(()),
            Some(exit) => Err(format!("it ended with {exit}")),
            None => Err("it closed its output and lives on".to_owned()),
        }
    }

    async fn ended(&self) -> Break {
        let rest = &self.running.stdout.bytes()[self.read..];
        match rest.is_empty() {
            true => Break::Ended(self.running.exited(END).await),
            false => Break::Nonsense(format!("{:?} is no line", String::from_utf8_lossy(rest))),
        }
    }
}
