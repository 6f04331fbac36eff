use plugwire::host::{Launch, StopPhase};
use plugwire_interop::generated::greeter::GreetRequest;
use plugwire_interop::generated::greeter::greeter_client::GreeterClient;
use plugwire_interop::{GREETER, rust};

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
    plugin.ping().await.expect("it is well");
    let stop = plugin.shutdown().await.expect("it stops");
    assert_eq!(stop.phase, StopPhase::Asked);
    assert!(stop.exit.expect("it was ours").status.success());
}
