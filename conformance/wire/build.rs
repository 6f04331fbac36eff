//! Generates the types of the messages from `proto/`, and the table of the methods that carry them.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::{Label, Type};

const ROOT: &str = "../../proto";
const FILES: [&str; 6] = [
    "plugin/broker.proto",
    "plugin/controller.proto",
    "plugin/stdio.proto",
    "grpc/health/v1/health.proto",
    "probe/probe.proto",
    "probe/broker_probe.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    let descriptors = protox::compile(FILES, [ROOT])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("methods.rs"), methods(&descriptors)?)?;

    let mut config = prost_build::Config::new();
    config
        .message_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]")
        .message_attribute(".", "#[serde(default, deny_unknown_fields)]")
        // Otherwise the empty message is `()`, which has no JSON form.
        .compile_well_known_types()
        .extern_path(EMPTY, "crate::messages::Empty")
        .include_file("contracts.rs");
    for field in bytes_fields(&descriptors) {
        config.field_attribute(field, "#[serde(with = \"crate::messages::base64_bytes\")]");
    }
    config.compile_fds(descriptors)?;
    Ok(())
}

/// Has the same bytes as `plugin.Empty`, which stands for both.
const EMPTY: &str = ".google.protobuf.Empty";

/// Returns the full names of all fields of type `bytes`.
fn bytes_fields(descriptors: &FileDescriptorSet) -> Vec<String> {
    let mut fields = Vec::new();
    for file in &descriptors.file {
        for message in &file.message_type {
            for field in &message.field {
                if field.r#type() == Type::Bytes && field.label() != Label::Repeated {
                    fields.push(format!(".{}.{}.{}", file.package(), message.name(), field.name()));
                }
            }
        }
    }
    fields
}

/// Writes the function that finds a method's messages by its full name.
fn methods(descriptors: &FileDescriptorSet) -> Result<String, std::fmt::Error> {
    let mut code = String::from(
        "fn generated_method(full_method: &str) -> Option<Method> {\n    Some(match full_method {\n",
    );
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let (input, output) =
                    (rust_path(method.input_type()), rust_path(method.output_type()));
                writeln!(code, "        {path:?} => Method::new::<{input}, {output}>(),")?;
            }
        }
    }
    code.push_str("        _ => return None,\n    })\n}\n");
    Ok(code)
}

/// `.plugin.ConnInfo` as a path of Rust.
fn rust_path(name: &str) -> String {
    match name {
        EMPTY => "Empty".to_owned(),
        _ => name.trim_start_matches('.').replace('.', "::"),
    }
}
