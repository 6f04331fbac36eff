//! HTTP/2 settings, the same for both roles.

use std::time::Duration;

use super::guests::Guests;
use super::memory::Memory;

/// Limits what a peer may use, on one HTTP/2 connection and on all. The defaults suit plugins, and most
/// programs keep them.
///
/// The worst case is a peer that sends while this side does not read. What it makes this side hold is
/// counted over all its connections and calls, and limited by [`Http2::peer_memory`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2 {
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) max_frame: u32,
    pub(crate) max_headers: u32,
    pub(crate) max_streams: u32,
    pub(crate) keep_alive: Option<KeepAlive>,
    peer_memory: u64,
}

/// The limits of one peer. A clone is for another connection of the same peer.
#[derive(Debug, Clone)]
pub(crate) struct PeerLimits {
    pub(crate) http2: Http2,
    pub(crate) memory: Memory,
    pub(crate) guests: Guests,
}

impl PeerLimits {
    /// Gives a new peer its own allowance of memory and connections.
    pub(crate) fn new(http2: Http2) -> Self {
        Self { memory: Memory::new(http2.peer_memory), guests: Guests::default(), http2 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeepAlive {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// h2 charges every DATA frame shorter than this many bytes against a budget, as if it were this long.
const SMALL_FRAME: usize = 256;
/// The shortest gRPC message on the wire, so the most frames that a window can hold.
const SHORTEST_MESSAGE: usize = 5;
const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;
const GIB: u64 = 1024 * MIB as u64;
/// HTTP/2 allows windows up to 2^31 - 1 and frames from 16 KiB to 2^24 - 1.
const MAX_WINDOW: u32 = (1 << 31) - 1;

impl Default for Http2 {
    fn default() -> Self {
        Self {
            stream_window: 4 * MIB,
            connection_window: 64 * MIB,
            max_frame: MIB,
            max_headers: 16 * MIB,
            max_streams: 10_000,
            keep_alive: None,
            peer_memory: GIB,
        }
    }
}

impl Http2 {
    /// Returns the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many bytes of one call may be unread. Default 4 MiB; clamped to 64 KiB and 2 GiB.
    #[must_use]
    pub fn stream_window(mut self, bytes: u32) -> Self {
        self.stream_window = bytes.clamp(64 * KIB, MAX_WINDOW);
        self
    }

    /// Sets how many bytes of all calls of a connection may be unread. Default 64 MiB, so that one reader
    /// that stops leaves room for the others; clamped to 64 KiB and 2 GiB.
    #[must_use]
    pub fn connection_window(mut self, bytes: u32) -> Self {
        self.connection_window = bytes.clamp(64 * KIB, MAX_WINDOW);
        self
    }

    /// Sets the longest headers or trailers accepted from the peer, in bytes. Default 16 MiB, as in
    /// grpc-go, because error messages travel in trailers. grpc-go: `MaxHeaderListSize`.
    #[must_use]
    pub fn max_headers(mut self, bytes: u32) -> Self {
        self.max_headers = bytes;
        self
    }

    /// Sets how many calls the peer may have open on one connection. Further calls wait on the peer's
    /// side. Default 10 000; at least 1. grpc-go: `MaxConcurrentStreams`.
    #[must_use]
    pub fn max_concurrent_streams(mut self, calls: u32) -> Self {
        self.max_streams = calls.max(1);
        self
    }

    /// Sets how much memory the peer can make this side hold, in bytes, over all its connections and calls,
    /// brokered ones included: messages that have not arrived whole, data that was not read, headers, and
    /// what a call costs by itself. Default 1 GiB, so a message of 2 GiB needs more. grpc-go: none.
    ///
    /// A call beyond it fails with `RESOURCE_EXHAUSTED`; a connection whose data does not fit ends. All
    /// hosts that are connected to one plugin count as one peer.
    #[must_use]
    pub fn peer_memory(mut self, bytes: u64) -> Self {
        self.peer_memory = bytes;
        self
    }

    /// Pings the peer once in each `interval`, and closes the connection when an answer takes longer than
    /// `timeout`. Default: no pings.
    ///
    /// A socket on the same machine closes when the peer dies, so pings are rarely needed. A grpc-go
    /// server answers pings more frequent than one in five minutes with GOAWAY `too_many_pings`.
    /// grpc-go: `keepalive.ClientParameters`.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.keep_alive = Some(KeepAlive { interval, timeout });
        self
    }

    /// Returns h2's budget for small DATA frames. h2's own default closes a healthy connection whose peer
    /// sends many small messages while this side is slow to read. Flow control already bounds the memory,
    /// so the budget is what a full window of the shortest messages costs.
    fn data_frame_budget(&self) -> usize {
        self.stream_window as usize / SHORTEST_MESSAGE * SMALL_FRAME
    }

    pub(crate) fn client(&self) -> h2::client::Builder {
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .max_frame_size(self.max_frame)
            .max_header_list_size(self.max_headers)
            .max_send_buffer_size(MIB as usize)
            .max_concurrent_reset_streams(CANCELLED_CALLS)
            .max_local_error_reset_streams(Some(LATE_FRAMES))
            .data_frame_budget(self.data_frame_budget())
            .enable_push(false);
        builder
    }

    pub(crate) fn server(&self) -> h2::server::Builder {
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .max_frame_size(self.max_frame)
            .max_header_list_size(self.max_headers)
            .max_concurrent_streams(self.max_streams)
            .max_send_buffer_size(MIB as usize)
            .max_concurrent_reset_streams(CANCELLED_CALLS)
            .max_local_error_reset_streams(Some(LATE_FRAMES))
            .max_pending_accept_reset_streams(CANCELLED_CALLS)
            .data_frame_budget(self.data_frame_budget());
        builder
    }
}

/// How many calls that ended early h2 remembers, for 30 s: what still comes for them is no error. The
/// default is 50. A host gives up a burst of calls when their deadlines pass together.
const CANCELLED_CALLS: usize = 64 * 1024;
/// How many frames for calls that h2 has forgotten, or that are malformed, it answers before it ends the
/// connection. By default it is 1024, over the whole life of the connection.
const LATE_FRAMES: usize = 256 * 1024;
