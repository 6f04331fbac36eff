//! grpcio, which is gRPC's C core, in both roles: over a unix socket its `:authority` is the socket's path, which
//! the http crate does not accept. Spec: GRPC-3.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use plugwire::Services;
use plugwire::host::Launch;
use plugwire_examples::counter::proto::add_helper_server::{AddHelper, AddHelperServer};
use plugwire_examples::counter::proto::counter_client::CounterClient;
use plugwire_examples::counter::proto::{GetRequest, PutRequest, SumRequest, SumResponse};
use plugwire_interop::go::root;
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{BASIC, not_here, rust};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

/// The version that is installed for these tests.
const GRPCIO: &str = "grpcio==1.76.0";
const LIMIT: Duration = Duration::from_secs(120);

/// Returns the directory with grpcio, and installs it there if it is missing. `None`, and a line that says so, without
/// Python or a package index.
fn grpcio() -> Option<&'static Path> {
    static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let directory = root().join("target/python").join(GRPCIO);
        let imports = || {
            let mut python = Command::new("python3");
            let python = python.args(["-c", "import grpc"]).env("PYTHONPATH", &directory).output();
            python.is_ok_and(|output| output.status.success())
        };
        if imports() {
            return Some(directory);
        }
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
        let installed = pip.arg(&directory).arg(GRPCIO).output();
        match installed {
            Ok(_) if imports() => Some(directory),
            Ok(output) => {
                eprintln!("{}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                eprintln!("python3: {error}");
                None
            }
        }
    });
    if directory.is_none() {
        not_here("this needs Python, and a package index or grpcio");
    }
    directory.as_deref()
}

fn program(name: &str) -> PathBuf {
    root().join("rust/plugwire-interop/python").join(name)
}

#[tokio::test]
async fn a_host_calls_a_rust_plugin_under_any_authority() {
    let Some(grpcio) = grpcio() else { return };
    let sandbox = Sandbox::new();
    let mut host = sandbox.command("python3");
    host.arg(program("host.py")).arg(rust::program("probe-plugin"));
    host.env("PYTHONPATH", grpcio).env("PLUGWIRE_PROBE", "plugwire");
    let output = sandbox.run(&mut host).await;
    let printed = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{problems}");
    let called = printed.lines().filter(|line| line.starts_with("called ")).count();
    assert_eq!((called, printed.lines().last()), (7, Some("ended 0")), "{printed}");
    sandbox.assert_empty().await;
}

struct Add;

#[tonic::async_trait]
impl AddHelper for Add {
    async fn sum(&self, request: Request<SumRequest>) -> Result<Response<SumResponse>, Status> {
        let SumRequest { a, b } = request.into_inner();
        Ok(Response::new(SumResponse { r: a + b }))
    }
}

#[tokio::test]
async fn a_plugin_calls_back_its_rust_host() {
    let Some(grpcio) = grpcio() else { return };
    let sandbox = Sandbox::new();
    let plugin = Launch::new(BASIC, "python3")
        .arg(program("plugin.py"))
        .version(1)
        .env("PYTHONPATH", grpcio)
        .env("TMPDIR", sandbox.folder())
        .start_timeout(LIMIT);
    let plugin = plugin.dangerous().plaintext().start().await.expect("a start");
    let mut counter = CounterClient::new(plugin.channel());
    for value in [5, 7] {
        let id = plugin.broker().next_id();
        let services = Services::new().add(AddHelperServer::new(Add));
        let serving = plugin.broker().serve(id, services).await.expect("it listens");
        let put = PutRequest { add_server: id, key: "key".to_owned(), value };
        let put = timeout(LIMIT, counter.put(put)).await.expect("in time");
        put.expect("the plugin reaches its host");
        drop(serving);
    }
    let got = counter.get(GetRequest { key: "key".to_owned() }).await.expect("a value");
    assert_eq!(got.into_inner().value, 12);
    plugin.shutdown().await.expect("it ends");
}
