use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Reattach, ReattachError, parse_map};
use crate::handshake::{AddressBytes, AddressError, Network};

fn record() -> Reattach {
    Reattach::new(5, Network::Unix, "/tmp/plugin123").with_pid(4242).with_test(true)
}

fn record_json() -> Value {
    json!({
        "Protocol": "grpc",
        "ProtocolVersion": 5,
        "Pid": 4242,
        "Test": true,
        "Addr": { "Network": "unix", "String": "/tmp/plugin123" },
    })
}

/// Parses the record of a plugin `p` after changing it.
fn parse_changed(change: impl FnOnce(&mut Value)) -> Result<Reattach, ReattachError> {
    let mut value = record_json();
    change(&mut value);
    let mut records = parse_map(&json!({ "p": value }).to_string())?;
    Ok(records.remove("p").expect("the plugin is in the map"))
}

fn remove(value: &mut Value, member: &str) {
    value.as_object_mut().expect("a record is an object").remove(member);
}

#[test]
fn the_json_is_terraforms() {
    let printed: Value = serde_json::from_str(&record().to_json("p")).expect("it is JSON");
    assert_eq!(printed, json!({ "p": record_json() }));
    assert!(!record().to_json("p").contains('\n'));
}

#[test]
fn several_plugins_stand_in_one_text() {
    let text = json!({ "a": record_json(), "b": record_json() }).to_string();
    let names: Vec<String> = parse_map(&text).expect("both are fine").into_keys().collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(parse_map("{}").map(|records| records.len()), Ok(0));
}

#[test]
fn only_protocol_and_address_are_required() {
    let bare = json!({ "p": {
        "Protocol": "grpc", "Addr": { "Network": "tcp", "String": "127.0.0.1:80" }, "New": []
    }});
    let expected = Reattach::new(0, Network::Tcp, "127.0.0.1:80");
    let records = parse_map(&bare.to_string()).expect("it has what it needs");
    assert_eq!(records.get("p"), Some(&expected));
}

#[test]
fn a_missing_member_is_named() {
    for (member, pointer) in [("Protocol", "/Protocol"), ("Addr", "/Addr/Network")] {
        assert_eq!(
            parse_changed(|value| remove(value, member)),
            Err(ReattachError::Member { name: "p".to_owned(), member: pointer, got: None })
        );
    }
}

#[test]
fn a_wrong_member_is_shown() {
    let wrong = |pointer: &'static str, new: Value| {
        let error = parse_changed(|value| {
            *value.pointer_mut(pointer).expect("the member is there") = new.clone();
        });
        assert_eq!(
            error,
            Err(ReattachError::Member {
                name: "p".to_owned(),
                member: pointer,
                got: Some(new.to_string())
            })
        );
    };
    wrong("/Protocol", json!(1));
    wrong("/ProtocolVersion", json!("5"));
    wrong("/Pid", json!(-1));
    wrong("/Pid", json!(4_294_967_296_u64));
    wrong("/Pid", json!(1.5));
    wrong("/Test", json!("yes"));
    wrong("/Addr/Network", json!("udp"));
    wrong("/Addr/String", json!(null));
}

#[test]
fn net_rpc_has_an_error_of_its_own() {
    for protocol in ["", "netrpc"] {
        let error = parse_changed(|value| value["Protocol"] = json!(protocol))
            .expect_err("net/rpc is not supported");
        assert_eq!(error, ReattachError::NetRpc { name: "p".to_owned() });
        assert!(error.to_string().contains("gRPC protocol only"), "{error}");
    }
}

#[test]
fn another_protocol_is_refused() {
    assert_eq!(
        parse_changed(|value| value["Protocol"] = json!("GRPC")),
        Err(ReattachError::ProtocolUnknown { name: "p".to_owned(), got: "GRPC".to_owned() })
    );
}

#[test]
fn an_address_is_checked_as_in_a_line() {
    assert_eq!(
        parse_changed(|value| value["Addr"]["String"] = json!("")),
        Err(ReattachError::Address {
            name: "p".to_owned(),
            address: String::new(),
            cause: AddressError::PathEmpty
        })
    );
}

#[test]
fn what_is_no_object_of_objects_is_refused() {
    for json in ["[]", "null", "5", "\"text\""] {
        assert_eq!(parse_map(json), Err(ReattachError::NotAnObject { json: json.to_owned() }));
    }
    assert!(matches!(parse_map("{\"p\":5}"), Err(ReattachError::Member { got: None, .. })));
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    assert_eq!(
        parse_map("{\"p\":\n oops}"),
        Err(ReattachError::NotJson { json: "{\"p\":\\n oops}".to_owned(), line: 2, column: 2 })
    );
    assert!(matches!(parse_map(""), Err(ReattachError::NotJson { .. })));
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    let text = format!("{{\"p\":{}", "[".repeat(1_000_000));
    assert!(matches!(parse_map(&text), Err(ReattachError::NotJson { .. })));
}

proptest! {
    #[test]
    fn what_is_printed_parses_back(
        name: String,
        protocol_version: u32,
        pid: u32,
        test: bool,
        address in prop_oneof![
            prop::collection::vec(1..=u8::MAX, 1..=107).prop_map(|path| (Network::Unix, path.into())),
            any::<u16>().prop_map(|port| (Network::Tcp, AddressBytes::from(format!("127.0.0.1:{port}")))),
        ],
    ) {
        let (network, address) = address;
        let record = Reattach { protocol_version, pid, test, network, address };
        let mut records = parse_map(&record.to_json(&name)).expect("it was printed by us");
        prop_assert_eq!(records.remove(&name), Some(record));
        prop_assert!(records.is_empty());
    }
}

#[test]
fn an_address_that_is_not_utf8_travels_as_base64() {
    let record = Reattach::new(1, Network::Unix, &b"/tmp/\xff\xfe/p"[..]);
    let json = record.to_json("p");
    let text = "\"String\":\"/tmp/\u{fffd}\u{fffd}/p\"";
    assert!(json.contains(text) && json.contains(r#""Base64":"L3RtcC///i9w""#), "{json}");
    assert_eq!(parse_map(&json).expect("a record")["p"], record);
    let text = Reattach::new(1, Network::Unix, "/tmp/größer").to_json("p");
    assert!(!text.contains("Base64"), "{text}");
    for wrong in ["\"%%\"", "7"] {
        let json = json.replace("\"L3RtcC///i9w\"", wrong);
        assert_eq!(parse_map(&json).expect_err("it is wrong").code(), "reattach.member", "{json}");
    }
}

/// Checks the quoting with a real shell.
#[test]
fn a_line_for_a_shell_yields_exactly_the_json() {
    for name in ["greeter", "it's \"that\" $one `x` \\", "registry.terraform.io/a/b"] {
        let record = Reattach::new(1, Network::Unix, "/tmp/plugin's own").with_pid(4242);
        let line = record.to_shell_line("TF_REATTACH_PROVIDERS", name);
        let script = format!("{line}\nprintf %s \"$TF_REATTACH_PROVIDERS\"");
        let output = std::process::Command::new("/bin/sh").args(["-c", &script]).output();
        let printed = String::from_utf8(output.expect("a shell").stdout).expect("text");
        assert_eq!(printed, record.to_json(name));
        assert_eq!(parse_map(&printed).expect("a record")[name], record);
    }
}
