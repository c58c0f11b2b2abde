//! What HTTP itself costs on this machine: a proxy of the same library, with the same connections kept, that passes requests and
//! answers on and looks at nothing. What a gateway costs beyond it is its own.

use std::convert::Infallible;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;

/// Serves until it is killed.
pub(crate) async fn run(upstream: &str) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    println!("{}", listener.local_addr().expect("it listens"));
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).expect("a socket can be set up");
        let (client, upstream) = (client.clone(), upstream.to_owned());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (client, upstream) = (client.clone(), upstream.clone());
                async move { Ok::<_, Infallible>(pass(&client, &upstream, request).await) }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            // How a connection ends is the client's business.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn pass(
    client: &Client<HttpConnector, Incoming>,
    upstream: &str,
    mut request: Request<Incoming>,
) -> Response<Incoming> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = format!("http://{upstream}{path}").parse::<Uri>().expect("an address and a path");
    request.headers_mut().remove("host");
    let mut answer = client.request(request).await.expect("the upstream of this bench answers");
    assert_eq!(answer.status(), StatusCode::OK, "the upstream of this bench has no other answer");
    answer.headers_mut().remove("connection");
    answer
}
