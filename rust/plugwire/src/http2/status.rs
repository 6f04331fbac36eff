//! The gRPC status of a failure below gRPC.

use std::sync::Arc;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use futures_util::future::BoxFuture;
use h2::Reason;
use http::{HeaderMap, HeaderValue};
use plugwire_protocol::evidence::{EXCERPT_LIMIT, excerpt, printable};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::peer::{Cause, Peer};

/// Maps an HTTP/2 error by gRPC's own table. A connection that is gone is `Unavailable`.
pub(super) fn from_h2(error: &h2::Error) -> Status {
    let code = match error.reason() {
        _ if error.is_io() || error.is_go_away() => Code::Unavailable,
        Some(Reason::REFUSED_STREAM) => Code::Unavailable,
        Some(Reason::CANCEL) => Code::Cancelled,
        Some(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
        Some(_) => Code::Internal,
        None => Code::Unavailable,
    };
    let mut status = Status::new(code, in_words(error));
    // HTTP/2: streams that the last GOAWAY does not cover have not been looked at.
    if error.is_go_away() && error.is_remote() {
        status.set_source(Arc::new(NotProcessed));
    }
    status
}

/// Returns the error's text. A peer that closes the connection can add a megabyte of its own to it.
pub(super) fn in_words(error: &h2::Error) -> String {
    let text = error.to_string();
    match text.len() > EXCERPT_LIMIT {
        true => format!("HTTP/2: {}", excerpt(text)),
        false => format!("HTTP/2: {}", printable(&text)),
    }
}

/// The source of the status of a call that the other side never saw, because it was closing the
/// connection. Such a call can always be made again, whatever it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side was closing the connection and has not seen the call; make it again")]
#[non_exhaustive]
pub struct NotProcessed;

impl NotProcessed {
    /// Returns whether this is the source of `status`.
    #[must_use]
    pub fn is_source_of(status: &Status) -> bool {
        std::error::Error::source(status).is_some_and(|source| source.is::<Self>())
    }
}

/// Makes the status of a call that failed. Where the connection itself is gone, the status says why.
pub(super) fn explain(
    error: h2::Error,
    peer: Option<Arc<dyn Peer>>,
    deadline: Option<Instant>,
) -> BoxFuture<'static, Status> {
    // A Go server resets the call at its deadline, and that may arrive before our own timer wakes us.
    let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
    Box::pin(async move {
        if late && error.reason() == Some(Reason::CANCEL) {
            return deadline_exceeded();
        }
        let of_the_connection = error.is_io() || error.is_go_away();
        let cause = match peer {
            Some(peer) if of_the_connection => peer.cause_of_end().await,
            _ => None,
        };
        cause.map_or_else(|| from_h2(&error), gone)
    })
}

/// Makes the status of a call whose plugin is gone. Its source is `cause` itself.
fn gone(cause: Cause) -> Status {
    let mut status = Status::unavailable(cause.to_string());
    status.set_source(cause);
    status
}

pub(super) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("the call's deadline has passed")
}

/// Returns the trailers that carry a status.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // Fails on a message that cannot be a header even when escaped. The peer then gets only the code.
    if status.add_header(&mut headers).is_err() {
        headers.insert("grpc-status", HeaderValue::from_static("13"));
    }
    headers
}

/// Removes a header on which tonic would panic: it expects `grpc-status-details-bin` to be base64, and
/// a peer can send anything.
pub(super) fn drop_broken_details(headers: &mut HeaderMap) {
    const DETAILS: &str = "grpc-status-details-bin";
    let Some(value) = headers.get(DETAILS) else { return };
    if BASE64.decode(value.as_bytes()).is_err() {
        tracing::warn!("status details that are not base64 were dropped");
        headers.remove(DETAILS);
    }
}

/// As lenient as tonic's: padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;

    fn survives(details: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static("3"));
        headers.insert("grpc-status-details-bin", HeaderValue::from_static(details));
        drop_broken_details(&mut headers);
        let status = Status::from_header_map(&headers).expect("a status");
        assert_eq!(status.code(), Code::InvalidArgument);
        headers.contains_key("grpc-status-details-bin")
    }

    #[test]
    fn details_that_are_not_base64_do_not_reach_tonic() {
        assert!(survives("AAEC"));
        assert!(survives("AAE="));
        assert!(survives("AAE"));
        assert!(!survives("A"));
        assert!(!survives("!!!"));
        assert!(!survives("AAE=AAE="));
    }
}
