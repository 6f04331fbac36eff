//! A Rust host that does what the conformance suite asks. It reads one task as JSON from standard
//! input and prints one line of JSON for each step to standard output.
//!
//! `main` runs the steps, `session` is the host, `calls` holds what lies below a generated client,
//! `failure` translates failures into the contract's terms.

mod calls;
mod failure;
mod session;
mod task;

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::time::timeout;

use failure::Failure;
use session::Session;
use task::{Step, Task, TaskError};

const EXIT_UNIMPLEMENTED: u8 = 89;

/// The time a step may take beyond its own limit before it counts as hung.
const GRACE: Duration = Duration::from_secs(1);

/// The fields a step observed, whether it failed or not.
type Seen = Map<String, Value>;

#[tokio::main]
async fn main() -> ExitCode {
    match play().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(TaskError::Unimplemented { op, what }) => {
            say(&json!({ "op": op, "unimplemented": what }));
            ExitCode::from(EXIT_UNIMPLEMENTED)
        }
        Err(error) => {
            eprintln!("conformance-driver: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Performs the steps in order. An error concerns the task itself; plugin failures are in the
/// answers.
async fn play() -> Result<(), TaskError> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(TaskError::Unreadable)?;
    let task = Task::parse(&text)?;
    let mut session = Session::new(task.plugin);
    for step in &task.steps {
        let step = Step::parse(step)?;
        say(&perform(&mut session, &step).await);
    }
    Ok(())
}

/// Performs one step within its time limit.
async fn perform(session: &mut Session, step: &Step) -> Value {
    let began = Instant::now();
    let mut seen = Seen::new();
    let limit = session.limit(&step.op);
    let done = timeout(limit + GRACE, session.run(&step.op, &mut seen)).await;
    let done =
        done.unwrap_or_else(|_| Err(Failure::new("hung", "the host did not return in time")));
    let mut line =
        json!({ "op": step.name, "ok": done.is_ok(), "ms": milliseconds(began.elapsed()) });
    let fields = line.as_object_mut().expect("it is an object");
    fields.append(&mut seen);
    if let Err(failure) = done {
        fields.insert("error".to_owned(), failure.to_json());
    }
    line
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Prints one line. Errors are ignored: without a reader the line has no recipient.
fn say(line: &Value) {
    if let Err(error) = writeln!(std::io::stdout(), "{line}") {
        eprintln!("conformance-driver: {error}");
        std::process::exit(1);
    }
}
