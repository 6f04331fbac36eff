//! Checks the vectors of the messages on the wire with the types of our library. Vectors without
//! input and output are checked in plugwire-protocol; `sdk-go-compat/vectors` checks all of them
//! with Go.

use std::fs;

use plugwire_interop::go::root;
use prost::Message;
use serde_json::Value;

#[allow(warnings, clippy::all, reason = "generated")]
mod wire {
    include!("../../../plugwire/src/generated/plugin.rs");
}

fn messages(file: &str) -> Vec<Value> {
    let path = root().join("conformance/vectors").join(file);
    let text = fs::read_to_string(path).expect("a file of vectors");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    let cases = file["cases"].as_array().expect("cases");
    cases.iter().filter(|case| case["kind"] == "message").cloned().collect()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().expect("hexadecimal").as_bytes();
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("digits");
    digits.chunks(2).map(byte).collect()
}

#[test]
fn messages_of_the_broker() {
    let cases = messages("broker-messages.json");
    assert!(cases.len() >= 16, "only {} messages", cases.len());
    for case in cases {
        assert_eq!(announcement(&case), Ok(()), "{}", case["name"]);
        let mut another = case.clone();
        match case["error"].is_boolean() {
            true => another["hex"] = "0801".into(),
            false => another["message"]["service_id"] = 77.into(),
        }
        assert!(announcement(&another).is_err(), "{}: passes with another answer", case["name"]);
    }
}

/// Decodes a message, compares it, and encodes it where only one encoding is valid.
fn announcement(case: &Value) -> Result<(), String> {
    let given = bytes(&case["hex"]);
    let read = wire::ConnInfo::decode(given.as_slice());
    if case["error"] == true {
        return read.map_or(Ok(()), |message| Err(format!("it is read: {message:?}")));
    }
    let read = read.map_err(|error| error.to_string())?;
    let message = &case["message"];
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let knock = |knock: &Value| wire::Knock {
        knock: knock["knock"] == true,
        ack: knock["ack"] == true,
        error: text(&knock["error"]),
    };
    let wanted = wire::ConnInfo {
        service_id: message["service_id"]
            .as_u64()
            .and_then(|id| id.try_into().ok())
            .expect("an id"),
        network: text(&message["network"]),
        address: text(&message["address"]),
        knock: message["knock"].is_object().then(|| knock(&message["knock"])),
    };
    if read != wanted {
        return Err(format!("{read:?}, want {wanted:?}"));
    }
    if case["canonical"] == true && wanted.encode_to_vec() != given {
        return Err(format!("written as {:02x?}", wanted.encode_to_vec()));
    }
    Ok(())
}

#[test]
fn messages_of_the_other_services() {
    let mut seen = 0;
    for case in messages("grpc-frames.json") {
        let message = bytes(&case["message"]);
        let written = match case["type"].as_str().expect("a type") {
            "plugin.ConnInfo" => wire::ConnInfo::decode(&*message).map(|m| m.encode_to_vec()),
            "plugin.StdioData" => wire::StdioData::decode(&*message).map(|m| m.encode_to_vec()),
            "plugin.Empty" => wire::Empty::decode(&*message).map(|m| m.encode_to_vec()),
            _ => continue,
        };
        assert_eq!(written.as_ref(), Ok(&message), "{}", case["name"]);
        seen += 1;
    }
    assert!(seen >= 4, "only {seen} messages");
}
