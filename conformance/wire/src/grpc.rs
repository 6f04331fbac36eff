//! What gRPC's two ends share: statuses and the framing of messages.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The number, 0 for success.
    pub code: u32,
    /// The text.
    pub message: String,
}

/// The names of the seventeen codes, in their order.
pub const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Status {
    /// Success.
    pub const OK: Self = Self { code: 0, message: String::new() };

    /// Returns a status by its name; a name that is none of the seventeen is UNKNOWN.
    pub fn new(name: &str, message: impl Into<String>) -> Self {
        let code = CODES.iter().position(|code| *code == name).unwrap_or(2);
        Self { code: code as u32, message: message.into() }
    }

    /// Returns the code's name.
    pub fn name(&self) -> &'static str {
        CODES.get(self.code as usize).copied().unwrap_or("UNKNOWN")
    }

    /// Reads a status from trailers, or from the headers of a trailers-only answer; none if there
    /// is no status.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
        let message = headers.get("grpc-message").map_or("", |value| value.to_str().unwrap_or(""));
        Some(Self { code, message: percent_decoded(message) })
    }

    /// As trailers.
    pub fn trailers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", self.code.into());
        if !self.message.is_empty()
            && let Ok(message) = percent_encoded(&self.message).parse()
        {
            headers.insert("grpc-message", message);
        }
        headers
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self.message.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", self.message),
        }
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
        out
    })
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One message with its prefix of five bytes.
pub fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + message.len());
    out.put_u8(0);
    out.put_u32(message.len() as u32);
    out.put_slice(message);
    out.freeze()
}

/// Cuts a stream of DATA into messages.
#[derive(Debug, Default)]
pub struct Unframer(BytesMut);

/// The largest message that is taken: what a subject announces must not make the suite allocate without bound.
pub const LARGEST: usize = 256 * 1024 * 1024;

impl Unframer {
    /// Adds what came.
    pub fn push(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

    /// Returns the next whole message, if there is one.
    pub fn message(&mut self) -> Result<Option<Bytes>, String> {
        let Some(prefix) = self.0.get(..5) else { return Ok(None) };
        if prefix[0] > 1 {
            return Err(format!("a message's first byte is {}, not 0 or 1", prefix[0]));
        }
        if prefix[0] == 1 {
            return Err("a compressed message, though none was agreed on".to_owned());
        }
        let size = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if size > LARGEST {
            return Err(format!("a message of {size} bytes"));
        }
        if self.0.len() < 5 + size {
            return Ok(None);
        }
        self.0.advance(5);
        Ok(Some(self.0.split_to(size).freeze()))
    }

    /// Returns whether the stream ended between two messages.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let whole =
            [framed(b"one").as_ref(), framed(b"").as_ref(), framed(&[7; 300]).as_ref()].concat();
        for size in [1, 2, 7, whole.len()] {
            let mut unframer = Unframer::default();
            let mut got = Vec::new();
            for part in whole.chunks(size) {
                unframer.push(part);
                while let Some(message) = unframer.message().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, [Bytes::from("one"), Bytes::new(), Bytes::from(vec![7; 300])]);
            assert!(unframer.is_empty());
        }
    }

    #[test]
    fn a_status_survives_its_trailers() {
        let status = Status::new("NOT_FOUND", "50 % of ä\n");
        assert_eq!(Status::of(&status.trailers()), Some(status));
        assert_eq!(Status::of(&HeaderMap::new()), None);
    }
}
