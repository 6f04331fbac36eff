//! Reflection describes the services completely: every service's file, and every file it imports.
//! Spec: RFL-1.

use std::collections::BTreeSet;

use plugwire::host::PluginHandle;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{PROBE, rust};
use prost::Message;
use prost_types::FileDescriptorProto;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{FileDescriptorResponse, ServerReflectionRequest};

async fn ask(plugin: &PluginHandle, question: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut client = ServerReflectionClient::new(plugin.channel());
    let answers = client.server_reflection_info(tokio_stream::once(request)).await;
    let answer = answers.expect("a stream").into_inner().message().await.expect("no failure");
    answer.expect("an answer").message_response.expect("a message")
}

async fn files(plugin: &PluginHandle, question: MessageRequest) -> Vec<FileDescriptorProto> {
    match ask(plugin, question.clone()).await {
        MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
            file_descriptor_proto,
        }) => file_descriptor_proto
            .iter()
            .map(|file| FileDescriptorProto::decode(&file[..]).expect("a file"))
            .collect(),
        other => panic!("{question:?}: {other:?}"),
    }
}

#[tokio::test]
async fn every_service_is_described_with_all_its_imports() {
    let sandbox = Sandbox::new();
    let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).version(1);
    let plugin = launch.start().await.expect("a start");
    let listed = match ask(&plugin, MessageRequest::ListServices(String::new())).await {
        MessageResponse::ListServicesResponse(list) => list.service,
        other => panic!("{other:?}"),
    };
    assert!(listed.is_sorted_by_key(|service| service.name.clone()), "{listed:?}");
    assert!(listed.iter().any(|service| service.name == "plugin.GRPCStdio"), "{listed:?}");

    let (mut known, mut wanted) = (BTreeSet::new(), BTreeSet::new());
    for service in listed {
        let question = MessageRequest::FileContainingSymbol(service.name.clone());
        let described = files(&plugin, question).await;
        let (package, name) = service.name.rsplit_once('.').expect("a package");
        let of = |file: &FileDescriptorProto| {
            file.package() == package && file.service.iter().any(|known| known.name() == name)
        };
        assert!(described.iter().any(of), "{}", service.name);
        for file in described {
            known.insert(file.name().to_owned());
            wanted.extend(file.dependency);
        }
    }
    while let Some(import) = wanted.difference(&known).next().cloned() {
        let found = files(&plugin, MessageRequest::FileByFilename(import.clone())).await;
        for file in found {
            known.insert(file.name().to_owned());
            wanted.extend(file.dependency);
        }
        assert!(known.contains(&import), "{import} is imported but not described");
    }
    assert!(known.contains("google/protobuf/empty.proto"), "stdio imports it: {known:?}");
    plugin.shutdown().await.expect("it ends");
}
