//! What a plugin of which nothing is known can do, as far as the protocol shows it.

use std::collections::BTreeSet;

use plugwire_conformance_wire::caller::Options;
use plugwire_conformance_wire::messages::method;
use plugwire_conformance_wire::process::Cage;
use plugwire_conformance_wire::trace::Trace;
use serde_json::json;

use super::call::full;
use super::host::{Host, MAIN};
use super::scene::{HostTls, LineWanted, Start};
use crate::subject::Subject;

/// The features that a plugin shows by itself: its lines say some, and its answers others.
///
/// One that does not start shows none. The cases then say what is wrong with it.
pub async fn detect(subject: &Subject) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let Ok(cage) = Cage::new() {
        let trace = Trace::new();
        let mut host = Host::new(subject, &cage, &trace, 1);
        found.extend(by_line(&mut host).await);
        found.extend(by_answers(&mut host).await);
        drop(host);
        cage.kill().await;
    }
    if subject.app_versions.len() > 1 {
        found.insert("several-versions");
    }
    found.into_iter().map(str::to_owned).collect()
}

async fn by_line(host: &mut Host<'_>) -> Vec<&'static str> {
    let multiplex = Some("true".to_owned());
    let start = Start { tls: HostTls::Mutual, multiplex, ..Start::default() };
    if host.start(&start).await.is_err() || host.read_line(&LineWanted::default()).await.is_err() {
        return Vec::new();
    }
    let Some(line) = &host.line else { return Vec::new() };
    let mut found = vec!["broker"];
    if !line.certificate_field().is_empty() {
        found.push("mutual-tls");
    }
    if line.multiplex() == Some("true") {
        found.push("multiplex");
    }
    match line.network() {
        "tcp" => found.push("tcp"),
        // Who knows the seventh field knows these, which are older (chapter 15).
        _ if line.multiplex().is_some() => found.extend(["socket-dir", "socket-group"]),
        _ => {}
    }
    found
}

async fn by_answers(host: &mut Host<'_>) -> Vec<&'static str> {
    if host.begin(&Start::default()).await.is_err() {
        return Vec::new();
    }
    let echo = full("Probe/Echo");
    let mut found = Vec::new();
    let asked = [
        ("probe", echo.as_str(), false),
        ("reflection", method::REFLECT_V1ALPHA, false),
        ("stdio", method::STREAM_STDIO, true),
    ];
    for (feature, method, stays_open) in asked {
        if serves(host, method, stays_open).await {
            found.push(feature);
        }
    }
    found
}

/// Whether a method is there. A stream that stays open says nothing as long as there is nothing to say.
async fn serves(host: &Host<'_>, method: &str, stays_open: bool) -> bool {
    const MOMENT: std::time::Duration = std::time::Duration::from_millis(150);
    let Some(caller) = host.connections.get(MAIN) else { return false };
    let request = plugwire_conformance_wire::messages::encode_request(method, &json!({}));
    let options = Options::default();
    let call = caller.unary(method, request.unwrap_or_default(), &options);
    let patience = if stays_open { MOMENT } else { host.limit(None) };
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(reply)) => reply.status.name() != "UNIMPLEMENTED",
        Ok(Err(_)) => false,
        Err(_) => stays_open,
    }
}
