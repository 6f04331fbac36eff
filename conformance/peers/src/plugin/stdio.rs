//! `plugin.GRPCStdio`: sends what was printed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use plugwire_conformance_wire::messages::{Empty, StdioData};
use serde_json::json;
use tokio::sync::Notify;

use super::calls::{Call, End, exit};
use super::{Plugin, acts};

/// Standard output's number on the wire.
const STDOUT: i32 = 1;
/// Standard error's.
const STDERR: i32 = 2;
/// The number of bytes of one write that go into one message.
const PIECE: usize = 1024;
/// The number of bytes that are kept without a listener. The rest is lost, and the witness says so.
const KEPT: usize = 64 << 20;

/// What was printed and not taken yet.
#[derive(Debug, Default)]
pub(super) struct Printed {
    queue: Mutex<Queue>,
    listeners: AtomicUsize,
    more: Notify,
    less: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<StdioData>,
    bytes: usize,
}

impl Printed {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    /// Returns the next piece. Cancel safe.
    async fn next(&self) -> StdioData {
        loop {
            let more = self.more.notified();
            if let Some(piece) = self.queue().take() {
                self.less.notify_waiters();
                // Another listener may wait for the rest.
                self.more.notify_one();
                return piece;
            }
            more.await;
        }
    }

    /// Waits until everything was taken.
    async fn emptied(&self) {
        loop {
            let mut less = std::pin::pin!(self.less.notified());
            less.as_mut().enable();
            if self.queue().pieces.is_empty() {
                return;
            }
            less.await;
        }
    }
}

impl Queue {
    fn take(&mut self) -> Option<StdioData> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.data.len();
        Some(piece)
    }
}

/// Prints according to the script.
pub(super) async fn print(plugin: &Plugin, stdout: Vec<u8>, stderr: Vec<u8>) {
    let script = &plugin.script.stdio;
    if script.to_descriptors_too {
        // Without a reader the plugin continues.
        let _ = acts::write(acts::Out::Stdout, stdout.clone()).await;
        let _ = acts::write(acts::Out::Stderr, stderr.clone()).await;
        plugin.witness.saw("wrote-descriptors", json!({ "bytes": stdout.len() + stderr.len() }));
    }
    let lost = script.loses_unheard && plugin.stdio.listeners.load(Ordering::Relaxed) == 0;
    for (channel, bytes, lose) in
        [(STDOUT, stdout, script.loses_stdout), (STDERR, stderr, script.loses_stderr)]
    {
        if bytes.is_empty() {
            continue;
        }
        let size = bytes.len();
        if lost || lose {
            plugin.witness.saw("stdio-lost", json!({ "channel": channel, "bytes": size }));
            continue;
        }
        push(plugin, channel, bytes);
        plugin.witness.saw("printed", json!({ "channel": channel, "bytes": size }));
    }
    if script.blocks_printer {
        plugin.stdio.emptied().await;
    }
}

fn push(plugin: &Plugin, channel: i32, mut bytes: Vec<u8>) {
    let script = &plugin.script.stdio;
    let channel = match channel {
        _ if script.all_is_stdout => STDOUT,
        STDOUT if script.swaps_channels => STDERR,
        STDERR if script.swaps_channels => STDOUT,
        channel => channel,
    };
    if script.lossy_utf8 {
        bytes = String::from_utf8_lossy(&bytes).into_owned().into_bytes();
    }
    if script.crlf {
        bytes = bytes.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]);
    }
    let mut queue = plugin.stdio.queue();
    for data in bytes.chunks(script.piece.unwrap_or(PIECE).max(1)) {
        for _ in 0..=usize::from(script.twice) {
            if queue.bytes + data.len() > KEPT {
                return plugin.witness.saw("stdio-full", json!({ "kept": queue.bytes }));
            }
            queue.bytes += data.len();
            queue.pieces.push_back(StdioData { channel, data: data.to_vec() });
        }
    }
    drop(queue);
    plugin.stdio.more.notify_one();
}

/// A listener, counted during the lifetime of this value.
struct Listening<'a>(&'a Printed);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sends what is printed, until the caller goes.
pub(super) async fn stream(call: &mut Call) -> Result<(), End> {
    call.request::<Empty>().await?;
    let plugin = call.plugin.clone();
    let script = &plugin.script.stdio;
    let before = plugin.stdio.listeners.fetch_add(1, Ordering::Relaxed);
    let _listening = Listening(&plugin.stdio);
    plugin.witness.saw("stdio-heard", json!({ "listeners": before + 1 }));
    if before > 0 && script.dies_of_second {
        exit(&plugin, "a second listener");
    }
    if let Some(code) = script.ends_with {
        return Err(End::status(code.name(), "as the script says"));
    }
    if script.unknown_channel_first {
        call.send(&StdioData { channel: 7, data: b"of no channel\n".to_vec() }).await?;
        plugin.witness.saw("stdio-unknown-channel", json!({}));
    }
    flood(call, script.flood).await?;
    loop {
        let piece = tokio::select! {
            () = call.incoming.cancelled() => return Err(End::Gone("cancelled".to_owned())),
            piece = plugin.stdio.next() => piece,
        };
        call.send(&piece).await?;
    }
}

async fn flood(call: &mut Call, size: u64) -> Result<(), End> {
    if size == 0 {
        return Ok(());
    }
    let line =
        StdioData { channel: STDOUT, data: format!("{}\n", "x".repeat(PIECE - 1)).into_bytes() };
    for _ in 0..size.div_ceil(PIECE as u64) {
        call.send(&line).await?;
    }
    call.plugin.witness.saw("stdio-flooded", json!({ "bytes": size }));
    Ok(())
}
