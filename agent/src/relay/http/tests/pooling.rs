//! Connections between requests, and when a request may be sent twice.

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab";

/// Answers once, then closes as soon as another request has come, as a server does whose idle limit just ran out.
async fn racing() -> SocketAddr {
    app(|_, mut io| async move {
        until(&mut io, "\r\n\r\n").await;
        io.write_all(OK.as_bytes()).await.unwrap();
        until(&mut io, "\r\n\r\n").await;
    })
    .await
}

#[tokio::test]
async fn clients_share_connections_one_request_at_a_time() {
    let (app, _) = answering(OK).await;
    let bench = Bench::new(vec![app]).await;
    let (mut one, mut two) = (bench.connect().await, bench.connect().await);
    for _ in 0..5 {
        one.write_all(GET).await.unwrap();
        until(&mut one, "hi").await;
        two.write_all(GET).await.unwrap();
        until(&mut two, "hi").await;
    }
    assert_eq!((bench.dials(), bench.pool.idle()), (1, 1));
    bench.pool.forget(&app);
    assert_eq!(bench.pool.idle(), 0);
}

#[tokio::test]
async fn a_get_is_sent_again_when_the_reused_connection_closes_under_it() {
    let app = racing().await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    for _ in 0..3 {
        client.write_all(GET).await.unwrap();
        assert_eq!(until(&mut client, "hi").await, OK);
    }
    let outcomes = bench.outcomes(3).await;
    assert!(outcomes.iter().all(|outcome| outcome.status == 200 && outcome.flag == "-"));
    assert_eq!(bench.dials(), 3);
}

#[tokio::test]
async fn a_post_that_may_have_arrived_is_not_sent_again() {
    let app = racing().await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    client.write_all(GET).await.unwrap();
    until(&mut client, "hi").await;
    client.write_all(POST).await.unwrap();
    let answer = until(&mut client, "headers").await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("server: underpass") && answer.contains("content-type: text/plain"), "{answer}");
    assert_eq!((bench.dials(), bench.outcomes(2).await[1].flag), (1, "UC"));
}

#[tokio::test]
async fn a_connection_whose_peer_closed_is_not_handed_out() {
    let app = app(|_, mut io| async move {
        until(&mut io, "\r\n\r\n").await;
        io.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    client.write_all(GET).await.unwrap();
    until(&mut client, "hi").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.write_all(POST).await.unwrap();
    assert_eq!(until(&mut client, "hi").await, OK);
    assert_eq!(bench.dials(), 2);
}

#[tokio::test]
async fn the_round_closes_what_the_peer_closed() {
    let app = app(|_, mut io| async move {
        until(&mut io, "\r\n\r\n").await;
        io.write_all(OK.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let pool = Arc::clone(&bench.pool);
    tokio::spawn(async move { pool.maintain().await });
    let mut client = bench.connect().await;
    client.write_all(GET).await.unwrap();
    until(&mut client, "hi").await;
    let emptied = async {
        while bench.pool.idle() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, emptied).await.expect("the closed connection leaves the pool");
}

#[tokio::test]
async fn a_first_connection_that_breaks_is_not_tried_again() {
    let app = app(|_, mut io| async move {
        until(&mut io, "\r\n\r\n").await;
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    client.write_all(GET).await.unwrap();
    assert!(until(&mut client, "headers").await.starts_with("HTTP/1.1 503 "));
    assert_eq!(bench.dials(), 1);
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over() {
    let (app, _) = answering(OK).await;
    let bench = Bench::new(vec![nobody().await, app]).await;
    let mut client = bench.connect().await;
    client.write_all(POST).await.unwrap();
    assert_eq!(until(&mut client, "hi").await, OK);
    let outcomes = bench.service.outcomes.lock().unwrap().clone();
    assert_eq!((outcomes[0].0, outcomes[0].1.flag, bench.dials()), (Some(app), "-", 2));
}

#[tokio::test]
async fn without_an_endpoint_the_client_is_told_and_stays_connected() {
    for (endpoints, reason, flag) in
        [(vec![], "no healthy upstream", "UH"), (vec![nobody().await; 2], "upstream connection failure", "UF")]
    {
        let bench = Bench::new(endpoints).await;
        let mut client = bench.connect().await;
        for _ in 0..2 {
            client.write_all(GET).await.unwrap();
            let answer = until(&mut client, reason).await;
            let head = "HTTP/1.1 503 Service Unavailable\r\nserver: underpass\r\ncontent-type: text/plain\r\n";
            assert!(answer.starts_with(head), "{answer}");
        }
        client.write_all(b"GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert!(until(&mut client, "no route").await.starts_with("HTTP/1.1 404 "));
        let flags: Vec<_> = bench.outcomes(3).await.iter().map(|outcome| outcome.flag).collect();
        assert_eq!(flags, [flag, flag, "NR"]);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client() {
    for head in ["content-length: 10", "transfer-encoding: chunked"] {
        let app = app(move |_, mut io| async move {
            until(&mut io, "\r\n\r\n").await;
            let part = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n");
            io.write_all(&part.as_bytes()[..part.len() - 2]).await.unwrap();
            io.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        })
        .await;
        let bench = Bench::new(vec![app]).await;
        let answer = bench.talk("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(answer.contains("hello") && !answer.ends_with("0\r\n\r\n"), "{answer}");
        let outcome = bench.outcomes(1).await.remove(0);
        assert_eq!((outcome.status, outcome.flag), (200, "UC"));
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_bad_gateway() {
    let (app, _) = answering("SSH-2.0-OpenSSH\r\n\r\n").await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    client.write_all(GET).await.unwrap();
    assert!(until(&mut client, "protocol error").await.starts_with("HTTP/1.1 502 "));
    assert_eq!(bench.outcomes(1).await[0].flag, "UPE");
}

/// Whatever the application does with its connections, each request is answered once and accounted for once.
#[tokio::test]
async fn every_request_has_exactly_one_answer_and_one_outcome() {
    let app = app(|number, mut io| async move {
        for request in 0.. {
            if until(&mut io, "\r\n\r\n").await.is_empty() || (number + request) % 7 == 6 {
                return;
            }
            let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
            let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
            let answer = [OK, chunked, closing][(number + request) % 3];
            io.write_all(answer.as_bytes()).await.unwrap();
            if answer == closing {
                return;
            }
        }
    })
    .await;
    let bench = Arc::new(Bench::new(vec![app]).await);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let bench = Arc::clone(&bench);
        clients.spawn(async move {
            let mut client = bench.connect().await;
            for _ in 0..40 {
                client.write_all(GET).await.unwrap();
                let head = until(&mut client, "\r\n\r\n").await;
                let body = if head.contains("chunked") {
                    "0\r\n\r\n"
                } else if head.contains(" 200 ") {
                    "hi"
                } else {
                    "headers"
                };
                assert!(head.starts_with("HTTP/1.1 ") && until(&mut client, body).await.ends_with(body));
            }
        });
    }
    clients.join_all().await;
    assert_eq!(bench.outcomes(320).await.len(), 320);
}

#[tokio::test]
async fn a_connection_carries_no_more_requests_than_it_may() {
    let (app, _) = answering(OK).await;
    for (requests, dials) in [(1, 4), (2, 2), (3, 2)] {
        let wear = Wear { requests: Some(requests), ..Wear::default() };
        let bench = Bench::ruled(vec![app], Rule { wear, ..Rule::default() }).await;
        let mut client = bench.connect().await;
        for _ in 0..4 {
            client.write_all(GET).await.unwrap();
            assert_eq!(until(&mut client, "hi").await, OK);
        }
        assert_eq!(bench.dials(), dials);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_ends_after_its_own_idle_time() {
    let (app, _) = answering(OK).await;
    let wear = Wear { idle: Some(Duration::from_secs(3)), ..Wear::default() };
    let bench = Bench::ruled(vec![app], Rule { wear, ..Rule::default() }).await;
    let pool = Arc::clone(&bench.pool);
    tokio::spawn(async move { pool.maintain().await });
    let mut client = bench.connect().await;
    client.write_all(GET).await.unwrap();
    until(&mut client, "hi").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.pool.idle(), 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.pool.idle(), 0);
}

#[tokio::test]
async fn a_connection_takes_no_request_beyond_its_age() {
    let (app, _) = answering(OK).await;
    let wear = Wear { age: Some(Duration::from_secs(1)), ..Wear::default() };
    let bench = Bench::ruled(vec![app], Rule { wear, ..Rule::default() }).await;
    let mut client = bench.connect().await;
    for (dials, pause) in [(1, 0), (1, 1200), (2, 0), (2, 0)] {
        client.write_all(GET).await.unwrap();
        assert_eq!(until(&mut client, "hi").await, OK);
        assert_eq!(bench.dials(), dials);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

#[tokio::test]
async fn requests_wait_for_a_place_among_the_connections() {
    let app = app(|number, mut io| async move {
        assert_eq!(number, 0, "there is one connection");
        while !until(&mut io, "\r\n\r\n").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            io.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let places = Some(Arc::new(tokio::sync::Semaphore::new(1)));
    let bench = Bench::ruled(vec![app], Rule { places, ..Rule::default() }).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = bench.connect().await;
        client.write_all(GET).await.unwrap();
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(until(client, "hi").await, OK);
    }
    assert_eq!(bench.dials(), 1);
}
