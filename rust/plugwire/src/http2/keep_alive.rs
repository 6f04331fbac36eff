//! Pings that notice a silent peer.

use std::future::pending;

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

use super::config::KeepAlive;

/// Completes when the peer has been silent for too long; never without keep-alive.
pub(super) async fn silence(mut pings: PingPong, keep_alive: Option<KeepAlive>) {
    let Some(KeepAlive { interval, timeout: limit }) = keep_alive else {
        return pending().await;
    };
    loop {
        sleep(interval).await;
        match timeout(limit, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection has ended, which its driver reports.
            Ok(Err(_)) => return pending().await,
            Err(_) => return,
        }
    }
}
