//! gRPC's calling side, on `h2`.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Version};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::grpc::{Status, Unframer, framed};
use crate::socket::Io;
use crate::trace::Trace;

/// Windows as wide as a test needs them: a large answer must not wait for us.
const WINDOW: u32 = 16 * 1024 * 1024;

/// A connection on which calls are made. A clone makes calls on the same one; the last to go closes it.
#[derive(Clone)]
pub struct Caller {
    send: SendRequest<Bytes>,
    authority: String,
    trace: Trace,
    name: String,
    connection: std::sync::Arc<Connection>,
}

struct Connection {
    driver: JoinHandle<()>,
    ended: watch::Receiver<Option<String>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A call without a status: the connection or the stream broke, or the answer is not gRPC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Broken {
    why: String,
    /// What the other side reset the stream with.
    reset: Option<Reason>,
}

impl Broken {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), reset: None }
    }
}

/// What travels with a call besides its messages.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Metadata; values of keys that end in `-bin` are base64 already.
    pub metadata: Vec<(String, String)>,
    /// Sent as `grpc-timeout`. Nothing here enforces it.
    pub timeout: Option<Duration>,
}

/// A finished call.
#[derive(Debug, Clone)]
pub struct Reply {
    /// All messages of the answer.
    pub messages: Vec<Bytes>,
    /// The headers.
    pub headers: HeaderMap,
    /// The trailers; of an answer without messages, its headers.
    pub trailers: HeaderMap,
    /// The status.
    pub status: Status,
}

impl Caller {
    /// Begins HTTP/2 on a connection. `name` is what the trace calls it.
    pub async fn connect(
        io: Io,
        authority: &str,
        name: &str,
        trace: &Trace,
    ) -> Result<Self, Broken> {
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .max_frame_size(1024 * 1024)
            .max_header_list_size(16 * 1024 * 1024)
            .enable_push(false)
            .handshake::<_, Bytes>(io)
            .await
            .map_err(|error| Broken::new(format!("HTTP/2 did not begin: {error}")))?;
        let (end, ended) = watch::channel(None);
        let (log, label) = (trace.clone(), name.to_owned());
        let driver = tokio::spawn(async move {
            let how = match connection.await {
                Ok(()) => "closed".to_owned(),
                Err(error) => error.to_string(),
            };
            log.event("grpc", format!("{label}: the connection ended: {how}"));
            end.send_replace(Some(how));
        });
        let connection = std::sync::Arc::new(Connection { driver, ended });
        trace.event("grpc", format!("{name}: HTTP/2 begins"));
        Ok(Self {
            send,
            authority: authority.to_owned(),
            trace: trace.clone(),
            name: name.to_owned(),
            connection,
        })
    }

    /// Sends one request and collects all answers.
    pub async fn unary(
        &self,
        method: &str,
        request: Bytes,
        options: &Options,
    ) -> Result<Reply, Broken> {
        let mut call = self.open(method, options).await?;
        // The answer may come before the whole request was taken; then only the answer counts.
        let sent = call.send_last(&request).await;
        let reply = match (call.rest().await, sent) {
            (Err(_), Err(sent)) => Err(sent),
            (reply, _) => reply,
        };
        match &reply {
            Ok(reply) => self.trace.event(
                "grpc",
                format!(
                    "{}: {method}: {}, {} messages",
                    self.name,
                    reply.status,
                    reply.messages.len()
                ),
            ),
            Err(error) => self.trace.event("grpc", format!("{}: {method}: {error}", self.name)),
        }
        reply
    }

    /// Begins a call; nothing is waited for but room for one more stream.
    pub async fn open(&self, method: &str, options: &Options) -> Result<Call, Broken> {
        let mut send = self.send.clone().ready().await.map_err(broken)?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}{method}", self.authority))
            .version(Version::HTTP_2)
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .header("user-agent", "plugwire-conformance");
        if let Some(timeout) = options.timeout {
            request =
                request.header("grpc-timeout", format!("{}m", timeout.as_millis().min(99_999_999)));
        }
        for (name, value) in &options.metadata {
            request = request.header(name, value);
        }
        let request = request.body(()).map_err(|error| Broken::new(error.to_string()))?;
        let (response, body) = send.send_request(request, false).map_err(broken)?;
        self.trace.event("grpc", format!("{}: {method} begins", self.name));
        Ok(Call {
            body,
            response: Some(response),
            answer: None,
            headers: HeaderMap::new(),
            trailers: None,
            unframer: Unframer::default(),
        })
    }

    /// Waits until the connection has ended, and says how. Cancel safe.
    pub async fn ended(&self) -> String {
        let mut ended = self.connection.ended.clone();
        let how = ended.wait_for(Option::is_some).await.ok().and_then(|how| how.clone());
        how.unwrap_or_else(|| "closed by the suite".to_owned())
    }

    /// Returns how the connection ended, if it has.
    pub fn has_ended(&self) -> Option<String> {
        self.connection.ended.borrow().clone()
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A call in progress. Dropping it cancels the call.
pub struct Call {
    body: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    answer: Option<RecvStream>,
    /// The answer's headers, once they came.
    pub headers: HeaderMap,
    trailers: Option<HeaderMap>,
    unframer: Unframer,
}

impl Call {
    /// Sends a message, as the other side's window allows.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), Broken> {
        self.send_raw(framed(message)).await
    }

    /// Sends a message, and says with it that no further one comes.
    pub async fn send_last(&mut self, message: &[u8]) -> Result<(), Broken> {
        self.send_all(framed(message), true).await
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: Bytes) -> Result<(), Broken> {
        self.send_all(bytes, false).await
    }

    async fn send_all(&mut self, mut bytes: Bytes, last: bool) -> Result<(), Broken> {
        while !bytes.is_empty() {
            self.body.reserve_capacity(bytes.len());
            let room = std::future::poll_fn(|context| self.body.poll_capacity(context)).await;
            let room = match room {
                Some(room) => room.map_err(broken)?,
                None => return Err(Broken::new("the other side ended the stream")),
            };
            let part = bytes.split_to(room.min(bytes.len()));
            self.body.send_data(part, last && bytes.is_empty()).map_err(broken)?;
        }
        Ok(())
    }

    /// Says that no further message comes.
    pub fn finish(&mut self) -> Result<(), Broken> {
        self.body.send_data(Bytes::new(), true).map_err(broken)
    }

    /// Cancels the call.
    pub fn cancel(&mut self) {
        self.body.send_reset(Reason::CANCEL);
    }

    /// Returns the next message; none when the answer has ended, and [`Call::status`] tells how. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        self.answered().await?;
        loop {
            if let Some(message) = self.unframer.message().map_err(Broken::new)? {
                return Ok(Some(message));
            }
            let Some(body) = &mut self.answer else { return Ok(None) };
            if self.trailers.is_some() {
                return Ok(None);
            }
            match body.data().await {
                Some(data) => {
                    let data = data.map_err(broken)?;
                    self.unframer.push(&data);
                    body.flow_control().release_capacity(data.len()).map_err(broken)?;
                }
                None => {
                    if !self.unframer.is_empty() {
                        return Err(Broken::new("the answer ended inside a message"));
                    }
                    let trailers = body.trailers().await.map_err(broken)?;
                    self.trailers = Some(trailers.unwrap_or_else(|| self.headers.clone()));
                }
            }
        }
    }

    /// Waits for the answer's headers. Cancel safe.
    pub async fn answered(&mut self) -> Result<(), Broken> {
        let Some(response) = &mut self.response else { return Ok(()) };
        let response = response.await;
        self.response = None;
        let (head, body) = response.map_err(broken)?.into_parts();
        self.headers = head.headers;
        if head.status != http::StatusCode::OK {
            return Err(Broken::new(format!("HTTP status {}", head.status)));
        }
        let kind = self.headers.get("content-type").and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("application/grpc")) {
            return Err(Broken::new(format!("the answer's content type is {kind:?}")));
        }
        self.answer = Some(body);
        Ok(())
    }

    /// Returns the status, once the answer has ended.
    pub fn status(&self) -> Option<Status> {
        self.trailers.as_ref().and_then(Status::of)
    }

    /// Reads the answer to its end.
    pub async fn rest(mut self) -> Result<Reply, Broken> {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                // gRPC's meaning of a stream that is reset with CANCEL, as grpc-go does at a deadline.
                Err(broken) if broken.reset == Some(Reason::CANCEL) => {
                    self.trailers = Some(Status::new("CANCELLED", broken.why).trailers());
                    break;
                }
                Err(broken) => return Err(broken),
            }
        }
        let trailers = self.trailers.take().unwrap_or_default();
        let status =
            Status::of(&trailers).ok_or_else(|| Broken::new("the answer has no grpc-status"))?;
        Ok(Reply { messages, headers: std::mem::take(&mut self.headers), trailers, status })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.trailers.is_none() {
            self.body.send_reset(Reason::CANCEL);
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

fn broken(error: h2::Error) -> Broken {
    let reset = error.reason().filter(|_| error.is_reset() && error.is_remote());
    Broken { why: error.to_string(), reset }
}
