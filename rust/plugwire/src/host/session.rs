//! A connection to a running plugin, with the two streams that go-plugin holds open on it.

use std::io;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::ConnectStep;
use super::stdio::{self, Writer};
use crate::Broker;
use crate::generated::plugin::Empty;
use crate::generated::plugin::grpc_controller_client::GrpcControllerClient;
use crate::transport::channel::Peer;
use crate::transport::{Address, BoxIo, Channel, Http2, Tls};

/// A plugin must listen before it prints its line; several implementations listen a moment later.
const LISTENS_LATE: Duration = Duration::from_secs(1);
const DIAL_AGAIN: Duration = Duration::from_millis(5);
/// How long the last output may take on its way once `Shutdown` was answered.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

pub(super) struct Session {
    pub(super) channel: Channel,
    pub(super) broker: Broker,
    cut: CancellationToken,
    stdio: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Session {
    /// Dials, and returns when the plugin has answered in HTTP/2. The caller sets the deadline.
    pub(super) async fn connect(
        address: &Address,
        tls: Option<&Tls>,
        http2: &Http2,
        peer: Peer,
    ) -> Result<Self, (ConnectStep, io::Error)> {
        let mut io = dial(address).await.map_err(|error| (ConnectStep::Dial, error))?;
        if let Some(tls) = tls {
            io = tls.connect(io).await.map_err(|error| (ConnectStep::Tls, error))?;
        }
        let authority = tls.and_then(Tls::authority);
        let (channel, cut) = Channel::connect(io, authority.as_deref(), http2, peer)
            .await
            .map_err(|error| (ConnectStep::Http2, error))?;
        let broker = Broker::new();
        broker.open(channel.clone());
        Ok(Self { channel, broker, cut, stdio: tokio::sync::Mutex::default() })
    }

    /// Begins to copy what the plugin prints.
    pub(super) fn copy_stdio(
        &mut self,
        plugin: &str,
        stdout: Option<Writer>,
        stderr: Option<Writer>,
    ) {
        let copy = stdio::copy(self.channel.clone(), plugin.to_owned(), stdout, stderr);
        *self.stdio.get_mut() = Some(tokio::spawn(copy));
    }

    /// Asks the plugin to end, lets the last of its output arrive, and closes the connection. Any answer will do: Go's
    /// plugins stop their server inside the call. Spec: SHD-2.
    pub(super) async fn shut_down(&self, limit: Duration) {
        let mut controller = GrpcControllerClient::new(self.channel.clone());
        match tokio::time::timeout(limit, controller.shutdown(Empty {})).await {
            Ok(_) => {
                let mut stdio = self.stdio.lock().await;
                if let Some(task) = &mut *stdio {
                    let _ = tokio::time::timeout(LAST_OUTPUT, task).await;
                    *stdio = None;
                }
            }
            Err(_) => tracing::warn!("a plugin did not answer Shutdown within {limit:?}"),
        }
        self.cut();
    }

    /// Closes the connection; calls under way fail.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn dial(address: &Address) -> io::Result<BoxIo> {
    let give_up = Instant::now() + LISTENS_LATE;
    loop {
        match address.connect().await {
            Err(error) if not_yet(&error) && Instant::now() < give_up => {
                tokio::time::sleep(DIAL_AGAIN).await;
            }
            result => return result,
        }
    }
}

fn not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
