//! Hosts and plugins in both languages, with every release of go-plugin.

use std::path::Path;
use std::process::Command;

use plugwire::host::Launch;
use plugwire_interop::generated::greeter::GreetRequest;
use plugwire_interop::generated::greeter::greeter_client::GreeterClient;
use plugwire_interop::{GREETER, RELEASES, go, rust};

async fn rust_host_greets(plugin: &Path, plaintext: bool) {
    let mut launch = Launch::new(GREETER, plugin).version(1);
    if plaintext {
        launch = launch.dangerous().plaintext();
    }
    let plugin = launch.start().await.expect("a start");
    let mut greeter = GreeterClient::new(plugin.channel());
    let request = GreetRequest { name: "World".to_owned() };
    let reply = greeter.greet(request).await.expect("a reply").into_inner();
    assert_eq!(reply.message, "Hello, World!");
    plugin.ping().await.expect("it is well");
    plugin.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn rust_host_and_go_plugin() {
    for release in RELEASES.iter().chain(&["1.0.1"]) {
        for plaintext in [true, false] {
            rust_host_greets(&go::peer(release, "greeter-plugin"), plaintext).await;
        }
    }
}

#[test]
fn go_host_and_rust_plugin() {
    for release in RELEASES {
        for options in [&[][..], &["--auto-mtls"]] {
            let mut host = Command::new(go::peer(release, "greeter-host"));
            let output = host
                .args(options)
                .arg("--")
                .arg(rust::example("greeter-plugin"))
                .output()
                .expect("it runs");
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(said.trim(), "Hello, World!", "{release} {options:?}: {output:?}");
        }
    }
}
