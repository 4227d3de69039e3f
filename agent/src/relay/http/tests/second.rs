//! HTTP/2 with prior knowledge, and gRPC.

use super::*;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;

pub(super) type Text = BoxBody<Bytes, hyper::Error>;

pub(super) fn text(text: &'static str) -> Text {
    Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed()
}

/// An HTTP/2 application; counts its connections.
pub(super) async fn app2<F, A>(answer: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Text>> + Send + 'static,
{
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let address = app(move |_, io| {
        count.fetch_add(1, Ordering::Relaxed);
        let answer = answer.clone();
        async move {
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(io), service).await;
        }
    })
    .await;
    (address, connections)
}

pub(super) async fn client2(bench: &Bench) -> SendRequest<Text> {
    let io = TokioIo::new(bench.connect().await);
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(super) fn request(path: &str, body: Text) -> Request<Text> {
    Request::post(format!("http://shop.example{path}")).body(body).unwrap()
}

pub(super) fn grpc(body: Text) -> Request<Text> {
    let mut call = request("/pkg.Shop/Buy", body);
    call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc+proto"));
    call.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    call
}

/// The request's own frames, and then a status.
pub(super) fn echo(body: Incoming, status: &'static str) -> Text {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(status))]);
    let end = futures_util::stream::once(async move { Ok(Frame::trailers(trailers)) });
    let frames = futures_util::StreamExt::chain(http_body_util::BodyStream::new(body), end);
    BodyExt::boxed(StreamBody::new(frames))
}

#[tokio::test]
async fn requests_of_several_clients_share_a_session() {
    let (app, connections) = app2(|request| async move {
        assert_eq!(request.uri().authority().unwrap(), "shop.example");
        assert_eq!(request.version(), http::Version::HTTP_2);
        tokio::time::sleep(Duration::from_millis(50)).await;
        Response::new(text("hi"))
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let mut client = client2(&bench).await;
        for _ in 0..10 {
            answers.spawn(client.send_request(request("/a", text("body"))));
        }
    }
    for answer in answers.join_all().await {
        let answer = answer.unwrap();
        assert!(answer.headers().get("date").is_some(), "the application's, hyper's server sets it");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hi");
    }
    assert_eq!((connections.load(Ordering::Relaxed), bench.dials()), (1, 1));
    let outcomes = bench.outcomes(30).await;
    assert_eq!(outcomes.len(), 30);
    assert!(outcomes.iter().all(|o| (o.status, o.request_bytes, o.response_bytes, o.flag) == (200, 4, 2, "-")));
    assert_eq!((outcomes[0].protocol.as_str(), outcomes[0].authority()), ("http2", "shop.example"));
}

#[tokio::test]
async fn a_call_streams_both_ways_and_its_status_is_counted() {
    let (app, _) = app2(|request| async move { Response::new(echo(request.into_body(), "7")) }).await;
    let bench = Bench::new(vec![app]).await;
    let mut client = client2(&bench).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
        let next = receiver.recv().await?;
        Some((Ok(Frame::data(next)), receiver))
    });
    let answer = client.send_request(grpc(BodyExt::boxed(StreamBody::new(frames)))).await.unwrap();
    let mut body = answer.into_body();
    for message in ["one", "two", "three"] {
        sender.send(Bytes::from(message)).await.unwrap();
        let frame = timeout(SOON, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), message);
    }
    drop(sender);
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "7");
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.protocol.as_str(), outcome.status, outcome.grpc_status), ("grpc", 200, Some(7)));
    assert_eq!((outcome.path(), outcome.request_bytes, outcome.response_bytes), ("/pkg.Shop/Buy", 11, 11));
}

#[tokio::test]
async fn a_call_that_we_refuse_gets_a_grpc_status() {
    let bench = Bench::new(vec![]).await;
    let mut client = client2(&bench).await;
    let answer = client.send_request(grpc(text("call"))).await.unwrap();
    assert_eq!((answer.status(), &answer.headers()["grpc-status"]), (StatusCode::OK, &HeaderValue::from(14)));
    assert_eq!(answer.headers()["grpc-message"], "no healthy upstream");
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.grpc_status, outcome.flag), (Some(14), "UH"));
    let answer = client.send_request(request("/nowhere", text(""))).await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["server"]),
        (StatusCode::NOT_FOUND, &HeaderValue::from_static("underpass"))
    );
}

#[tokio::test]
async fn a_client_that_gives_up_resets_the_stream_and_not_the_session() {
    let given_up = Arc::new(Notify::new());
    let told = Arc::clone(&given_up);
    let (app, connections) = app2(move |request| {
        let told = Arc::clone(&told);
        async move {
            if request.uri().path() == "/quick" {
                return Response::new(text("hi"));
            }
            let _tell = Tell(told);
            std::future::pending().await
        }
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let mut client = client2(&bench).await;
    let slow = timeout(Duration::from_millis(100), client.send_request(request("/slow", text("")))).await;
    assert!(slow.is_err());
    timeout(SOON, given_up.notified()).await.expect("the application's stream is reset");
    assert_eq!(bench.outcomes(1).await[0].flag, "DC");
    assert_eq!(client.send_request(request("/quick", text(""))).await.unwrap().status(), 200);
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

pub(super) struct Tell(pub(super) Arc<Notify>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_resets_the_client_s_stream() {
    let (app, _) = app2(|_| async {
        let frames = futures_util::stream::unfold(false, |said| async move {
            if said {
                std::future::pending::<()>().await;
            }
            Some((Ok(Frame::data(Bytes::from_static(b"part"))), true))
        });
        Response::new(BodyExt::boxed(StreamBody::new(frames)))
    })
    .await;
    // The stream through which the application is reached is cut while the answer is on its way.
    let cut = Arc::new(Notify::new());
    let told = Arc::clone(&cut);
    let middle = super::app(move |_, mut io| {
        let told = Arc::clone(&told);
        async move {
            let mut far = TcpStream::connect(app).await.unwrap();
            tokio::select! { _ = tokio::io::copy_bidirectional(&mut io, &mut far) => {}, () = told.notified() => {} }
        }
    })
    .await;
    let bench = Bench::new(vec![middle]).await;
    let mut client = client2(&bench).await;
    let mut body = client.send_request(grpc(text(""))).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().is_ok());
    cut.notify_one();
    assert!(timeout(SOON, body.frame()).await.unwrap().unwrap().is_err());
    assert_eq!(bench.outcomes(1).await[0].flag, "UC");
    let again = timeout(SOON, client.send_request(grpc(text("")))).await.unwrap().unwrap();
    assert_eq!((again.status(), bench.dials()), (StatusCode::OK, 2), "a lost session is replaced");
}

#[tokio::test]
async fn more_streams_than_the_application_allows_open_another_session() {
    let address = app(|_, io| async move {
        let service = service_fn(|_: Request<Incoming>| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(2);
        let _ = builder.serve_connection(TokioIo::new(io), service).await;
    })
    .await;
    let bench = Bench::new(vec![address]).await;
    let mut client = client2(&bench).await;
    assert_eq!(client.send_request(request("/", text(""))).await.unwrap().status(), 200);
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        answers.spawn(client.send_request(request("/", text(""))));
    }
    assert!(answers.join_all().await.iter().all(|answer| answer.as_ref().unwrap().status() == 200));
    assert!(bench.dials() >= 2, "the others did not wait for the first two");
}

#[tokio::test]
async fn an_application_that_speaks_only_http1_is_a_failure_and_not_a_hang() {
    let (app, _) = answering("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
    let bench = Bench::new(vec![app]).await;
    let mut client = client2(&bench).await;
    let answer = timeout(SOON, client.send_request(request("/", text("")))).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "upstream disconnect/reset before headers");
}
