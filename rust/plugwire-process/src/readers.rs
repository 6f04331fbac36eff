//! The tasks that read one process's pipes.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::{JoinSet, unconstrained};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long the readers wait for the ends of the pipes once the process has ended. A descendant that left the process group
/// may hold them open forever.
const LAST_OUTPUT: Duration = Duration::from_millis(250);
/// How long a busy runtime may take to read what is in the pipes by then.
const READ: Duration = Duration::from_secs(5);

/// The tasks that read one process's output. When the process has ended they get a limited time to read the rest.
///
/// [`Command`](crate::Command) uses it for the processes that it starts; use it directly to read a process that was started
/// by other means.
#[derive(Debug)]
pub struct OutputReaders {
    tasks: Mutex<Option<Tasks>>,
    /// Signals that the last output was read, as long as a task is reading.
    reading: Weak<mpsc::Sender<()>>,
}

#[derive(Debug)]
struct Tasks {
    tasks: JoinSet<()>,
    /// Each task has a clone, so the receiver is disconnected when the last one ends.
    reading: Arc<mpsc::Sender<()>>,
    /// Cancelled when no more output is to be waited for.
    over: CancellationToken,
}

impl Default for OutputReaders {
    fn default() -> Self {
        Self::new().0
    }
}

impl OutputReaders {
    /// Returns the readers, and a receiver that is disconnected when the last of them ends.
    pub(crate) fn new() -> (Self, mpsc::Receiver<()>) {
        let (reading, all_read) = mpsc::channel();
        let reading = Arc::new(reading);
        let readers = Self {
            reading: Arc::downgrade(&reading),
            tasks: Mutex::new(Some(Tasks {
                tasks: JoinSet::new(),
                reading,
                over: CancellationToken::new(),
            })),
        };
        (readers, all_read)
    }

    /// Spawns a task that reads one of the pipes to its end. Must be called inside a tokio runtime. After
    /// [`OutputReaders::finish`] it does nothing.
    pub fn spawn(&self, reader: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(reader, &Handle::current());
    }

    pub(crate) fn spawn_on(
        &self,
        reader: impl Future<Output = ()> + Send + 'static,
        runtime: &Handle,
    ) {
        if let Some(Tasks { tasks, reading, over }) = &mut *self.tasks.lock() {
            let (reading, over) = (reading.clone(), over.clone());
            let reader = async move {
                // Unconstrained: a reader that always finds more to read leaves no budget for the rest of its task.
                let over = unconstrained(async {
                    over.cancelled().await;
                    // A runtime polls its pipes before its timers: what is in the pipe was read before this ends.
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

    /// Drops the tasks, without waiting for them: their runtime is shutting down.
    pub(crate) fn abandon(&self) {
        drop(self.tasks.lock().take());
        if let Some(reading) = self.reading.upgrade() {
            let _ = reading.send(());
        }
    }

    /// Does what [`OutputReaders::finish`] does on a thread outside the runtime.
    pub(crate) fn finish_blocking(&self, all_read: &mpsc::Receiver<()>) {
        let Some(Tasks { tasks, reading, over }) = self.tasks.lock().take() else { return };
        drop(reading);
        if all_read.recv_timeout(LAST_OUTPUT) == Err(RecvTimeoutError::Timeout) {
            over.cancel();
            let _ = all_read.recv_timeout(READ);
        }
        drop(tasks);
    }

    /// Lets the tasks read what is left once the process has ended: for 250 ms, since a descendant may hold the pipes open,
    /// and for 5 s more if a busy runtime needs that long for what is in them already. Then ends the tasks.
    pub async fn finish(&self) {
        let Some(Tasks { mut tasks, over, .. }) = self.tasks.lock().take() else { return };
        let mut all = async || while tasks.join_next().await.is_some() {};
        if timeout(LAST_OUTPUT, all()).await.is_err() {
            over.cancel();
            let _ = timeout(READ, all()).await;
        }
    }
}
