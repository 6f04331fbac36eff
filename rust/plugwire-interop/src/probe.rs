//! The probe contract in Rust: each call makes one behaviour observable. `proto/probe/probe.proto`
//! documents it.

use std::collections::HashMap;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use plugwire::Services;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Code, Request, Response, Status, Streaming};
use tower::ServiceExt;

pub use crate::generated::plugwire::probe::v1::*;
use probe_server::{Probe, ProbeServer, SERVICE_NAME};

type Payloads = Pin<Box<dyn Stream<Item = Result<Payload, Status>> + Send>>;

/// The probe service.
#[derive(Debug, Clone, Default)]
pub struct RustProbe {
    hangs: Arc<Mutex<HashMap<String, watch::Sender<Hang>>>>,
}

/// The state of one hanging call.
#[derive(Debug, Clone, Copy, Default)]
struct Hang {
    started: bool,
    dropped: bool,
}

/// Lives in the hanging handler and records when the handler is dropped.
struct DropWitness(watch::Sender<Hang>);

impl Drop for DropWitness {
    fn drop(&mut self) {
        self.0.send_modify(|hang| hang.dropped = true);
    }
}

impl RustProbe {
    fn hang(&self, id: &str) -> watch::Sender<Hang> {
        self.hangs.lock().expect("not poisoned").entry(id.to_owned()).or_default().clone()
    }

    fn begin_hang(&self, id: &str) -> DropWitness {
        let hang = self.hang(id);
        hang.send_modify(|hang| hang.started = true);
        DropWitness(hang)
    }
}

/// Returns a message as `Download` sends it: byte i of message n is (n + i) mod 256.
pub fn pattern(message: u64, size: u64) -> Vec<u8> {
    let cycle: Vec<u8> = (0..=255).map(|i: u8| i.wrapping_add(message as u8)).collect();
    let mut all = cycle.repeat((size / 256 + 1) as usize);
    all.truncate(size as usize);
    all
}

/// Copies entries whose keys begin with "probe-", adding a prefix to each key.
fn probe_metadata(from: &MetadataMap, prefix: &str, to: &mut MetadataMap) {
    for entry in from.iter() {
        match entry {
            KeyAndValueRef::Ascii(key, value) if key.as_str().starts_with("probe-") => {
                let key = format!("{prefix}{key}").parse::<tonic::metadata::AsciiMetadataKey>();
                to.append(key.expect("a key with a prefix is a key"), value.clone());
            }
            KeyAndValueRef::Binary(key, value) if key.as_str().starts_with("probe-") => {
                let key = tonic::metadata::BinaryMetadataKey::from_bytes(
                    format!("{prefix}{key}").as_bytes(),
                );
                to.append_bin(key.expect("a key with a prefix is a key"), value.clone());
            }
            _ => {}
        }
    }
}

#[tonic::async_trait]
impl Probe for RustProbe {
    async fn echo(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        let metadata = request.metadata().clone();
        let mut response = Response::new(request.into_inner());
        probe_metadata(&metadata, "", response.metadata_mut());
        let mut trailers = MetadataMap::new();
        probe_metadata(&metadata, "trailer-", &mut trailers);
        response.extensions_mut().insert(Trailers(trailers.into_headers()));
        Ok(response)
    }

    type DownloadStream = Payloads;

    async fn download(
        &self,
        request: Request<DownloadRequest>,
    ) -> Result<Response<Payloads>, Status> {
        let DownloadRequest { count, size } = request.into_inner();
        let messages = (0..count).map(move |n| Ok(Payload { data: pattern(n, size).into() }));
        Ok(Response::new(Box::pin(stream::iter(messages))))
    }

    async fn upload(
        &self,
        request: Request<Streaming<Payload>>,
    ) -> Result<Response<UploadSummary>, Status> {
        let mut stream = request.into_inner();
        let mut summary = UploadSummary::default();
        while let Some(payload) = stream.message().await? {
            summary.messages += 1;
            summary.bytes += payload.data.len() as u64;
        }
        Ok(Response::new(summary))
    }

    type ChatStream = Payloads;

    async fn chat(
        &self,
        request: Request<Streaming<Payload>>,
    ) -> Result<Response<Payloads>, Status> {
        Ok(Response::new(Box::pin(request.into_inner())))
    }

    async fn fail(&self, request: Request<FailRequest>) -> Result<Response<Payload>, Status> {
        let FailRequest { code, message, details } = request.into_inner();
        let code = Code::from(i32::try_from(code).unwrap_or(2));
        let mut metadata = MetadataMap::new();
        metadata.insert("probe-failed", "yes".parse().expect("ASCII"));
        Err(Status::with_details_and_metadata(code, message, details, metadata))
    }

    async fn hang(&self, request: Request<HangRequest>) -> Result<Response<Payload>, Status> {
        let _witness = self.begin_hang(&request.into_inner().id);
        std::future::pending().await
    }

    type HangStreamStream = Payloads;

    async fn hang_stream(
        &self,
        request: Request<HangRequest>,
    ) -> Result<Response<Payloads>, Status> {
        let witness = self.begin_hang(&request.into_inner().id);
        let first = stream::once(async { Ok(Payload { data: "first".into() }) });
        let rest = stream::pending().inspect(move |_: &Result<Payload, Status>| {
            let _ = &witness;
        });
        Ok(Response::new(Box::pin(first.chain(rest))))
    }

    async fn await_hang(
        &self,
        request: Request<AwaitHangRequest>,
    ) -> Result<Response<HangReport>, Status> {
        let AwaitHangRequest { id, cancelled, wait_ms } = request.into_inner();
        let mut hang = self.hang(&id).subscribe();
        let reached = hang.wait_for(|hang| hang.started && (hang.dropped || !cancelled));
        let _ = tokio::time::timeout(Duration::from_millis(wait_ms), reached).await;
        let Hang { started, dropped } = *hang.borrow();
        let reason = if dropped { "dropped".to_owned() } else { String::new() };
        Ok(Response::new(HangReport { started, cancelled: dropped, reason }))
    }

    async fn print(&self, request: Request<PrintRequest>) -> Result<Response<Payload>, Status> {
        let PrintRequest { stdout, stderr } = request.into_inner();
        // Half of the output bypasses Rust's own handle, as C code would write it.
        let (through, past) = stdout.split_at(stdout.len() / 2);
        std::io::stdout().write_all(through)?;
        std::io::stdout().flush()?;
        write_to_descriptor_1(past)?;
        std::io::stderr().write_all(&stderr)?;
        Ok(Response::new(Payload::default()))
    }

    async fn die(&self, request: Request<DieRequest>) -> Result<Response<Payload>, Status> {
        use rustix::process::{Signal, getpid, kill_process};
        let how = request.into_inner().how;
        let signal = |signal| {
            kill_process(getpid(), signal).map_err(|error| Status::internal(error.to_string()))
        };
        match how.as_str() {
            "panic" => panic!("the probe was told to panic"),
            "panic-thread" => {
                let thread = std::thread::spawn(|| panic!("the probe's thread was told to panic"));
                let _ = thread.join();
            }
            // Ends like a program built with `panic = "abort"`.
            "panic-abort" => {
                let _ = std::panic::catch_unwind(|| panic!("the probe was told to panic"));
                std::process::abort()
            }
            // Allocates in pieces and writes to them: untouched memory is not resident. Only for a
            // process with a low limit.
            "memory" => {
                let all: Vec<_> = (0..256).map(|_| vec![1_u8; 1 << 20]).collect();
                return Err(Status::internal(format!("there was room for {} MiB", all.len())));
            }
            // Blocks a thread that no runtime can end.
            "block" => tokio::task::spawn_blocking(|| {
                loop {
                    std::thread::park()
                }
            })
            .await
            .unwrap_or(()),
            // Blocks a thread of the runtime: on a runtime with one thread, the plugin stops
            // responding.
            "deaf" => loop {
                std::thread::park();
            },
            "kill" => signal(Signal::KILL)?,
            "abort" => std::process::abort(),
            "stop" => signal(Signal::STOP)?,
            exit => match exit.strip_prefix("exit:").and_then(|code| code.parse().ok()) {
                Some(code) => std::process::exit(code),
                None => return Err(Status::invalid_argument(format!("no such end: {how}"))),
            },
        }
        Ok(Response::new(Payload::default()))
    }

    async fn inspect(
        &self,
        request: Request<InspectRequest>,
    ) -> Result<Response<InspectReport>, Status> {
        let timeout = request.metadata().get("grpc-timeout").and_then(|value| value.to_str().ok());
        let mut metadata = HashMap::<String, Vec<String>>::new();
        for entry in request.metadata().iter() {
            let (key, value) = match entry {
                KeyAndValueRef::Ascii(key, value) => {
                    (key.as_str(), value.to_str().unwrap_or_default().to_owned())
                }
                KeyAndValueRef::Binary(key, value) => {
                    let bytes = value.to_bytes().unwrap_or_default();
                    (key.as_str(), BASE64_STANDARD.encode(bytes))
                }
            };
            metadata.entry(key.to_owned()).or_default().push(value);
        }
        Ok(Response::new(InspectReport {
            args: std::env::args().collect(),
            env: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            cwd: std::env::current_dir()?.display().to_string(),
            deadline_ms: timeout.and_then(milliseconds).unwrap_or(0),
            metadata: metadata.into_iter().map(|(key, all)| (key, all.join(","))).collect(),
            stdin_eof: stdin_is_at_end(),
            pid: std::process::id(),
            // Do not count the descriptor that reads the directory.
            open_files: std::fs::read_dir("/proc/self/fd")?.count() as u64 - 1,
        }))
    }
}

fn write_to_descriptor_1(mut text: &[u8]) -> std::io::Result<()> {
    while !text.is_empty() {
        text = &text[rustix::io::write(rustix::stdio::stdout(), text)?..];
    }
    Ok(())
}

/// Returns whether standard input is at its end, without waiting. May consume one byte of an input
/// that is not.
fn stdin_is_at_end() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdin = rustix::stdio::stdin();
    let ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&Timespec::default()));
    ready.is_ok_and(|ready| ready > 0) && rustix::io::read(stdin, &mut [0; 1]) == Ok(0)
}

fn milliseconds(timeout: &str) -> Option<u64> {
    let (amount, unit) = timeout.split_at_checked(timeout.len() - 1)?;
    let amount: u64 = amount.parse().ok()?;
    let milliseconds = match unit {
        "H" => amount * 3_600_000,
        "M" => amount * 60_000,
        "S" => amount * 1000,
        "m" => amount,
        "u" => amount / 1000,
        "n" => amount / 1_000_000,
        _ => return None,
    };
    // 0 stands for no deadline.
    Some(milliseconds.max(1))
}

/// Trailers of a successful call, which tonic cannot express; [`services`] sends them.
#[derive(Debug, Clone)]
struct Trailers(http::HeaderMap);

/// Adds the probe to a plugin's services.
pub fn services(services: Services) -> Services {
    let probe =
        ProbeServer::new(RustProbe::default()).map_request(|request: http::Request<Body>| request);
    let probe = probe.map_response(|mut response: http::Response<Body>| {
        let trailers = response.extensions_mut().remove::<Trailers>();
        response.map(|body| {
            Body::new(body.map_frame(move |mut frame| {
                if let (Some(all), Some(Trailers(own))) = (frame.trailers_mut(), &trailers) {
                    all.extend(own.clone());
                }
                frame
            }))
        })
    });
    services.add_named(SERVICE_NAME, probe).describe(DESCRIPTORS)
}
