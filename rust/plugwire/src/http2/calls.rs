//! Counts calls under way, so that who ends a connection can wait for them.

use std::time::Duration;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The calls of a connection, or of all connections of a server.
#[derive(Clone, Default)]
pub(crate) struct Calls(TaskTracker);

/// One call, until it is dropped.
pub(crate) type CallToken = TaskTrackerToken;

impl Calls {
    /// go-plugin's own calls do not count: the host holds two of them open for as long as it lives.
    pub(super) fn track(&self, path: &str) -> Option<CallToken> {
        const OWN: [&str; 5] = [
            "/plugin.GRPCBroker/",
            "/plugin.GRPCController/",
            "/plugin.GRPCStdio/",
            "/grpc.health.",
            "/grpc.reflection.",
        ];
        (!OWN.iter().any(|own| path.starts_with(own))).then(|| self.0.token())
    }

    /// Waits until no call is under way; false where some still are when the time is over.
    pub(crate) async fn finished(&self, limit: Duration) -> bool {
        self.0.close();
        tokio::time::timeout(limit, self.0.wait()).await.is_ok()
    }
}
