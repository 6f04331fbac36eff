//! The tasks that read one plugin's pipes.

use std::io;
use std::process::Child;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::process::{ChildStderr, ChildStdout};
use tokio::runtime::Handle;
use tokio::task::{JoinSet, unconstrained};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::lock;
use crate::host::logs;

/// How long the readers wait for the pipes' ends once the process has ended. Somebody who left the process group may hold
/// them open for ever.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How long a busy runtime may take to read what lies in the pipes by then.
const READ: Duration = Duration::from_secs(5);

/// The tasks that read one process's pipes.
pub(super) struct Readers {
    tasks: Mutex<Option<Tasks>>,
    /// Who waits for the last words, as long as there is a task that reads them.
    reading: Weak<mpsc::Sender<()>>,
}

struct Tasks {
    tasks: JoinSet<()>,
    /// Each task has a copy, so the receiver hears of the last one's end.
    reading: Arc<mpsc::Sender<()>>,
    /// Nothing more will come.
    over: CancellationToken,
}

impl Readers {
    /// The receiver hears of the last reader's end.
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<()>) {
        let (reading, read) = mpsc::channel();
        let reading = Arc::new(reading);
        let readers = Self {
            reading: Arc::downgrade(&reading),
            tasks: Mutex::new(Some(Tasks {
                tasks: JoinSet::new(),
                reading,
                over: CancellationToken::new(),
            })),
        };
        (Arc::new(readers), read)
    }

    /// Reads standard error, and hands out standard output.
    pub(super) fn read(
        &self,
        child: &mut Child,
        stderr: logs::Reader,
        runtime: &Handle,
    ) -> io::Result<ChildStdout> {
        let _inside = runtime.enter();
        let pipe = ChildStderr::from_std(child.stderr.take().expect("it is piped"))?;
        self.spawn(stderr.run(pipe), runtime);
        ChildStdout::from_std(child.stdout.take().expect("it is piped"))
    }

    pub(super) fn spawn(
        &self,
        reader: impl Future<Output = ()> + Send + 'static,
        runtime: &Handle,
    ) {
        if let Some(Tasks { tasks, reading, over }) = &mut *lock(&self.tasks) {
            let (reading, over) = (reading.clone(), over.clone());
            let reader = async move {
                // Unconstrained: a reader for whom there is always more leaves no budget for anybody else of its task.
                let over = unconstrained(async {
                    over.cancelled().await;
                    // A runtime looks at its pipes before it looks at its clock: the reader has what lay there before this ends.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                });
                tokio::select! {
                    biased;
                    () = reader => {}
                    () = over => {}
                }
                drop(reading);
            };
            tasks.spawn_on(reader, runtime);
        }
    }

    /// Nobody will read any more, and nobody needs to wait for it.
    pub(super) fn give_up(&self) {
        drop(lock(&self.tasks).take());
        if let Some(reading) = self.reading.upgrade() {
            let _ = reading.send(());
        }
    }

    /// Lets them read what is left, for a moment.
    pub(super) fn finish(&self, read: &mpsc::Receiver<()>) {
        let Some(Tasks { tasks, reading, over }) = lock(&self.tasks).take() else { return };
        drop(reading);
        if read.recv_timeout(LAST_WORDS) == Err(RecvTimeoutError::Timeout) {
            over.cancel();
            let _ = read.recv_timeout(READ);
        }
        drop(tasks);
    }

    /// The same where waiting is awaiting.
    pub(super) async fn finished(&self) {
        let Some(Tasks { mut tasks, over, .. }) = lock(&self.tasks).take() else { return };
        let mut all = async || while tasks.join_next().await.is_some() {};
        if timeout(LAST_WORDS, all()).await.is_err() {
            over.cancel();
            let _ = timeout(READ, all()).await;
        }
    }
}
