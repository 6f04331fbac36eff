//! Counting the calls in progress, so that a shutdown can wait for them.

use std::time::Duration;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The calls of a connection, or of all connections of a server.
#[derive(Clone, Default)]
pub(crate) struct Calls(TaskTracker);

/// One call, until it is dropped.
pub(crate) type CallToken = TaskTrackerToken;

impl Calls {
    /// Counts one call. go-plugin's own calls do not count: a host keeps two of them open for its whole
    /// life.
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

    /// Waits until no call is in progress. Returns false if some still are after `limit`.
    pub(crate) async fn finished(&self, limit: Duration) -> bool {
        self.0.close();
        tokio::time::timeout(limit, self.0.wait()).await.is_ok()
    }
}
