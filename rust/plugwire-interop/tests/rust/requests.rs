//! How a plugin's server handles requests that no generated client sends: raw HTTP/2.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use h2::client::SendRequest;
use http::{Method, Request, Response};
use http_body_util::StreamBody;
use plugwire::Services;
use plugwire::plugin::{Plugin, TestPlugin};
use plugwire_interop::PROBE;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tower::service_fn;

const LIMIT: Duration = Duration::from_secs(10);

/// An empty gRPC message.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

type Frame = Result<http_body::Frame<Bytes>, Status>;

/// Serves one service whose every call sends a message and then ends as `ending` returns.
fn plugin(ending: fn() -> Frame) -> TestPlugin {
    let answer = service_fn(move |_: Request<Body>| async move {
        let message: fn() -> Frame =
            || Ok(http_body::Frame::data(Bytes::from_static(EMPTY_MESSAGE)));
        let frames = stream::iter([message, ending]).map(|frame| frame());
        Ok::<_, Infallible>(Response::new(Body::new(StreamBody::new(frames))))
    });
    let plugin = Plugin::new(PROBE)
        .version(1, move |services: Services, _| services.add_named("raw.Raw", answer));
    plugin.serve_in_test(1).expect("the plugin serves")
}

async fn connect(plugin: &TestPlugin) -> SendRequest<Bytes> {
    let socket = UnixStream::connect(&plugin.record().address).await.expect("the plugin listens");
    let (requests, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    tokio::spawn(connection);
    requests
}

async fn ask(requests: &mut SendRequest<Bytes>, request: Request<()>) -> Response<h2::RecvStream> {
    let (response, _) = requests.send_request(request, true).expect("the request is sent");
    timeout(LIMIT, response).await.expect("in time").expect("a response")
}

fn request(method: Method, content: Option<&'static str>) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = "http://unused/raw.Raw/Call".parse().expect("a URI");
    if let Some(content) = content {
        let content = http::HeaderValue::from_static(content);
        request.headers_mut().insert(http::header::CONTENT_TYPE, content);
    }
    request
}

#[tokio::test]
async fn requests_that_are_not_grpc_calls_reach_no_handler() {
    let plugin = plugin(|| panic!("a handler was reached"));
    let mut requests = connect(&plugin).await;
    let cases = [
        (Method::GET, Some("application/grpc"), 405),
        (Method::POST, Some("text/plain"), 415),
        (Method::POST, Some("application/grpc-web"), 415),
        (Method::POST, None, 415),
    ];
    for (method, content, expected) in cases {
        let response = ask(&mut requests, request(method.clone(), content)).await;
        assert_eq!(response.status(), expected, "{method} {content:?}");
    }
    for content in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"]
    {
        let response = ask(&mut requests, request(Method::POST, Some(content))).await;
        assert_eq!(response.status(), 200, "{content}");
    }
}

/// Returns the message, and the code in the trailers.
async fn message_and_code(plugin: TestPlugin) -> (Vec<u8>, String) {
    let mut requests = connect(&plugin).await;
    let response = ask(&mut requests, request(Method::POST, Some("application/grpc"))).await;
    let mut body = response.into_body();
    let mut message = Vec::new();
    while let Some(data) = timeout(LIMIT, body.data()).await.expect("in time") {
        message.extend_from_slice(&data.expect("data"));
    }
    let trailers = timeout(LIMIT, body.trailers())
        .await
        .expect("in time")
        .expect("the trailers arrive")
        .expect("trailers");
    (message, trailers["grpc-status"].to_str().expect("text").to_owned())
}

#[tokio::test]
async fn messages_sent_before_a_stream_failed_arrive() {
    let failing = plugin(|| Err(Status::data_loss("the second message is lost")));
    assert_eq!(message_and_code(failing).await, (EMPTY_MESSAGE.to_vec(), "15".to_owned()));
    let panicking = plugin(|| panic!("the second message panics, as this test wants"));
    assert_eq!(message_and_code(panicking).await, (EMPTY_MESSAGE.to_vec(), "13".to_owned()));
}
