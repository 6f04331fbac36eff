//! Brokered connections: further gRPC connections between the two processes, in either direction.

mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Opens further connections between host and plugin, for callbacks. go-plugin: `GRPCBroker`.
///
/// A clone is cheap and is the same broker.
#[derive(Debug, Clone)]
pub struct Broker {
    last_id: Arc<AtomicU32>,
}

impl Broker {
    pub(crate) fn new() -> Self {
        Self { last_id: Arc::default() }
    }

    /// An id for the next brokered connection. Each side counts its own from 1, and equal ids of the two sides are
    /// different things. go-plugin: `GRPCBroker.NextId`.
    pub fn next_id(&self) -> u32 {
        self.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }
}
