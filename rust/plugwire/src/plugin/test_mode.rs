//! Serving inside a test, without a process of one's own.

use std::fmt;

use plugwire_process::PrivateDir;
use plugwire_protocol::reattach::Reattach;
use tokio::task::AbortHandle;

use super::serve::Running;
use super::{Plugin, ServeError};
use crate::net::socket::{Listen, Listener};

/// A plugin that serves in this process until it is dropped.
///
/// A host reaches it by its [`record`](TestPlugin::record); a plain socket in a folder of its own, mode 0700.
pub struct TestPlugin {
    record: Reattach,
    task: AbortHandle,
    _dir: PrivateDir,
}

impl TestPlugin {
    /// What a host needs to attach, [`Reattach::to_json`] for one in another process.
    /// go-plugin: what arrives on `ServeTestConfig.ReattachConfigCh`.
    pub fn record(&self) -> &Reattach {
        &self.record
    }
}

impl Drop for TestPlugin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for TestPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestPlugin").field("record", &self.record).finish_non_exhaustive()
    }
}

pub(super) fn start(plugin: Plugin, version: u32) -> Result<TestPlugin, ServeError> {
    let dir = PrivateDir::new(&std::env::temp_dir(), None).map_err(ServeError::Listen)?;
    let listen = Listen::Unix { directory: dir.path().to_owned(), group: None };
    let listener = Listener::bind(&listen).map_err(ServeError::Listen)?;
    let address = listener.address();
    let tls = plugin.tls.clone();
    let running = Running::prepare(plugin, version, tls, listen, false)?;
    let task = tokio::spawn(running.run(listener, Vec::new(), None)).abort_handle();
    let record = Reattach {
        protocol_version: version,
        pid: std::process::id(),
        test: true,
        network: address.network(),
        address: address.to_string(),
    };
    Ok(TestPlugin { record, task, _dir: dir })
}
