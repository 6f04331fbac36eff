//! gRPC's answering side, on `h2`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response, StatusCode};

use crate::grpc::{Status, Unframer, framed};
use crate::socket::Io;
use crate::trace::Trace;

const WINDOW: u32 = 16 * 1024 * 1024;

/// A future that a handler returns.
pub type Handling = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A handler of calls.
pub trait Service: Send + Sync {
    /// Answers one call. What is dropped unanswered is reset.
    fn call(&self, call: Incoming) -> Handling;
}

impl<F: Fn(Incoming) -> Handling + Send + Sync> Service for F {
    fn call(&self, call: Incoming) -> Handling {
        self(call)
    }
}

/// What the paths of services that every plugin has begin with: broker, stdio, controller; health, reflection.
const PLUMBING: [&str; 2] = ["/plugin.", "/grpc."];

/// How a connection is served.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// The number of concurrent calls; `None` for no limit.
    pub concurrent: Option<u32>,
    /// The number of calls cancelled before they were taken after which the connection ends with
    /// GOAWAY. `None`: never.
    pub resets: Option<usize>,
    /// The number of calls after which the connection ends with GOAWAY; these calls are answered.
    /// `None`: never. Calls of services that every plugin has do not count, since each host makes
    /// them at different times.
    pub calls: Option<u32>,
}

/// Serves one connection until it ends and returns how it ended. Dropping the future cuts the
/// connection and its calls.
pub async fn serve(
    io: Io,
    service: Arc<dyn Service>,
    limits: &Limits,
    name: &str,
    trace: &Trace,
) -> Result<(), String> {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .max_frame_size(1024 * 1024)
        .max_header_list_size(16 * 1024 * 1024);
    let resets = limits.resets.unwrap_or(usize::MAX);
    builder.max_pending_accept_reset_streams(resets).max_local_error_reset_streams(Some(resets));
    if let Some(most) = limits.concurrent {
        builder.max_concurrent_streams(most);
    }
    let mut connection = builder.handshake(io).await.map_err(|error| error.to_string())?;
    trace.event("grpc", format!("{name}: HTTP/2 begins"));
    let mut calls = tokio::task::JoinSet::new();
    let mut taken = 0;
    let ended = loop {
        tokio::select! {
            next = connection.accept() => match next {
                Some(Ok((request, respond))) => {
                    let is_own = !PLUMBING.iter().any(|of| request.uri().path().starts_with(of));
                    calls.spawn(service.call(Incoming::new(request, respond)));
                    taken += u32::from(is_own);
                    if is_own && limits.calls.is_some_and(|most| taken == most) {
                        connection.graceful_shutdown();
                    }
                }
                Some(Err(error)) => break Err(error.to_string()),
                None => break Ok(()),
            },
            Some(_) = calls.join_next(), if !calls.is_empty() => {}
        }
    };
    let how = ended.as_ref().err().map_or("closed", String::as_str);
    trace.event("grpc", format!("{name}: the connection ended: {how}"));
    ended
}

/// A call to answer.
pub struct Incoming {
    /// `/package.Service/Method`.
    pub method: String,
    /// The `:authority` that was asked for.
    pub authority: String,
    /// Metadata and gRPC's own headers.
    pub headers: HeaderMap,
    request: RecvStream,
    respond: SendResponse<Bytes>,
    answer: Option<SendStream<Bytes>>,
    unframer: Unframer,
    /// Metadata for the answer's headers, until they are sent.
    pub reply_headers: HeaderMap,
    ended: bool,
}

impl Incoming {
    fn new(request: http::Request<RecvStream>, respond: SendResponse<Bytes>) -> Self {
        let (head, request) = request.into_parts();
        Self {
            method: head.uri.path().to_owned(),
            authority: head.uri.authority().map(ToString::to_string).unwrap_or_default(),
            headers: head.headers,
            request,
            respond,
            answer: None,
            unframer: Unframer::default(),
            reply_headers: HeaderMap::new(),
            ended: false,
        }
    }

    /// Returns the caller's next message, none at its end. Fails if the call was cancelled or is
    /// not gRPC. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            if let Some(message) = self.unframer.message()? {
                return Ok(Some(message));
            }
            match self.request.data().await {
                Some(Ok(data)) => {
                    self.unframer.push(&data);
                    let flow = self.request.flow_control();
                    flow.release_capacity(data.len()).map_err(|error| error.to_string())?;
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => return Ok(None),
            }
        }
    }

    /// Sends the headers, if they were not.
    pub fn begin(&mut self) -> Result<(), String> {
        self.start(StatusCode::OK, "application/grpc")
    }

    /// Sends these headers instead of the right ones.
    pub fn start(&mut self, status: StatusCode, kind: &'static str) -> Result<(), String> {
        if self.answer.is_some() {
            return Ok(());
        }
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = std::mem::take(&mut self.reply_headers);
        response.headers_mut().insert("content-type", http::HeaderValue::from_static(kind));
        let answer = self.respond.send_response(response, false);
        self.answer = Some(answer.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// Sends a message, as the caller's window allows.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), String> {
        self.send_raw(framed(message)).await
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, mut bytes: Bytes) -> Result<(), String> {
        self.begin()?;
        let Some(answer) = &mut self.answer else { return Err("no answer was begun".to_owned()) };
        while !bytes.is_empty() {
            answer.reserve_capacity(bytes.len());
            let room = std::future::poll_fn(|context| answer.poll_capacity(context)).await;
            let room = match room {
                Some(room) => room.map_err(|error| error.to_string())?,
                None => return Err("the caller has gone".to_owned()),
            };
            let part = bytes.split_to(room.min(bytes.len()));
            answer.send_data(part, false).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Ends the answer.
    pub fn finish(self, status: &Status) {
        self.finish_with(status.trailers());
    }

    /// Ends it with these trailers, `grpc-status` among them.
    pub fn finish_with(mut self, trailers: HeaderMap) {
        self.ended = true;
        if self.begin().is_ok()
            && let Some(answer) = &mut self.answer
        {
            // Fails if the caller is gone, which does not matter.
            let _ = answer.send_trailers(trailers);
        }
    }

    /// Ends it without a status.
    pub fn finish_without_trailers(mut self) {
        self.ended = true;
        if self.begin().is_ok()
            && let Some(answer) = &mut self.answer
        {
            let _ = answer.send_data(Bytes::new(), true);
        }
    }

    /// Sends one message and success.
    pub async fn reply(mut self, message: &[u8]) {
        if self.send(message).await.is_ok() {
            self.finish(&Status::OK);
        }
    }

    /// Breaks the stream.
    pub fn reset(mut self, reason: Reason) {
        self.ended = true;
        self.respond.send_reset(reason);
    }

    /// Waits until the caller has cancelled, or gone. Cancel safe.
    pub async fn cancelled(&mut self) {
        let _ = match &mut self.answer {
            Some(answer) => std::future::poll_fn(|context| answer.poll_reset(context)).await,
            None => std::future::poll_fn(|context| self.respond.poll_reset(context)).await,
        };
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.ended {
            self.respond.send_reset(Reason::CANCEL);
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("method", &self.method).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Caller, Options};

    fn echo(mut call: Incoming) -> Handling {
        Box::pin(async move {
            while let Ok(Some(message)) = call.next().await {
                if call.send(&message).await.is_err() {
                    return;
                }
            }
            call.finish(&Status::new("NOT_FOUND", "at its end"));
        })
    }

    #[tokio::test]
    async fn messages_and_status_arrive() {
        let trace = Trace::new();
        let (one, other) = tokio::io::duplex(4096);
        let log = trace.clone();
        let served = tokio::spawn(async move {
            serve(Box::new(other), Arc::new(echo), &Limits::default(), "plugin", &log).await
        });
        let caller = Caller::connect(Box::new(one), "unused", "host", &trace).await.unwrap();
        let large = Bytes::from(vec![3; 5_000_000]);
        let reply = caller.unary("/a.B/C", large.clone(), &Options::default()).await.unwrap();
        assert_eq!(reply.messages, [large]);
        assert_eq!(reply.status, Status::new("NOT_FOUND", "at its end"));
        drop(caller);
        let _ = served.await.unwrap();
    }
}
