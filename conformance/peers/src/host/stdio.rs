//! What the plugin prints, by `plugin.GRPCStdio` (spec, chapter 8).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use plugwire_conformance_wire::caller::{Call, Caller, Options};
use plugwire_conformance_wire::messages::{StdioData, method};
use prost::Message;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Settings;
use super::flaw::Flaw;

/// The number of bytes that are kept of each channel.
const KEPT: usize = 64 * 1024 * 1024;
const STDOUT: i32 = 1;
const STDERR: i32 = 2;

/// The output so far. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Stdio(Arc<watch::Sender<Printed>>);

#[derive(Debug, Default)]
struct Printed {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Opens the stream.
pub(super) async fn open(caller: &Caller) -> Option<Call> {
    let mut call = caller.open(method::STREAM_STDIO, &Options::default()).await.ok()?;
    call.send(&Bytes::new()).await.ok()?;
    call.finish().ok()?;
    Some(call)
}

impl Stdio {
    /// Reads the stream until it ends in whatever way (STD-4).
    pub(super) async fn read(&self, settings: &Settings, mut call: Call) {
        let mut read = 0;
        while let Ok(Some(message)) = call.next().await {
            let Ok(data) = StdioData::decode(message) else { return };
            read += data.data.len();
            match settings.flaw {
                Some(Flaw::StdioTakes1024) if data.data.len() > 1024 => return,
                Some(Flaw::UnknownChannelEndsStdio)
                    if ![STDOUT, STDERR].contains(&data.channel) =>
                {
                    return;
                }
                Some(Flaw::StopsReadingStdio) if read > 64 * 1024 => {
                    return std::future::pending().await;
                }
                _ => self.take(settings, data),
            }
        }
    }

    fn take(&self, settings: &Settings, data: StdioData) {
        let bytes = match settings.has(Flaw::StdioIsText) {
            true => String::from_utf8_lossy(&data.data).into_owned().into_bytes(),
            false => data.data,
        };
        let channel = match (settings.has(Flaw::SwapsChannels), data.channel) {
            (true, STDOUT) => STDERR,
            (true, STDERR) => STDOUT,
            (_, channel) => channel,
        };
        self.0.send_modify(|printed| {
            let to = match channel {
                STDOUT => &mut printed.stdout,
                STDERR => &mut printed.stderr,
                // A later release may add a third channel (STD-8).
                _ => return,
            };
            let room = KEPT.saturating_sub(to.len());
            to.extend(bytes.iter().take(room));
        });
    }

    /// Waits for this many bytes, and returns what arrived.
    pub(super) async fn collect(
        &self,
        stdout: usize,
        stderr: usize,
        within: Duration,
    ) -> Map<String, Value> {
        let mut changed = self.0.subscribe();
        let enough =
            |printed: &Printed| printed.stdout.len() >= stdout && printed.stderr.len() >= stderr;
        let _ = timeout(within, changed.wait_for(enough)).await;
        let printed = self.0.borrow();
        Map::from_iter([
            ("stdout".to_owned(), BASE64_STANDARD.encode(&printed.stdout).into()),
            ("stderr".to_owned(), BASE64_STANDARD.encode(&printed.stderr).into()),
        ])
    }
}
