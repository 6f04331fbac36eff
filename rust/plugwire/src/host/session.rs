//! A connection to a running plugin, with the broker's stream and the stdio stream that stay open on it.

use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::unix::UCred;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::settings::Writer;
use super::stdio;
use crate::broker::{self, Broker, CloseOnDrop};
use crate::generated::plugin::Empty;
use crate::generated::plugin::grpc_controller_client::GrpcControllerClient;
use crate::http2::{self, Channel, ConnectStep, NotProcessed, Redial};
use crate::net::{Address, BoxIo};
use crate::net::{Mode, Mux};
use crate::time;

/// A plugin must listen before it prints its line, but several implementations listen a moment later.
const LISTENS_LATE: Duration = Duration::from_secs(1);
/// How long a redial may take.
const REDIAL_TIMEOUT: Duration = Duration::from_secs(1);
const DIAL_AGAIN: Duration = Duration::from_millis(5);
/// How long the last output may take to arrive after `Shutdown` was answered.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

pub(super) struct Session {
    pub(super) channel: Channel,
    /// Closing it closes all connections of the session.
    broker: CloseOnDrop,
    stdio: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Session {
    /// Dials, and returns when the plugin has answered in HTTP/2. The caller sets the deadline.
    pub(super) async fn connect(
        address: &Address,
        settings: broker::Settings,
    ) -> Result<Self, (ConnectStep, io::Error)> {
        let reached = dial(address).await.map_err(|error| (ConnectStep::Dial, error))?;
        let (mut io, listens) = reached;
        let settings = broker::Settings {
            trust: settings.trust.of_user(listens.map(|process| process.uid())),
            ..settings
        };
        let listens = listens.and_then(|process| process.pid());
        let (tls, limits, peer) =
            (settings.tls.clone(), settings.limits.clone(), settings.peer.clone());
        let multiplexed = settings.multiplexed;
        let broker = Broker::new(settings);
        let again: Option<Arc<dyn Redial>> = match address {
            _ if multiplexed => Some(Arc::new(OverSession(broker.clone()))),
            // It is unknown which process listens on a port.
            Address::Tcp(_) if peer.is_none() => None,
            _ => Some(Arc::new(OverSocket { address: address.clone(), listens })),
        };
        // From here on an early return closes everything.
        let session = CloseOnDrop(broker);
        if multiplexed {
            io = multiplex(&session.0, io).await.map_err(|error| (ConnectStep::Dial, error))?;
        }
        let settings = http2::Settings { tls, limits, cut: session.0.closing() };
        let channel = Channel::establish(io, settings, peer, again).await?;
        session.0.open(channel.clone());
        Ok(Self { channel, broker: session, stdio: tokio::sync::Mutex::default() })
    }

    /// Starts to copy the plugin's output. The call has been sent when this returns, so it comes before the user's calls,
    /// whose handlers may print more than a plugin buffers without a reader. Spec: STD-7.
    pub(super) async fn copy_stdio(
        &mut self,
        plugin: &str,
        stdout: Option<Writer>,
        stderr: Option<Writer>,
    ) {
        let copy = stdio::copy(self.channel.clone(), plugin.to_owned(), stdout, stderr);
        let mut copy = Box::pin(copy);
        let runs = poll_fn(|cx| Poll::Ready(copy.as_mut().poll(cx).is_pending())).await;
        if runs {
            *self.stdio.get_mut() = Some(tokio::spawn(copy));
        }
    }

    /// Asks the plugin to end, lets the last output arrive, and closes the connection. Errors count as an answer: Go plugins
    /// stop their server inside the call. Spec: SHD-2.
    pub(super) async fn shut_down(&self, limit: Duration) {
        let mut controller = GrpcControllerClient::new(self.channel.clone());
        let asked = async {
            let answer = controller.shutdown(Empty {}).await;
            if answer.is_err_and(|status| NotProcessed::is_source_of(&status)) {
                let _ = controller.shutdown(Empty {}).await;
            }
        };
        match tokio::time::timeout(limit, asked).await {
            Ok(()) => {
                let mut stdio = self.stdio.lock().await;
                if let Some(task) = &mut *stdio {
                    let _ = tokio::time::timeout(LAST_OUTPUT, task).await;
                    *stdio = None;
                }
            }
            Err(_) => tracing::warn!("a plugin did not answer Shutdown within {limit:?}"),
        }
        self.close();
    }

    /// Closes the connection and all brokered ones. Calls under way fail.
    pub(super) fn close(&self) {
        self.broker.0.close();
    }

    pub(super) fn broker(&self) -> Broker {
        self.broker.0.clone()
    }
}

/// Starts a multiplexed session on the socket, and opens its first stream, the main connection. Spec: MUX-4 and MUX-6.
async fn multiplex(broker: &Broker, io: BoxIo) -> io::Result<BoxIo> {
    let paired = broker.clone();
    let session = Mux::start(io, Mode::Client, broker.closing(), move |io| {
        if paired.take_stream(io).is_some() {
            tracing::warn!("the plugin opened a stream without a knock: dropped");
        }
    });
    let main = session.open().await;
    broker.set_session(session);
    main
}

/// Redials the socket: a plugin accepts several connections on it. Spec: SOCK-7 and SOCK-10.
struct OverSocket {
    address: Address,
    /// The process that listened when the session began.
    listens: Option<i32>,
}

impl Redial for OverSocket {
    fn redial(&self) -> BoxFuture<'static, io::Result<BoxIo>> {
        let (address, at_first) = (self.address.clone(), self.listens);
        Box::pin(async move {
            let reached = tokio::time::timeout(REDIAL_TIMEOUT, address.connect_to_process()).await;
            let (io, listens) = reached.map_err(|_| io::ErrorKind::TimedOut)??;
            let listens = listens.and_then(|process| process.pid());
            match listens == at_first {
                true => Ok(io),
                false => Err(io::Error::other("another process listens there")),
            }
        })
    }
}

/// Opens another stream: a plugin that multiplexes accepts several. Spec: MUX-7.
struct OverSession(Broker);

impl Redial for OverSession {
    fn redial(&self) -> BoxFuture<'static, io::Result<BoxIo>> {
        let broker = self.0.clone();
        Box::pin(async move { broker.open_main().await })
    }
}

async fn dial(address: &Address) -> io::Result<(BoxIo, Option<UCred>)> {
    let give_up = time::after(LISTENS_LATE);
    loop {
        match address.connect_to_process().await {
            Err(error) if not_yet(&error) && Instant::now() < give_up => {
                tokio::time::sleep(DIAL_AGAIN).await;
            }
            result => return result,
        }
    }
}

fn not_yet(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
    // A unix socket whose backlog is full would block.
    matches!(error.kind(), NotFound | ConnectionRefused | WouldBlock)
}
