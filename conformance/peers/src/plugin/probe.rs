//! `plugwire.probe.v1.Probe`: the application service of the plugin.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderValue;
use http::header::HeaderName;
use parking_lot::{Mutex, MutexGuard};
use plugwire_conformance_wire::grpc::Status;
use plugwire_conformance_wire::messages::{
    AwaitHangRequest, DieRequest, DownloadRequest, Empty, FailRequest, HangReport, HangRequest,
    InspectReport, Payload, PrintRequest, UploadSummary,
};
use prost::Message;
use serde_json::json;
use tokio::sync::Notify;

use super::calls::{Call, End};
use super::{Plugin, acts, stdio};

/// No answer is larger than this.
pub(super) const LARGEST: u64 = 1 << 30;

/// Calls that never answer, by the names that their callers gave them.
#[derive(Debug, Default)]
pub(super) struct Hangs {
    all: Mutex<HashMap<String, HangReport>>,
    changed: Notify,
}

impl Hangs {
    fn all(&self) -> MutexGuard<'_, HashMap<String, HangReport>> {
        self.all.lock()
    }

    fn note(&self, id: &str, report: HangReport) {
        self.all().insert(id.to_owned(), report);
        self.changed.notify_waiters();
    }

    /// Waits until this hang satisfies.
    async fn until(&self, id: &str, enough: impl Fn(&HangReport) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.all().get(id).is_some_and(&enough) {
                return;
            }
            changed.await;
        }
    }
}

/// Answers one call of `Probe`.
pub(super) async fn answer(call: &mut Call, name: &str) -> Result<(), End> {
    match name {
        "Echo" => echo(call).await,
        "Download" => download(call).await,
        "Upload" => upload(call).await,
        "Chat" => chat(call).await,
        "Fail" => fail(call).await,
        "Hang" => {
            let request: HangRequest = call.request().await?;
            hang(call, &request.id).await
        }
        "HangStream" => {
            let request: HangRequest = call.request().await?;
            call.send(&Payload { data: b"first".to_vec() }).await?;
            hang(call, &request.id).await
        }
        "AwaitHang" => await_hang(call).await,
        "Print" => {
            let request: PrintRequest = call.request().await?;
            stdio::print(&call.plugin, request.stdout, request.stderr).await;
            call.send(&Payload::default()).await
        }
        "Die" => die(call).await,
        "Inspect" => inspect(call).await,
        _ => Err(End::Unknown),
    }
}

async fn echo(call: &mut Call) -> Result<(), End> {
    let payload: Payload = call.request().await?;
    name_the_broker_id(call);
    if !call.plugin.script.calls.loses_metadata {
        for (name, value) in &call.incoming.headers {
            let trailer = HeaderName::try_from(format!("trailer-{name}"));
            if let (true, Ok(trailer)) = (name.as_str().starts_with("probe-"), trailer) {
                call.incoming.reply_headers.append(name.clone(), value.clone());
                call.trailers.append(trailer, value.clone());
            }
        }
    }
    call.send(&payload).await
}

/// Says on a brokered connection which id was reached.
pub(super) fn name_the_broker_id(call: &mut Call) {
    if let Some(id) = call.at.id {
        call.incoming.reply_headers.insert("probe-broker-id", HeaderValue::from(id));
    }
}

/// Returns what message `number` of a download holds.
pub(super) fn pattern(number: u64, size: u64) -> Vec<u8> {
    (0..size).map(|at| number.wrapping_add(at) as u8).collect()
}

async fn download(call: &mut Call) -> Result<(), End> {
    let request: DownloadRequest = call.request().await?;
    if request.size > LARGEST {
        return Err(End::status("INVALID_ARGUMENT", "a message of more than 1 GiB"));
    }
    for number in 0..request.count {
        call.send(&Payload { data: pattern(number, request.size) }).await?;
    }
    Ok(())
}

async fn upload(call: &mut Call) -> Result<(), End> {
    let mut summary = UploadSummary::default();
    while let Some(payload) = call.next::<Payload>().await? {
        summary.messages += 1;
        summary.bytes += payload.data.len() as u64;
    }
    call.send(&summary).await
}

async fn chat(call: &mut Call) -> Result<(), End> {
    while let Some(payload) = call.next::<Payload>().await? {
        call.send(&payload).await?;
    }
    Ok(())
}

async fn fail(call: &mut Call) -> Result<(), End> {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD_NO_PAD;
    /// `google.rpc.Status` with the code and text of the request.
    #[derive(Clone, PartialEq, Message)]
    struct Details {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
        #[prost(bytes = "vec", repeated, tag = "3")]
        details: Vec<Vec<u8>>,
    }
    let request: FailRequest = call.request().await?;
    let mut details = Details::decode(&request.details[..])
        .map_err(|error| End::status("INVALID_ARGUMENT", error))?;
    details.code = request.code as i32;
    details.message = request.message.clone();
    call.trailers.insert("probe-failed", HeaderValue::from_static("yes"));
    if let Ok(value) = BASE64_STANDARD_NO_PAD.encode(details.encode_to_vec()).parse() {
        call.trailers.insert("grpc-status-details-bin", value);
    }
    Err(End::Status(Status { code: request.code, message: request.message }))
}

async fn hang(call: &mut Call, id: &str) -> Result<(), End> {
    let plugin = call.plugin.clone();
    let begun = HangReport { started: true, ..HangReport::default() };
    plugin.hangs.note(id, begun.clone());
    plugin.witness.saw("hang-begun", json!({ "hang": id }));
    let deadline = call.deadline().unwrap_or(Duration::MAX);
    let reason = match tokio::time::timeout(deadline, call.incoming.cancelled()).await {
        Ok(()) => "canceled",
        Err(_) => "deadline",
    };
    if plugin.script.calls.ignores_cancel {
        plugin.witness.saw("cancel-ignored", json!({ "hang": id }));
        return Err(End::Gone("cancelled, and not noticed".to_owned()));
    }
    plugin.hangs.note(id, HangReport { cancelled: true, reason: reason.to_owned(), ..begun });
    plugin.witness.saw("hang-ended", json!({ "hang": id, "reason": reason }));
    match reason {
        "deadline" => {
            Err(End::status("DEADLINE_EXCEEDED", "the hanging call reached its deadline"))
        }
        _ => Err(End::Gone("cancelled".to_owned())),
    }
}

async fn await_hang(call: &mut Call) -> Result<(), End> {
    let request: AwaitHangRequest = call.request().await?;
    let plugin = call.plugin.clone();
    let enough = |report: &HangReport| match request.cancelled {
        true => report.cancelled,
        false => report.started,
    };
    let most = Duration::from_millis(request.wait_ms);
    // A timeout is also an answer.
    let _ = tokio::time::timeout(most, plugin.hangs.until(&request.id, enough)).await;
    let report = plugin.hangs.all().get(&request.id).cloned().unwrap_or_default();
    call.send(&report).await
}

async fn die(call: &mut Call) -> Result<(), End> {
    let request: DieRequest = call.request().await?;
    let plugin = call.plugin.clone();
    plugin.witness.saw("dying", json!({ "how": request.how }));
    let (how, status) = request.how.split_once(':').unwrap_or((&request.how, ""));
    match how {
        "exit" => match status.parse::<u8>() {
            Ok(status) => {
                plugin.witness.saw("exit", json!({ "status": status }));
                std::process::exit(i32::from(status))
            }
            Err(_) => Err(End::status("INVALID_ARGUMENT", format!("no exit status: {status:?}"))),
        },
        "panic" | "panic-thread" => {
            panic_like_go(&plugin);
            plugin.witness.saw("exit", json!({ "status": 2 }));
            std::process::exit(2)
        }
        "kill" => {
            acts::signal_self(&plugin, "SIGKILL");
            std::future::pending().await
        }
        "abort" => {
            acts::signal_self(&plugin, "SIGABRT");
            std::future::pending().await
        }
        "stop" => {
            // It continues after SIGCONT.
            acts::signal_self(&plugin, "SIGSTOP");
            call.send(&Payload::default()).await
        }
        _ => Err(End::status("INVALID_ARGUMENT", format!("no such way to die: {how:?}"))),
    }
}

/// Prints a panic: a first line that hosts recognise, and the stack in further lines.
fn panic_like_go(plugin: &Plugin) {
    let script = &plugin.script.shutdown;
    let text = "panic: the probe panics as it was told\n\n\
                stack of the handler:\n\tprobe.die\n\tcalls.dispatch\nexit status 2\n";
    if script.dies_silently {
        return plugin.witness.saw("silent-panic", json!({}));
    }
    match script.panics_in_json {
        true => acts::to_stderr(&format!("{}\n", json!({ "@message": text, "@level": "error" }))),
        false => acts::to_stderr(text),
    }
}

async fn inspect(call: &mut Call) -> Result<(), End> {
    let request = call.request::<Empty>().await;
    request?;
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let unspoken = ["te", "grpc-timeout"];
    let metadata = call
        .incoming
        .headers
        .keys()
        .filter(|name| !unspoken.contains(&name.as_str()))
        .map(|name| {
            let values = call.incoming.headers.get_all(name).iter();
            let values: Vec<_> =
                values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            (name.to_string(), values.join(","))
        })
        .collect();
    let deadline = call.deadline().map_or(0, |deadline| deadline.as_millis().max(1));
    let report = InspectReport {
        args: std::env::args_os().map(text).collect(),
        env: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
        cwd: std::env::current_dir().unwrap_or_default().display().to_string(),
        deadline_ms: u64::try_from(deadline).unwrap_or(u64::MAX),
        metadata,
        stdin_eof: stdin_is_at_its_end(),
        pid: std::process::id(),
        open_files: std::fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64 - 1),
    };
    call.send(&report).await
}

/// Checks without waiting. May consume one byte of an input that is not at its end.
fn stdin_is_at_its_end() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdin = rustix::stdio::stdin();
    let mut ready = [PollFd::from_borrowed_fd(stdin, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut ready, Some(&now)), Ok(1..)) && rustix::io::read(stdin, &mut [0; 1]) == Ok(0)
}
