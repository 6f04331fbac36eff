//! What a plugin of which nothing is known can do, or must.

use std::collections::BTreeSet;

use plugwire_conformance_wire::caller::Options;
use plugwire_conformance_wire::messages;
use plugwire_conformance_wire::process::Cage;
use plugwire_conformance_wire::trace::Trace;
use serde_json::json;

use super::call::full;
use super::host::{Host, MAIN};
use super::scene::{LineWanted, Start};
use crate::subject::Subject;

/// What every plugin has, of whatever release: one that does not show it is broken, and none that lacks a feature.
const PRESUMED: [&str; 4] = ["mutual-tls", "stdio", "broker", "reflection"];

/// The features that every plugin has, and those that this one shows: its line says some, and an answer another.
///
/// A plugin without a seventh field counts as one from before multiplexing, which is no fault.
/// One that does not start shows nothing. The cases then say what is wrong with it.
/// `timeout_scale` is how much longer than usual everything may take.
pub async fn detect(subject: &Subject, timeout_scale: u32) -> BTreeSet<String> {
    let mut found = BTreeSet::from(PRESUMED);
    if let Ok(cage) = Cage::new() {
        let trace = Trace::new();
        let mut host = Host::new(subject, &cage, &trace, timeout_scale);
        found.extend(by_line(&mut host).await);
        if serves_probe(&mut host).await {
            found.insert("probe");
        }
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
    let start = Start { multiplex, ..Start::default() };
    if host.start(&start).await.is_err() || host.read_line(&LineWanted::default()).await.is_err() {
        return Vec::new();
    }
    let Some(line) = &host.line else { return Vec::new() };
    let mut found = Vec::new();
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

/// Whether the probe's contract is served. What is not answered at all is for the black-box cases to judge.
async fn serves_probe(host: &mut Host<'_>) -> bool {
    if host.begin(&Start::default()).await.is_err() {
        return false;
    }
    let Some(caller) = host.connections.get(MAIN) else { return false };
    let method = full("Probe/Echo");
    let request = messages::encode_request(&method, &json!({})).unwrap_or_default();
    let options = Options::default();
    let call = caller.unary(&method, request, &options);
    match tokio::time::timeout(host.limit(None), call).await {
        Ok(Ok(reply)) => reply.status.name() != "UNIMPLEMENTED",
        Ok(Err(_)) | Err(_) => false,
    }
}
