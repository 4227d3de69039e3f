//! Connections that leave HTTP.

use super::*;

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   sec-websocket-key: k\r\n\r\n";

#[tokio::test]
async fn an_upgrade_becomes_bytes_both_ways_and_each_way_ends_by_itself() {
    let app = app(|_, mut io| async move {
        let request = until(&mut io, "\r\n\r\n").await.to_lowercase();
        assert!(request.contains("upgrade: websocket\r\n") && request.contains("connection: upgrade\r\n"), "{request}");
        let agreed = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nearly";
        io.write_all(agreed.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut io).await, "to the application");
        io.write_all(b" and late").await.unwrap();
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    client.write_all(ASK.as_bytes()).await.unwrap();
    let agreed = until(&mut client, "\r\n\r\n").await.to_lowercase();
    assert!(agreed.starts_with("http/1.1 101 ") && agreed.contains("upgrade: websocket\r\n"), "{agreed}");
    client.write_all(b"to the application").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, "early and late");
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.status, outcome.request_bytes, outcome.response_bytes, outcome.flag), (101, 18, 14, "-"));
}

#[tokio::test]
async fn bytes_sent_before_the_switch_are_not_lost() {
    let app = app(|_, mut io| async move {
        until(&mut io, "\r\n\r\n").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        io.write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n").await.unwrap();
        let echo = until(&mut io, "eager").await;
        io.write_all(echo.as_bytes()).await.unwrap();
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let answer = bench.talk(&format!("{ASK}eager")).await;
    assert!(answer.ends_with("\r\n\r\neager"), "{answer}");
}

#[tokio::test]
async fn a_declined_upgrade_is_an_ordinary_answer() {
    let (app, _) = answering(OK).await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    for _ in 0..2 {
        client.write_all(ASK.as_bytes()).await.unwrap();
        assert_eq!(until(&mut client, "hi").await, OK);
    }
    assert_eq!(bench.dials(), 1);
}

#[tokio::test]
async fn an_offer_of_h2c_is_not_passed_on() {
    let (app, seen) = answering(OK).await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    let offer = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMA\r\n\r\n";
    client.write_all(offer.as_bytes()).await.unwrap();
    assert_eq!(until(&mut client, "hi").await, OK);
    assert_eq!(*seen.lock().unwrap(), "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_a_bad_gateway() {
    let (app, _) = answering("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n").await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(until(&mut client, "unasked").await.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
    assert_eq!(bench.outcomes(1).await[0].flag, "UPE");
}

#[tokio::test]
async fn connect_is_a_tunnel_if_the_application_is_a_proxy() {
    let app = app(|number, mut io| async move {
        let request = until(&mut io, "\r\n\r\n").await;
        assert!(request.starts_with("CONNECT far.example:443 HTTP/1.1\r\n"), "{request}");
        if number == 1 {
            return io.write_all(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        }
        io.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let echo = until(&mut io, "hello").await;
        io.write_all(echo.as_bytes()).await.unwrap();
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let ask = "CONNECT far.example:443 HTTP/1.1\r\nhost: far.example:443\r\n\r\n";
    let mut client = bench.connect().await;
    client.write_all(ask.as_bytes()).await.unwrap();
    assert_eq!(until(&mut client, "\r\n\r\n").await, "HTTP/1.1 200 OK\r\n\r\n");
    client.write_all(b"hello").await.unwrap();
    assert_eq!(until(&mut client, "hello").await, "hello");
    let mut client = bench.connect().await;
    client.write_all(ask.as_bytes()).await.unwrap();
    assert!(until(&mut client, "no").await.ends_with("\r\n\r\nno"));
}
