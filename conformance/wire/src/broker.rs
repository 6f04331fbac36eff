//! The broker's stream as a host sees it: what both of the suite's hosts share, the one that judges plugins and the
//! scripted one (spec, chapters 12 and 13).

use std::ops::ControlFlow;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{Notify, mpsc};

use crate::caller::Call;
use crate::grpc::Status;
use crate::messages::{ConnInfo, Knock};
use crate::socket::Address;

/// The most messages that wait. A plugin that announces more makes the host forget the oldest.
const WAITING: usize = 1024;

/// What the plugin has said and no dial has taken yet.
#[derive(Debug, Default)]
pub struct Inbox {
    came: Mutex<Came>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Came {
    waiting: Vec<ConnInfo>,
    ended: Option<String>,
}

impl Inbox {
    /// Adds a message behind the others.
    pub fn add(&self, message: ConnInfo) {
        let mut came = self.came.lock();
        if came.waiting.len() == WAITING {
            came.waiting.remove(0);
        }
        came.waiting.push(message);
        drop(came);
        self.changed.notify_waiters();
    }

    /// Takes the first message that fits.
    pub fn take(&self, wanted: impl Fn(&ConnInfo) -> bool) -> Option<ConnInfo> {
        let mut came = self.came.lock();
        let at = came.waiting.iter().position(wanted)?;
        Some(came.waiting.remove(at))
    }

    /// Drops every message about an id.
    pub fn forget(&self, id: u32) {
        self.came.lock().waiting.retain(|message| message.service_id != id);
    }

    /// Waits for a message that fits and takes it. Fails with how the stream ended. Cancel safe.
    pub async fn next(&self, wanted: impl Fn(&ConnInfo) -> bool) -> Result<ConnInfo, String> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(message) = self.take(&wanted) {
                return Ok(message);
            }
            if let Some(how) = self.ended() {
                return Err(how);
            }
            changed.await;
        }
    }

    /// Notes how the stream ended. Messages that came before can still be taken.
    pub fn end(&self, how: impl Into<String>) {
        self.came.lock().ended.get_or_insert(how.into());
        self.changed.notify_waiters();
    }

    /// Returns how the stream ended, if it has.
    pub fn ended(&self) -> Option<String> {
        self.came.lock().ended.clone()
    }
}

/// Carries messages in both directions until the stream ends or `take` breaks off, and returns how it ended.
pub async fn exchange(
    mut call: Call,
    mut outbox: mpsc::UnboundedReceiver<ConnInfo>,
    mut take: impl FnMut(Bytes) -> ControlFlow<()>,
) -> String {
    loop {
        tokio::select! {
            message = outbox.recv() => {
                let Some(message) = message else { return "closed by the host".to_owned() };
                if let Err(error) = call.send(&message.encode_to_vec()).await {
                    return error.to_string();
                }
            }
            came = call.next() => match came {
                Ok(Some(message)) => {
                    if take(message).is_break() {
                        return "broken off by the host".to_owned();
                    }
                }
                Ok(None) => return call.status().unwrap_or(Status::OK).to_string(),
                Err(error) => return error.to_string(),
            }
        }
    }
}

/// Says where an id is served.
pub fn announcement(id: u32, address: &Address) -> ConnInfo {
    let (network, address) = (address.network().to_owned(), address.to_string());
    ConnInfo { service_id: id, network, address, knock: None }
}

/// Asks whether an id is served.
pub fn knock(id: u32) -> ConnInfo {
    knocking(id, false, "")
}

/// Answers a knock; with an error, it refuses.
pub fn acknowledgement(id: u32, error: &str) -> ConnInfo {
    knocking(id, true, error)
}

fn knocking(id: u32, ack: bool, error: &str) -> ConnInfo {
    let knock = Knock { knock: true, ack, error: error.to_owned() };
    ConnInfo { service_id: id, knock: Some(knock), ..ConnInfo::default() }
}

/// Returns true for a knock for this id.
pub fn is_knock(info: &ConnInfo, id: u32) -> bool {
    info.service_id == id && info.knock.as_ref().is_some_and(|knock| !knock.ack)
}

/// Returns true for the answer to a knock for this id.
pub fn is_answer(info: &ConnInfo, id: u32) -> bool {
    info.service_id == id && info.knock.as_ref().is_some_and(|knock| knock.ack)
}

/// Returns true for the announcement of this id.
pub fn is_announcement(info: &ConnInfo, id: u32) -> bool {
    info.service_id == id && info.knock.is_none()
}

/// Describes a message for the trace.
pub fn described(info: &ConnInfo) -> String {
    let id = info.service_id;
    match &info.knock {
        None => format!("id {id} is at {} {}", info.network, info.address),
        Some(Knock { ack: false, .. }) => format!("knock for id {id}"),
        Some(Knock { error, .. }) if error.is_empty() => format!("knock for id {id} accepted"),
        Some(Knock { error, .. }) => format!("knock for id {id} refused: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_came_is_taken_once_also_after_the_end() {
        let inbox = Inbox::default();
        inbox.add(knock(1));
        inbox.add(acknowledgement(1, ""));
        inbox.add(knock(2));
        inbox.forget(2);
        inbox.end("closed");
        assert_eq!(inbox.next(|info| is_answer(info, 1)).await, Ok(acknowledgement(1, "")));
        assert_eq!(inbox.next(|info| is_answer(info, 1)).await, Err("closed".to_owned()));
        assert!(inbox.take(|info| is_knock(info, 2)).is_none());
        assert!(inbox.take(|info| is_knock(info, 1)).is_some());
    }
}
