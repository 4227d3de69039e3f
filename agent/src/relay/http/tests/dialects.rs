//! Applications that are spoken to in another version of HTTP than the client's.

use super::second::{app2, client2, echo, request, text};
use super::*;
use http::{Response, Version};
use http_body_util::BodyExt;

fn speaking(speaks: Speaks) -> Rule {
    Rule { speaks, ..Rule::default() }
}

#[tokio::test]
async fn an_http1_client_reaches_an_http2_application() {
    let (app, connections) = app2(|request| async move {
        assert_eq!(request.version(), Version::HTTP_2);
        assert_eq!(request.uri().to_string(), "http://shop.example/a?b");
        let headers = request.headers();
        assert!(!headers.contains_key("host") && !headers.contains_key("connection"), "{headers:?}");
        Response::new(echo(request.into_body(), "0"))
    })
    .await;
    let bench = Bench::ruled(vec![app], speaking(Speaks::Second)).await;
    let mut client = bench.connect().await;
    for _ in 0..2 {
        let ask = "POST /a?b HTTP/1.1\r\nhost: shop.example\r\nte: trailers\r\nconnection: te\r\ncontent-length: 4\r\n\r\nbody";
        client.write_all(ask.as_bytes()).await.unwrap();
        let answer = until(&mut client, "0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\r\n4\r\nbody\r\n"), "{answer}");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1, "they share a session");
    let outcomes = bench.outcomes(2).await;
    assert!(outcomes.iter().all(|o| (o.protocol.as_str(), o.status, o.response_bytes) == ("http", 200, 4)));
}

#[tokio::test]
async fn what_leaves_http_stays_in_http1() {
    let app = app(|_, mut io| async move {
        assert!(until(&mut io, "\r\n\r\n").await.starts_with("GET /chat HTTP/1.1\r\n"));
        io.write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\nhello").await.unwrap();
    })
    .await;
    let bench = Bench::ruled(vec![app], speaking(Speaks::Second)).await;
    let ask = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let mut client = bench.connect().await;
    client.write_all(ask.as_bytes()).await.unwrap();
    assert!(until(&mut client, "hello").await.starts_with("HTTP/1.1 101 "));
}

#[tokio::test]
async fn an_http2_client_reaches_an_http1_application() {
    let answer = "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nkeep-alive: 5\r\ncontent-length: 2\r\nx-a: b\r\n\r\nhi";
    let (app, seen) = answering(answer).await;
    let bench = Bench::ruled(vec![app], speaking(Speaks::First)).await;
    let mut client = client2(&bench).await;
    for _ in 0..2 {
        let mut ask = request("/a?b", text(""));
        *ask.method_mut() = http::Method::GET;
        ask.headers_mut().append("cookie", HeaderValue::from_static("a=1"));
        ask.headers_mut().append("cookie", HeaderValue::from_static("b=2"));
        let answer = client.send_request(ask).await.unwrap();
        assert!(answer.headers().contains_key("x-a") && !answer.headers().contains_key("keep-alive"));
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hi");
    }
    let seen = seen.lock().unwrap().clone();
    assert!(seen.starts_with("GET /a?b HTTP/1.1\r\n") && seen.contains("host: shop.example\r\n"), "{seen}");
    assert!(seen.contains("cookie: a=1; b=2\r\n"), "{seen}");
    assert_eq!((bench.outcomes(2).await[0].protocol.as_str(), bench.dials()), ("http2", 1));
}
