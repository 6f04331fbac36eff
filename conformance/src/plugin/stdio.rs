//! What the plugin prints after its line.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use plugwire_conformance_wire::caller::Options;
use plugwire_conformance_wire::messages::method;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::call::{decoded, encoded, full};
use super::host::{Failure, Host, Outcome, within};
use super::scene::{Print, Printed};
use crate::matching::excerpt;

impl Host<'_> {
    pub(super) async fn print(&mut self, print: &Print) -> Outcome {
        let method = full("Probe/Print");
        let stdout = expected_stdout(Some(&print.stdout), print.every_byte, print.fill);
        let request = json!({
            "stdout": BASE64_STANDARD.encode(stdout),
            "stderr": BASE64_STANDARD.encode(&print.stderr),
        });
        let call = self.connection(None)?.clone();
        let options = Options::default();
        let call = call.unary(&method, encoded(&method, &request)?, &options);
        let reply =
            within(self.limit(print.within), "an answer of the printing call", call).await?;
        let reply =
            reply.map_err(|error| Failure::differs("the plugin prints", error.to_string()))?;
        match reply.status.name() {
            "OK" => Ok(()),
            "UNIMPLEMENTED" => Err(Failure::Unimplemented(method)),
            _ => Err(Failure::differs("the plugin prints", reply.status.to_string())),
        }
    }

    pub(super) async fn printed(&mut self, wanted: &Printed) -> Outcome {
        let name = wanted.name.as_deref().unwrap_or("stdio").to_owned();
        let stdout = expected_stdout(wanted.stdout.as_deref(), wanted.every_byte, wanted.fill);
        let stderr = wanted.stderr.clone().unwrap_or_default().into_bytes();
        let limit = self.limit(wanted.within);
        let pipe = self.process()?.stderr.clone();
        let mut seen = Seen::default();
        let all = async {
            while seen.stdout.len() < stdout.len() || seen.stderr.len() < stderr.len() {
                let by_pipe = pipe.find(limit, |seen| {
                    // What is wanted may have begun before what is new.
                    let from = seen.fresh.saturating_sub(stderr.len());
                    holds(&seen.bytes[from..], &stderr).then_some(())
                });
                tokio::select! {
                    found = by_pipe, if wanted.or_pipe && seen.stderr.is_empty() => match found {
                        Some(()) => seen.stderr.clone_from(&stderr),
                        None => return Err(Failure::differs("what was printed", "standard error ended")),
                    },
                    next = self.next_printed(&name, &mut seen) => next?,
                }
            }
            Ok(())
        };
        let came = timeout(limit, all).await;
        if let Ok(Err(failure)) = came {
            return Err(failure);
        }
        if let Some(silence) = wanted.then_silent {
            let silence = self.scaled(*silence);
            let more = self.next_printed(&name, &mut seen);
            if let Ok(Err(failure)) = timeout(silence, more).await {
                return Err(failure);
            }
        }
        compare("STDOUT", &stdout, &seen.stdout)?;
        compare("STDERR", &stderr, &seen.stderr)
    }

    /// Waits for these bytes on STDOUT, each on one of several streams, and then for a while that no more come.
    pub(super) async fn printed_once(
        &mut self,
        names: &[&str],
        wanted: &[u8],
        silence: Duration,
    ) -> Outcome {
        let mut seen = Seen::default();
        let give_up = Instant::now() + self.limit(None);
        let mut quiet_until = None;
        while quiet_until.is_none_or(|until| Instant::now() < until) && Instant::now() < give_up {
            for name in names {
                // In turns, since each stream is borrowed from the same host.
                let next = self.next_printed(name, &mut seen);
                if let Ok(Err(failure)) = timeout(Duration::from_millis(10), next).await {
                    return Err(failure);
                }
            }
            if seen.stdout.len() >= wanted.len() {
                quiet_until.get_or_insert(Instant::now() + self.scaled(silence));
            }
        }
        compare("STDOUT", wanted, &seen.stdout)
    }

    /// Takes one message of the stream.
    async fn next_printed(&mut self, name: &str, seen: &mut Seen) -> Outcome {
        let (_, call) = self.open_call(name)?;
        let next = call
            .next()
            .await
            .map_err(|error| Failure::differs("what was printed", error.to_string()))?;
        let Some(message) = next else {
            let status = call.status().map_or("no status".to_owned(), |status| status.to_string());
            return Err(Failure::differs(
                "what was printed",
                format!("the stream ended: {status}"),
            ));
        };
        let message = decoded(method::STREAM_STDIO, &message)?;
        let data = BASE64_STANDARD.decode(message["data"].as_str().unwrap_or_default());
        let data = data.map_err(|error| Failure::engine("our own base64", error))?;
        match message["channel"].as_i64() {
            Some(1) => seen.stdout.extend(data),
            Some(2) => seen.stderr.extend(data),
            other => {
                let actual = other.map_or("none".to_owned(), |channel| channel.to_string());
                return Err(Failure::differs("channel 1 or 2", actual));
            }
        }
        Ok(())
    }
}

/// What has come on both channels.
#[derive(Default)]
struct Seen {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

fn expected_stdout(text: Option<&str>, every_byte: usize, fill: usize) -> Vec<u8> {
    let mut bytes = text.unwrap_or_default().as_bytes().to_vec();
    bytes.extend((0..every_byte).flat_map(|_| 0..=u8::MAX));
    bytes.resize(bytes.len() + fill, b'x');
    bytes
}

fn compare(channel: &str, wanted: &[u8], seen: &[u8]) -> Outcome {
    if wanted == seen {
        return Ok(());
    }
    let shown = |bytes: &[u8]| {
        format!("{channel}: {} bytes: {}", bytes.len(), excerpt(&bytes.escape_ascii().to_string()))
    };
    Err(Failure::differs(shown(wanted), shown(seen)))
}

fn holds(all: &[u8], part: &[u8]) -> bool {
    part.is_empty() || all.windows(part.len()).any(|window| window == part)
}
