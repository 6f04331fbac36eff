//! HTTP/2 settings, the same for both roles.

use std::time::Duration;

/// What one HTTP/2 connection may use. The defaults suit plugins; most programs never touch them.
///
/// Worst-case memory of a peer that sends and a reader that does not read, for each connection:
/// [`Http2::connection_window`] bytes of payload, and 51 times [`Http2::stream_window`] for the bookkeeping of a peer that
/// sends it in the smallest pieces (214 MB by default). A peer that goes beyond loses its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2 {
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) max_frame: u32,
    pub(crate) max_headers: u32,
    pub(crate) max_calls: u32,
    pub(crate) keep_alive: Option<KeepAlive>,
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
/// HTTP/2 allows windows up to 2^31 - 1 and frames from 16 KiB to 2^24 - 1.
const MAX_WINDOW: u32 = (1 << 31) - 1;

impl Default for Http2 {
    fn default() -> Self {
        Self {
            stream_window: 4 * MIB,
            connection_window: 64 * MIB,
            max_frame: MIB,
            max_headers: 16 * MIB,
            max_calls: 10_000,
            keep_alive: None,
        }
    }
}

impl Http2 {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes of one call may wait unread. Default 4 MiB; held to 64 KiB and 2 GiB.
    #[must_use]
    pub fn stream_window(mut self, bytes: u32) -> Self {
        self.stream_window = bytes.clamp(64 * KIB, MAX_WINDOW);
        self
    }

    /// How many bytes of all calls of a connection may wait unread. Default 64 MiB, so that one reader that stops
    /// leaves room for the others; held to 64 KiB and 2 GiB.
    #[must_use]
    pub fn connection_window(mut self, bytes: u32) -> Self {
        self.connection_window = bytes.clamp(64 * KIB, MAX_WINDOW);
        self
    }

    /// The longest headers or trailers taken from the peer, in bytes. Default 16 MiB, as in grpc-go: error texts travel
    /// in trailers. (grpc-go: `MaxHeaderListSize`.)
    #[must_use]
    pub fn max_headers(mut self, bytes: u32) -> Self {
        self.max_headers = bytes;
        self
    }

    /// How many calls the peer may have open on one connection; more of them wait at the peer. Default 10 000.
    /// (grpc-go: `MaxConcurrentStreams`.)
    #[must_use]
    pub fn max_concurrent_streams(mut self, calls: u32) -> Self {
        self.max_calls = calls.max(1);
        self
    }

    /// Pings the peer each `interval`, and ends the connection when an answer takes longer than `timeout`.
    ///
    /// Off by default: a socket on the same machine closes when the peer dies, and a grpc-go server answers pings
    /// more frequent than one in five minutes with GOAWAY `too_many_pings`. (grpc-go: `keepalive.ClientParameters`.)
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.keep_alive = Some(KeepAlive { interval, timeout });
        self
    }

    /// The budget that h2 sets for small DATA frames. Its own default ends a healthy connection of a peer that chats
    /// in small messages while we are slow to read; flow control bounds the memory already, so
    /// the budget is what a full window of the shortest messages costs.
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
            .max_pending_accept_reset_streams(CANCELLED_CALLS)
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
            .max_concurrent_streams(self.max_calls)
            .max_send_buffer_size(MIB as usize)
            .max_concurrent_reset_streams(CANCELLED_CALLS)
            .max_pending_accept_reset_streams(CANCELLED_CALLS)
            .data_frame_budget(self.data_frame_budget());
        builder
    }
}

/// h2 takes more than 20 calls that were cancelled before they were accepted for an attack. A host that cancels a
/// burst of calls is none, and the peer is our own plugin or host, not the internet.
const CANCELLED_CALLS: usize = 4096;
