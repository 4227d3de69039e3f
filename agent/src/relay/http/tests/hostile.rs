//! Clients that break the rules, or are slow about them.

use super::*;

#[tokio::test]
async fn what_cannot_be_framed_is_refused_and_reaches_nobody() {
    let (app, seen) = answering(OK).await;
    let bench = Bench::new(vec![app]).await;
    for request in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\nabc",
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b: c\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\u{1}\u{2}\u{3}garbage\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nnot the preface",
    ] {
        let answer = bench.talk(request).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{request:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{request:?} is answered once");
    }
    assert_eq!(*seen.lock().unwrap(), "");
}

#[tokio::test]
async fn what_could_be_smuggled_is_refused_also_behind_a_good_request() {
    let (app, seen) = answering(OK).await;
    let bench = Bench::new(vec![app]).await;
    for bad in [
        "content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        "transfer-encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        "x: y\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "x: y\rtransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "x: y\r\n\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        "x: a\0b\r\n\r\n",
        "x\0: b\r\n\r\n",
        "x : b\r\n\r\n",
        ": b\r\n\r\n",
        "host: b\r\n\r\n",
    ] {
        let answer = bench.talk(&format!("POST /bad HTTP/1.1\r\nhost: a\r\n{bad}")).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{bad:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{bad:?} is answered once: {answer:?}");
        let good = "POST /good HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
        let answer = bench.talk(&format!("{good}POST /bad HTTP/1.1\r\nhost: a\r\n{bad}")).await;
        assert!(answer.starts_with(OK) && answer[OK.len()..].starts_with("HTTP/1.1 400 "), "{bad:?}: {answer:?}");
    }
    assert!(!seen.lock().unwrap().contains("bad") && !seen.lock().unwrap().contains("smuggled"));
    let answer = bench.talk("GET /bad HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
}

/// What of the body came before was sent on: the application sees it break off and never takes it as complete.
#[tokio::test]
async fn a_body_that_cannot_be_framed_is_refused_and_never_complete() {
    for bad in ["zz\r\n", "-1\r\nx", "1 2\r\nx", "\r\n", "5\nhello\r\n0\r\n\r\n", "2\r\nabc\r\n0\r\n\r\n"] {
        let seen = Arc::new(Mutex::new(String::new()));
        let noted = Arc::clone(&seen);
        let app = app(move |_, mut io| {
            let noted = Arc::clone(&noted);
            async move {
                let all = rest(&mut io).await;
                *noted.lock().unwrap() += &all;
            }
        })
        .await;
        let bench = Bench::new(vec![app]).await;
        let answer =
            bench.talk(&format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{bad}")).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{bad:?}: {answer:?}");
        bench.outcomes(1).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!seen.lock().unwrap().ends_with("0\r\n\r\n"), "{bad:?}: {seen:?}");
    }
}

#[tokio::test]
async fn a_header_block_has_bounds() {
    let (app, _) = answering(OK).await;
    let bench = Bench::new(vec![app]).await;
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(70_000));
    assert!(bench.talk(&long).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(101));
    assert!(bench.talk(&many).await.starts_with("HTTP/1.1 431 "));
    let fits = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: {}\r\n\r\n", "a".repeat(60_000));
    assert!(bench.talk(&fits).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_slow_header_block_is_answered_and_ended_also_after_requests() {
    let (app, _) = answering(OK).await;
    let limits = Limits { header_time: Duration::from_millis(200), ..Limits::default() };
    let bench = Bench::with(vec![app], limits).await;
    for first in ["", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
        for slow in ["PRI", "GET / HTTP/1.1\r\nho"] {
            let mut client = bench.connect().await;
            client.write_all(first.as_bytes()).await.unwrap();
            if !first.is_empty() {
                until(&mut client, "hi").await;
            }
            client.write_all(slow.as_bytes()).await.unwrap();
            let answer = rest(&mut client).await;
            assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
            assert!(answer.contains("server: underpass") && answer.ends_with("\r\n\r\nrequest timeout"));
        }
    }
}

#[tokio::test]
async fn a_connection_between_requests_has_the_idle_time_and_not_the_header_time() {
    let (app, _) = answering(OK).await;
    let limits =
        Limits { header_time: Duration::from_millis(50), idle: Duration::from_millis(400), ..Limits::default() };
    let bench = Bench::with(vec![app], limits).await;
    let mut client = bench.connect().await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert_eq!(until(&mut client, "hi").await, OK);
    }
    assert_eq!(rest(&mut client).await, "");
    let mut silent = bench.connect().await;
    assert_eq!(rest(&mut silent).await, "");
}

#[tokio::test]
async fn draining_closes_idle_connections_and_lets_busy_ones_finish() {
    let app = app(|_, mut io| async move {
        while !until(&mut io, "\r\n\r\n").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let _ = io.write_all(OK.as_bytes()).await;
        }
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let (mut idle, mut busy) = (bench.connect().await, bench.connect().await);
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    until(&mut idle, "hi").await;
    busy.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.drain.notify_waiters();
    assert_eq!(rest(&mut idle).await, "");
    let answer = rest(&mut busy).await;
    assert!(answer.contains("connection: close") && answer.ends_with("\r\n\r\nhi"), "{answer}");
}

#[tokio::test]
async fn a_client_that_goes_takes_its_request_along() {
    let gone = Arc::new(Notify::new());
    let told = Arc::clone(&gone);
    let app = app(move |_, mut io| {
        let told = Arc::clone(&told);
        async move {
            until(&mut io, "\r\n\r\n").await;
            rest(&mut io).await;
            told.notify_one();
        }
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(client);
    timeout(SOON, gone.notified()).await.expect("the application's connection ends");
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.status, outcome.flag), (0, "DC"));
}
