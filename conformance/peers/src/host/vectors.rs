//! Tests the healthy host against the vectors that are published for other implementations.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use plugwire_conformance_wire::trace::Trace;
use serde_json::{Map, Value, json};

use super::log::Log;
use super::{Settings, handshake, task};

fn cases(text: &str) -> Vec<Value> {
    let mut file: Value = serde_json::from_str(text).unwrap();
    let Value::Array(cases) = file["cases"].take() else { panic!("no cases") };
    assert!(cases.len() > 40);
    cases
}

/// Reads bytes in the form of the vectors: a text, or a list of texts, base64 and repetitions.
fn bytes(value: &Value) -> Vec<u8> {
    let part = |part: &Value| match part {
        Value::String(text) => text.clone().into_bytes(),
        other if other["base64"].is_string() => {
            BASE64_STANDARD.decode(other["base64"].as_str().unwrap()).unwrap()
        }
        other => {
            let times = other["times"].as_u64().unwrap() as usize;
            other["repeat"].as_str().unwrap().repeat(times).into_bytes()
        }
    };
    match value {
        Value::Array(parts) => parts.iter().flat_map(part).collect(),
        one => part(one),
    }
}

fn settings(host: &Value) -> Settings {
    let plugin = task::Plugin {
        command: Vec::new(),
        cookie: task::Cookie { key: String::new(), value: String::new() },
        app_versions: serde_json::from_value(host["versions"].clone()).unwrap(),
        tls: match host["mutual_tls"] == true {
            true => task::Tls::Mutual,
            false => task::Tls::None,
        },
        multiplex: host["multiplex"] == true,
        start_timeout_ms: 0,
        env: BTreeMap::new(),
        reattach: None,
    };
    Settings { plugin, flaw: None, trace: Trace::new() }
}

/// Returns the driver contract's kind for the vectors' name of an error.
fn kind(error: &str) -> &'static str {
    match error {
        "unrecognized" => "start.not-a-handshake",
        "core-version-not-a-number" | "core-version" => "start.core-version",
        "app-version-not-a-number" | "app-version" => "start.app-version",
        "network" => "start.network",
        "address" => "start.address",
        "netrpc" | "protocol" => "start.protocol",
        "certificate" => "start.certificate",
        "certificate-missing" => "start.no-certificate",
        "certificate-unasked" => "start.unexpected-certificate",
        "multiplex-missing" | "multiplex-not-a-bool" | "multiplex-refused" => "start.multiplex",
        other => panic!("an unknown error: {other}"),
    }
}

#[test]
fn lines_are_understood_and_refused_as_the_vectors_say() {
    for case in cases(include_str!("../../../vectors/handshake-lines.json")) {
        let name = &case["name"];
        let stdout = bytes(&case["stdout"]);
        let line = stdout.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        match handshake::check(&settings(&case["host"]), line) {
            Err(failure) => {
                let error = case["error"].as_str().unwrap_or_else(|| panic!("{name}: {failure:?}"));
                assert_eq!(failure.kind, kind(error), "{name}");
            }
            Ok(announced) => {
                let line = &case["line"];
                assert!(line.is_object(), "{name}: {announced:?}");
                assert_eq!(announced.version, line["version"], "{name}");
                assert_eq!(announced.address.network(), line["network"], "{name}");
                assert_eq!(announced.address.to_string(), line["address"], "{name}");
                let is_secured = !line["certificate_sha256"].is_null();
                assert_eq!(announced.certificate.is_some(), is_secured, "{name}");
            }
        }
    }
}

/// Takes the entries for one of the vectors: where that may come in pieces, as many as have its length.
fn entry(logged: &mut impl Iterator<Item = Value>, pieces: bool, length: usize) -> Value {
    let mut entry = logged.next().unwrap_or_default();
    while let (true, Some(begun)) = (pieces, entry["message"].as_str())
        && begun.len() < length
        && let Some(more) = logged.next()
    {
        assert_eq!(more["level"], entry["level"]);
        entry["message"] = format!("{begun}{}", more["message"].as_str().unwrap()).into();
    }
    entry
}

#[tokio::test]
async fn standard_error_is_logged_as_the_vectors_say() {
    for case in cases(include_str!("../../../vectors/hclog-lines.json")) {
        let name = &case["name"];
        let log = Log::default();
        log.clone().read(&bytes(&case["stderr"])[..], None).await;
        let logged = log.collect(0, std::time::Duration::ZERO).await;
        let mut logged = logged["entries"].as_array().unwrap().clone().into_iter();
        for wanted in case["entries"].as_array().unwrap() {
            let message = String::from_utf8(bytes(&wanted["message"])).unwrap();
            let entry = entry(&mut logged, wanted["pieces"] == true, message.len());
            let mut fields = match &wanted["fields"] {
                Value::Object(fields) => fields.clone(),
                _ => Map::new(),
            };
            if let Some(module) = wanted["module"].as_str() {
                fields.insert("@module".to_owned(), module.into());
            }
            let wanted = json!({ "level": wanted["level"], "message": message, "fields": fields });
            assert_eq!(entry, wanted, "{name}");
        }
        assert_eq!(logged.next(), None, "{name}");
    }
}
