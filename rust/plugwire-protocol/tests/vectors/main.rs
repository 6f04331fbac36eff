//! Checks this crate against the vectors in `conformance/vectors`, and the vectors' JSON Schemas against the types that
//! read them.

mod checks;
mod environments;
mod logs;
mod model;

use std::fs;

use model::{
    Broker, Certificates, Environment, File, Grpc, HandshakeLine, LogLines, Negotiation,
    ReattachRecords, Yamux,
};
use schemars::{JsonSchema, schema_for};
use serde_json::Value;

/// Runs all cases, and then each case again with a wrong answer, which must fail. This finds checks that accept
/// everything.
fn run<C: Clone>(
    cases: &[C],
    at_least: usize,
    check: impl Fn(&C) -> Result<(), String>,
    spoil: impl Fn(&mut C),
) {
    assert!(cases.len() >= at_least, "only {} cases, there were {at_least}", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    for (number, case) in cases.iter().enumerate() {
        let mut spoilt = case.clone();
        spoil(&mut spoilt);
        assert!(check(&spoilt).is_err(), "case {number} also passes with a wrong answer");
    }
}

#[test]
fn handshake_lines() {
    let file: File<HandshakeLine> = model::read("handshake-lines");
    run(&file.cases, 80, checks::handshake_line, checks::spoil_handshake_line);
}

#[test]
fn negotiations() {
    let file: File<Negotiation> = model::read("negotiations");
    run(&file.cases, 19, checks::negotiation, |case| case.chosen += 1);
}

#[test]
fn environments() {
    let file: File<Environment> = model::read("environments");
    run(&file.cases, 37, environments::check, environments::spoil);
}

#[test]
fn certificates() {
    let file: Certificates = model::read("certificates");
    let check = |case: &_| checks::certificate(&file.certificates, case);
    run(&file.cases, 27, check, checks::spoil_certificate);
}

#[test]
fn hclog_lines() {
    let file: File<LogLines> = model::read("hclog-lines");
    run(&file.cases, 50, logs::check, logs::spoil);
}

#[test]
fn reattach_records() {
    let file: File<ReattachRecords> = model::read("reattach-records");
    run(&file.cases, 17, checks::reattach_records, checks::spoil_reattach_records);
}

/// To write the schemas again after changing the types, run `PLUGWIRE_WRITE_SCHEMAS=1 cargo test -p plugwire-protocol --test
/// vectors schemas`.
#[test]
fn schemas_are_up_to_date() {
    schema::<File<HandshakeLine>>("handshake-lines");
    schema::<File<Negotiation>>("negotiations");
    schema::<File<Environment>>("environments");
    schema::<Certificates>("certificates");
    schema::<File<LogLines>>("hclog-lines");
    schema::<File<ReattachRecords>>("reattach-records");
    schema::<File<Broker>>("broker-messages");
    schema::<File<Yamux>>("yamux-frames");
    schema::<File<Grpc>>("grpc-frames");
    let files = fs::read_dir(model::directory()).expect("the directory").filter_map(Result::ok);
    let vectors = files.filter(|file| file.path().extension().is_some_and(|end| end == "json"));
    assert_eq!(vectors.count(), 9, "a file of vectors has no schema");
}

fn schema<F: JsonSchema + serde::de::DeserializeOwned>(name: &str) {
    let _: F = model::read(name);
    let path = model::directory().join("schema").join(format!("{name}.schema.json"));
    let schema = serde_json::to_value(schema_for!(F)).expect("a schema is JSON");
    if std::env::var_os("PLUGWIRE_WRITE_SCHEMAS").is_some() {
        let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        fs::write(&path, text).expect("the schema is written");
    }
    let text = fs::read_to_string(&path).unwrap_or_default();
    let there: Value = serde_json::from_str(&text).unwrap_or_default();
    assert!(there == schema, "{} does not match the types", path.display());
}
