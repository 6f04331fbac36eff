//! Copies the plugin's stdio stream to the user's writers.

use plugwire_protocol::evidence::{excerpt, printable};
use tokio::io::AsyncWriteExt;
use tonic::{Code, Status};

use super::settings::Writer;
use crate::generated::plugin::grpc_stdio_client::GrpcStdioClient;
use crate::generated::plugin::{StdioData, stdio_data};
use crate::http2::Channel;

/// Where one channel of the stream goes.
enum Sink {
    Writer(Writer),
    Tracing {
        channel: &'static str,
        line: Vec<u8>,
    },
    /// A writer that failed.
    Nowhere,
}

/// Go plugins send 1 KiB at a time, Rust plugins 32 KiB.
const LONGEST_MESSAGE: usize = 4 * 1024 * 1024;
/// Longer lines are logged in pieces of this length.
const LONGEST_LOGGED: usize = 8 * 1024;

impl Sink {
    fn new(writer: Option<Writer>, channel: &'static str) -> Self {
        writer.map_or(Sink::Tracing { channel, line: Vec::new() }, Sink::Writer)
    }

    async fn write(&mut self, plugin: &str, data: &[u8]) {
        match self {
            Sink::Nowhere => {}
            Sink::Writer(writer) => {
                let written = async {
                    writer.write_all(data).await?;
                    writer.flush().await
                };
                if let Err(error) = written.await {
                    tracing::warn!(%error, plugin, "a writer for the plugin's output failed");
                    *self = Sink::Nowhere;
                }
            }
            Sink::Tracing { channel, line } => {
                for part in data.split_inclusive(|byte| *byte == b'\n') {
                    for piece in part.chunks(LONGEST_LOGGED) {
                        if line.len() + piece.len() > LONGEST_LOGGED {
                            log(plugin, channel, line);
                            line.clear();
                        }
                        line.extend_from_slice(piece);
                    }
                    if part.ends_with(b"\n") {
                        log(plugin, channel, line);
                        line.clear();
                    }
                }
            }
        }
    }

    fn finish(&mut self, plugin: &str) {
        if let Sink::Tracing { channel, line } = self
            && !line.is_empty()
        {
            log(plugin, channel, line);
        }
    }
}

fn log(plugin: &str, channel: &str, line: &[u8]) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    tracing::info!(target: "plugwire::plugin_output", plugin, channel, "{}", printable(line));
}

/// Copies the stream until it ends, and again on the next connection if the channel reconnects: a Go plugin blocks in the
/// middle of a call if its output is not read. A missing stream is not an error: plugins before go-plugin 1.1 have none.
/// Spec: STD-4 and STD-7.
pub(super) async fn copy(
    channel: Channel,
    plugin: String,
    stdout: Option<Writer>,
    stderr: Option<Writer>,
) {
    let mut sinks =
        Sinks { stdout: Sink::new(stdout, "stdout"), stderr: Sink::new(stderr, "stderr"), plugin };
    let ended = loop {
        let before = channel.reconnections();
        let ended = sinks.copy_one(channel.clone()).await;
        if ended.code() != Code::Unavailable || !channel.has_reconnected_since(before).await {
            break ended;
        }
    };
    let Sinks { mut stdout, mut stderr, plugin } = sinks;
    stdout.finish(&plugin);
    stderr.finish(&plugin);
    match ended.code() {
        Code::Ok | Code::Unavailable | Code::Cancelled => {}
        Code::Unimplemented => tracing::debug!(plugin, "the plugin has no stdio stream"),
        code => {
            let message = excerpt(ended.message());
            tracing::warn!(plugin, %code, message, "the plugin's stdio stream failed");
        }
    }
}

struct Sinks {
    stdout: Sink,
    stderr: Sink,
    plugin: String,
}

impl Sinks {
    /// Copies one stream, and returns how it ended.
    async fn copy_one(&mut self, channel: Channel) -> Status {
        let mut client = GrpcStdioClient::new(channel).max_decoding_message_size(LONGEST_MESSAGE);
        // A Go plugin sends its headers with its first output, perhaps never, so nothing else may wait for this.
        let mut stream = match client.stream_stdio(()).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return status,
        };
        loop {
            match stream.message().await {
                Ok(Some(data)) => self.write(data).await,
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }

    async fn write(&mut self, StdioData { channel, data }: StdioData) {
        let plugin = &self.plugin;
        match stdio_data::Channel::try_from(channel) {
            Ok(stdio_data::Channel::Stdout) => self.stdout.write(plugin, &data).await,
            Ok(stdio_data::Channel::Stderr) => self.stderr.write(plugin, &data).await,
            _ => tracing::warn!(plugin, channel, "output for an unknown channel was dropped"),
        }
    }
}
