//! A call, from its path to its status.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::HeaderMap;
use plugwire_conformance_wire::answerer::{Handling, Incoming, Service};
use plugwire_conformance_wire::grpc::Status;
use plugwire_conformance_wire::messages::method;
use prost::Message;
use serde_json::json;
use tokio::sync::{Mutex, Notify, watch};

use super::{Plugin, acts, broker, broker_probe, health, probe, reflection, shutdown, stdio};
use crate::script::{Act, TooLarge, UnknownMethod};

/// The counters over all calls.
#[derive(Debug, Default)]
pub(super) struct Counters {
    next: AtomicU64,
    any: watch::Sender<bool>,
    /// Held by the only running call, if the script allows one at a time.
    turn: Mutex<()>,
}

impl Counters {
    /// Waits for the first call. Cancel safe.
    pub(super) async fn first(&self) {
        let mut any = self.any.subscribe();
        // Fails only without a sender, which is right here.
        let _ = any.wait_for(|any| *any).await;
    }
}

/// Where a call came in.
#[derive(Debug, Clone)]
pub(super) struct At {
    /// The name of the connection in the witness.
    pub(super) name: String,
    /// The id of a brokered connection.
    pub(super) id: Option<u32>,
    /// Told when the connection is to be closed.
    pub(super) cut: Arc<Notify>,
}

impl At {
    /// Returns the host's `number`th main connection.
    pub(super) fn main(number: u32) -> Self {
        Self { name: format!("main {number}"), id: None, cut: Arc::default() }
    }

    /// Returns a connection to what the plugin accepts.
    pub(super) fn brokered(id: u32) -> Self {
        Self { name: format!("broker {id}"), id: Some(id), cut: Arc::default() }
    }
}

/// Gives each call of a connection to its service.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) plugin: Arc<Plugin>,
    pub(super) at: At,
}

impl Service for Router {
    fn call(&self, incoming: Incoming) -> Handling {
        let id = self.plugin.calls.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.plugin.calls.any.send_replace(true);
        let call = Call {
            plugin: self.plugin.clone(),
            at: self.at.clone(),
            id,
            sent: 0,
            trailers: HeaderMap::new(),
            incoming,
        };
        Box::pin(call.run())
    }
}

/// Why a handler is done before its method's end.
#[derive(Debug)]
pub(super) enum End {
    /// With this status.
    Status(Status),
    /// The caller has cancelled, or gone.
    Gone(String),
    /// There is no such method.
    Unknown,
}

impl End {
    /// With the status of this name.
    pub(super) fn status(name: &str, message: impl fmt::Display) -> Self {
        Self::Status(Status::new(name, message.to_string()))
    }
}

/// A call that is being answered.
pub(super) struct Call {
    pub(super) plugin: Arc<Plugin>,
    pub(super) at: At,
    id: u64,
    sent: u64,
    /// Metadata that goes with the status.
    pub(super) trailers: HeaderMap,
    pub(super) incoming: Incoming,
}

impl Call {
    async fn run(mut self) {
        let plugin = self.plugin.clone();
        let (method, on) = (self.incoming.method.clone(), self.at.name.clone());
        plugin.witness.saw("call", json!({ "call": self.id, "method": method, "connection": on }));
        let script = &plugin.script.calls;
        // The host keeps its calls of these open for the whole session.
        let lasting = method.starts_with("/plugin.");
        let _turn = match script.one_at_a_time && !lasting {
            true => Some(plugin.calls.turn.lock().await),
            false => None,
        };
        self.acts().await;
        let demanded = script.demands_authority.as_ref();
        if demanded.is_some_and(|authority| *authority != self.incoming.authority) {
            plugin.witness.saw("authority-refused", json!({ "call": self.id }));
            return self.incoming.reset(Reason::PROTOCOL_ERROR);
        }
        if script.reset.iter().any(|rule| fits(rule, &method)) {
            self.incoming.reset(Reason::INTERNAL_ERROR);
            return plugin.witness.saw("stream-reset", json!({ "call": self.id }));
        }
        if script.cut.iter().any(|rule| fits(rule, &method)) {
            self.at.cut.notify_one();
            // Ending the call here would reset its stream, which would be an answer.
            return std::future::pending().await;
        }
        if script.hang.iter().any(|rule| fits(rule, &method)) {
            return self.hang().await;
        }
        let status = script.status.iter().find(|(rule, _)| fits(rule, &method));
        let ended = match status {
            Some((_, code)) => {
                let status =
                    Status { code: code.number(), message: "as the script says".to_owned() };
                Err(End::Status(status))
            }
            None => self.dispatch(&method).await,
        };
        self.end(ended).await;
    }

    async fn dispatch(&mut self, full_method: &str) -> Result<(), End> {
        let path = full_method.strip_prefix('/').and_then(|path| path.split_once('/'));
        let Some((service, name)) = path else { return Err(End::Unknown) };
        if !services(&self.plugin, &self.at).contains(&service) {
            return Err(End::Unknown);
        }
        match full_method {
            method::START_STREAM => broker::start_stream(self).await,
            method::STREAM_STDIO => stdio::stream(self).await,
            method::SHUTDOWN => shutdown::call(self).await,
            method::REFLECT_V1 | method::REFLECT_V1ALPHA => reflection::answer(self).await,
            _ if service == HEALTH => health::answer(self, name).await,
            _ if service == PROBE => probe::answer(self, name).await,
            _ if service == BROKER_PROBE => broker_probe::answer(self, name).await,
            _ => Err(End::Unknown),
        }
    }

    async fn end(self, ended: Result<(), End>) {
        let plugin = self.plugin.clone();
        let (id, sent) = (self.id, self.sent);
        let status = match ended {
            Ok(()) => Status::OK,
            Err(End::Status(status)) => status,
            Err(End::Unknown) => return self.unknown().await,
            Err(End::Gone(why)) => {
                return plugin.witness.saw("cancelled", json!({ "call": id, "why": why }));
            }
        };
        let mut trailers = status.trailers();
        if !plugin.script.calls.loses_trailers {
            trailers.extend(self.trailers);
        }
        if plugin.script.calls.loses_error_texts {
            trailers = Status { message: String::new(), ..status.clone() }.trailers();
        }
        match plugin.script.calls.no_trailers {
            true => self.incoming.finish_without_trailers(),
            false => self.incoming.finish_with(trailers),
        }
        let told = json!({ "call": id, "status": status.name(), "messages": sent });
        plugin.witness.saw("answered", told);
    }

    async fn unknown(mut self) {
        let plugin = self.plugin.clone();
        let method = self.incoming.method.clone();
        let status = match plugin.script.calls.unknown_method {
            UnknownMethod::Unimplemented => {
                Status::new("UNIMPLEMENTED", format!("unknown method {method}"))
            }
            UnknownMethod::Internal => Status::new("INTERNAL", format!("unknown method {method}")),
            UnknownMethod::Ok => {
                let _ = self.send_bytes(Bytes::new()).await;
                Status::OK
            }
            UnknownMethod::Hangs => return self.hang().await,
            UnknownMethod::Exits => exit(&plugin, "unknown method"),
        };
        let told = json!({ "call": self.id, "status": status.name(), "unknown": method });
        self.incoming.finish(&status);
        plugin.witness.saw("answered", told);
    }

    /// Does not answer, until the caller goes.
    pub(super) async fn hang(mut self) {
        let plugin = self.plugin.clone();
        plugin
            .witness
            .saw("call-hangs", json!({ "call": self.id, "method": self.incoming.method }));
        self.incoming.cancelled().await;
        plugin.witness.saw("cancelled", json!({ "call": self.id }));
    }

    async fn acts(&mut self) {
        let plugin = self.plugin.clone();
        let all = plugin.script.calls.acts.iter();
        let due = all
            .filter(|at| at.after_messages == self.sent && fits(&at.method, &self.incoming.method));
        let due: Vec<Act> = due.flat_map(|at| at.acts.clone()).collect();
        acts::run(&plugin, &due).await;
    }

    /// Returns the caller's next message; none at its end. Cancel safe where the script lets it through.
    pub(super) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, End> {
        let Some(bytes) = self.incoming.next().await.map_err(End::Gone)? else { return Ok(None) };
        // As in the other probe plugins, brokered connections have no limit.
        if self.at.id.is_none() && bytes.len() > self.plugin.script.calls.request_limit {
            return Err(self.too_large(bytes.len()).await);
        }
        let size = bytes.len();
        let message = M::decode(bytes).map_err(|error| End::status("INTERNAL", error))?;
        // Unknown fields are missing after decoding.
        if self.plugin.script.calls.chokes_on_unknown_fields && message.encoded_len() != size {
            return Err(End::status("INTERNAL", "an unknown field"));
        }
        Ok(Some(message))
    }

    /// Returns the one message of a call that has one.
    pub(super) async fn request<M: Message + Default>(&mut self) -> Result<M, End> {
        let message = self.next().await?;
        message.ok_or_else(|| End::status("INTERNAL", "no request came"))
    }

    async fn too_large(&mut self, size: usize) -> End {
        self.plugin.witness.saw("too-large", json!({ "call": self.id, "bytes": size }));
        match self.plugin.script.calls.too_large {
            TooLarge::Refused => {
                End::status("RESOURCE_EXHAUSTED", format!("a request of {size} bytes is too large"))
            }
            TooLarge::Hangs => {
                self.incoming.cancelled().await;
                End::Gone("cancelled".to_owned())
            }
            TooLarge::Exits => exit(&self.plugin, "too large"),
        }
    }

    /// Sends a message.
    pub(super) async fn send(&mut self, message: &impl Message) -> Result<(), End> {
        self.send_bytes(message.encode_to_vec().into()).await
    }

    async fn send_bytes(&mut self, mut message: Bytes) -> Result<(), End> {
        let script = &self.plugin.script.calls;
        if script.dies_of_answer_over.is_some_and(|most| message.len() > most) {
            exit(&self.plugin, "large answer");
        }
        if script.damages_over.is_some_and(|most| message.len() > most) {
            let mut damaged = message.to_vec();
            if let Some(last) = damaged.last_mut() {
                *last ^= 1;
            }
            message = damaged.into();
            self.plugin.witness.saw("damaged", json!({ "call": self.id }));
        }
        self.incoming.send(&message).await.map_err(End::Gone)?;
        self.sent += 1;
        self.acts().await;
        Ok(())
    }

    /// Returns the deadline that the caller has set.
    pub(super) fn deadline(&self) -> Option<Duration> {
        if self.plugin.script.calls.ignores_deadline {
            return None;
        }
        let text = self.incoming.headers.get("grpc-timeout")?.to_str().ok()?;
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let number: u64 = number.parse().ok()?;
        Some(match unit {
            "H" => Duration::from_secs(number * 3600),
            "M" => Duration::from_secs(number * 60),
            "S" => Duration::from_secs(number),
            "m" => Duration::from_millis(number),
            "u" => Duration::from_micros(number),
            "n" => Duration::from_nanos(number),
            _ => return None,
        })
    }
}

const HEALTH: &str = "grpc.health.v1.Health";
const PROBE: &str = "plugwire.probe.v1.Probe";
const BROKER_PROBE: &str = "plugwire.probe.v1.BrokerProbe";

/// Returns the services that a connection has, in the order of their registration.
pub(super) fn services(plugin: &Plugin, at: &At) -> Vec<&'static str> {
    let script = &plugin.script;
    if at.id.is_some() && !script.broker.serves_everything {
        return vec![PROBE, BROKER_PROBE];
    }
    let all = [
        (HEALTH, !script.health.absent),
        ("grpc.reflection.v1alpha.ServerReflection", !script.reflection.no_v1alpha),
        ("plugin.GRPCController", true),
        ("plugin.GRPCBroker", !script.broker.absent),
        ("plugin.GRPCStdio", !script.stdio.absent),
        (PROBE, true),
        (BROKER_PROBE, true),
        ("grpc.reflection.v1.ServerReflection", !script.reflection.no_v1),
    ];
    all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

/// Returns whether a rule matches; a rule is a path, or a service's path with its last slash.
fn fits(rule: &str, method: &str) -> bool {
    rule == method || (rule.ends_with('/') && method.starts_with(rule))
}

/// Ends the process where it stands.
pub(super) fn exit(plugin: &Plugin, why: &str) -> ! {
    plugin.witness.saw("exit", json!({ "status": 1, "why": why }));
    std::process::exit(1)
}
