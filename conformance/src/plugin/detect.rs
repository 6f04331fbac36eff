//! Detects the features of a plugin without a description.

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

/// The features of every release: a plugin without one of them is broken.
const PRESUMED: [&str; 4] = ["mutual-tls", "stdio", "broker", "reflection"];

/// Returns the features that every plugin has, and those that this one shows in its line and in an
/// answer.
///
/// A plugin without a seventh field counts as one from before multiplexing, which is not an error.
/// If it does not start, no feature is detected, and the cases show what is wrong. `timeout_scale`
/// is the factor by which every wait is longer than usual.
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
        // A plugin with the seventh field supports these older features, too (chapter 15).
        _ if line.multiplex().is_some() => found.extend(["socket-dir", "socket-group"]),
        _ => {}
    }
    found
}

/// Returns whether the probe's contract is served. A missing answer is left to the black-box cases.
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
