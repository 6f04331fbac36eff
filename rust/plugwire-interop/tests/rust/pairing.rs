//! Pairs a Rust host with a Rust plugin. The Go pairs show what the host must see
//! (`tests/go/pairing.rs`); these tests are for machines without Go.

use plugwire::host::{Launch, ShutdownPhase};
use plugwire_interop::generated::greeter::GreetRequest;
use plugwire_interop::generated::greeter::greeter_client::GreeterClient;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{GREETER, PROBE, rust, scenarios};
use tonic::Code;

#[tokio::test]
async fn rust_host_and_rust_plugin_with_mutual_tls() {
    let plugin = Launch::new(GREETER, rust::example("greeter-plugin"))
        .version(1)
        .start()
        .await
        .expect("a start");
    let mut greeter = GreeterClient::new(plugin.channel());
    let request = GreetRequest { name: "World".to_owned() };
    let reply = greeter.greet(request).await.expect("a reply").into_inner();
    assert_eq!(reply.message, "Hello, World!");
    plugin.ping().await.expect("the plugin answers");
    let stop = plugin.shutdown().await.expect("the shutdown works");
    assert_eq!(stop.phase, ShutdownPhase::Asked);
    assert!(stop.exit.expect("this host started the plugin").success());
}

#[tokio::test]
async fn calls_streams_and_failures_arrive_intact() {
    for mutual_tls in [false, true] {
        for options in [&[][..], &["--multi-thread"], &["--tcp"], &["--tcp", "--multi-thread"]] {
            let sandbox = Sandbox::new();
            let launch = sandbox.launch(PROBE, rust::program("probe-plugin")).version(1);
            let launch = launch.args(options.iter().copied());
            let launch = if mutual_tls { launch } else { launch.dangerous().plaintext() };
            let plugin = launch.start().await.expect("a start");
            let case = format!("{options:?}, mutual TLS {mutual_tls}");

            let echo = scenarios::echo(&plugin, 100_000).await;
            assert_eq!(echo["payload_intact"], true, "{case}: {echo}");
            for (place, prefix) in [("headers", ""), ("trailers", "trailer-")] {
                let several = &echo[place][format!("{prefix}probe-several")];
                assert_eq!(*several, serde_json::json!(["first", "second"]), "{case}: {echo}");
            }
            let fail = scenarios::fail(&plugin, Code::DataLoss, 100_000).await;
            assert_eq!(fail["code"], i32::from(Code::DataLoss), "{case}: {fail}");
            assert_eq!(fail["message_intact"], true, "{case}: {fail}");
            assert_eq!(fail["details_intact"], true, "{case}: {fail}");
            let streams = scenarios::stream(&plugin, 2000, 100).await;
            for kind in ["download", "upload", "chat"] {
                assert_eq!(streams[kind]["intact"], true, "{case}: {streams}");
            }
            plugin.shutdown().await.expect("the shutdown works");
            sandbox.assert_empty().await;
        }
    }
}
