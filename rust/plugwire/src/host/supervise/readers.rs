//! The tasks that read one plugin's pipes.

use std::io;
use std::process::Child;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tokio::process::{ChildStderr, ChildStdout};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::lock;
use crate::host::logs;

/// How long the readers get to take what is left in the pipes once the process has ended. Somebody who left the
/// process group may hold them open for ever.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// The tasks that read one process's pipes.
pub(super) struct Readers(Mutex<Option<(JoinSet<()>, mpsc::Sender<()>)>>);

impl Readers {
    /// The receiver hears of the last reader's end.
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<()>) {
        let (reading, read) = mpsc::channel();
        (Arc::new(Self(Mutex::new(Some((JoinSet::new(), reading))))), read)
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
        if let Some((tasks, reading)) = &mut *lock(&self.0) {
            let reading = reading.clone();
            let reader = async move {
                reader.await;
                drop(reading);
            };
            tasks.spawn_on(reader, runtime);
        }
    }

    /// Nobody will read any more.
    pub(super) fn give_up(&self) {
        drop(lock(&self.0).take());
    }

    /// Lets them read what is left, for a moment.
    pub(super) fn finish(&self, read: &mpsc::Receiver<()>) {
        let Some((tasks, reading)) = lock(&self.0).take() else { return };
        drop(reading);
        let _ = read.recv_timeout(LAST_WORDS);
        drop(tasks);
    }

    /// The same where waiting is awaiting.
    pub(super) async fn finished(&self) {
        let Some((mut tasks, _)) = lock(&self.0).take() else { return };
        let all = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
    }
}
