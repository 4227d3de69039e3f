//! Time limits of rules.

use super::*;
use std::time::Instant;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const SHORT: Duration = Duration::from_millis(150);

fn within(timeout: Duration) -> Rule {
    Rule { timeout: Some(timeout), ..Rule::default() }
}

/// Never answers.
async fn silent() -> SocketAddr {
    app(|_, mut io| async move {
        rest(&mut io).await;
    })
    .await
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_gateway_timeout() {
    let bench = Bench::ruled(vec![silent().await], within(SHORT)).await;
    let mut client = bench.connect().await;
    for request in [GET, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab"] {
        let began = Instant::now();
        client.write_all(request).await.unwrap();
        let answer = until(&mut client, "timeout").await;
        assert!(answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{answer}");
        assert!(answer.ends_with("upstream request timeout"), "{answer}");
        assert!((SHORT..SHORT * 4).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
    let outcomes = bench.outcomes(2).await;
    assert!(outcomes.iter().all(|outcome| (outcome.status, outcome.flag) == (504, "UT")));
    assert_eq!(bench.settled(), [Settled::TimedOut; 2]);
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_cut_off() {
    let app = app(|_, mut io| async move {
        until(&mut io, "\r\n\r\n").await;
        io.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhello").await.unwrap();
        rest(&mut io).await;
    })
    .await;
    let bench = Bench::ruled(vec![app], within(SHORT)).await;
    let began = Instant::now();
    let answer = bench.talk("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert!((SHORT..SHORT * 4).contains(&began.elapsed()), "{:?}", began.elapsed());
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.status, outcome.flag, outcome.response_bytes), (200, "UT", 5));
}

#[tokio::test]
async fn a_slow_upload_does_not_use_up_the_time_of_the_answer() {
    let app = app(|_, mut io| async move {
        until(&mut io, "abcd").await;
        io.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let bench = Bench::ruled(vec![app], within(SHORT)).await;
    let mut client = bench.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n").await.unwrap();
    for byte in ["a", "b", "c", "d"] {
        tokio::time::sleep(SHORT / 2).await;
        client.write_all(byte.as_bytes()).await.unwrap();
    }
    assert_eq!(until(&mut client, "hi").await, OK);
}

#[tokio::test]
async fn what_is_in_time_is_not_touched_and_the_connection_is_used_again() {
    let (app, _) = answering(OK).await;
    let bench = Bench::ruled(vec![app], within(Duration::from_secs(5))).await;
    let mut client = bench.connect().await;
    for _ in 0..3 {
        client.write_all(GET).await.unwrap();
        assert_eq!(until(&mut client, "hi").await, OK);
    }
    assert!(bench.outcomes(3).await.iter().all(|outcome| outcome.flag == "-"));
    assert_eq!(bench.dials(), 1);
}

#[tokio::test]
async fn an_upgraded_connection_has_no_time_limit() {
    let app = app(|_, mut io| async move {
        until(&mut io, "\r\n\r\n").await;
        io.write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n").await.unwrap();
        until(&mut io, "late").await;
        io.write_all(b"too").await.unwrap();
    })
    .await;
    let bench = Bench::ruled(vec![app], within(SHORT)).await;
    let mut client = bench.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await.unwrap();
    until(&mut client, "\r\n\r\n").await;
    tokio::time::sleep(SHORT * 2).await;
    client.write_all(b"late").await.unwrap();
    assert_eq!(rest(&mut client).await, "too");
}

#[tokio::test]
async fn the_time_covers_all_attempts_and_each_attempt_has_its_own() {
    let mut retry = retry(10, RetryOn { reset: true, ..RetryOn::default() });
    retry.per_try = Some(Duration::from_millis(60));
    let rule = Rule { timeout: Some(Duration::from_millis(250)), retry: Some(retry), ..Rule::default() };
    let bench = Bench::ruled(vec![silent().await], rule).await;
    let mut client = bench.connect().await;
    client.write_all(GET).await.unwrap();
    assert!(until(&mut client, "timeout").await.starts_with("HTTP/1.1 504 "));
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.status, outcome.flag), (504, "UT"));
    assert!((3..=4).contains(&outcome.attempts), "{}", outcome.attempts);
}

#[tokio::test]
async fn a_slow_attempt_is_given_up_for_another_endpoint() {
    let (app, _) = answering(OK).await;
    let mut retry = retry(1, RetryOn { server_error: true, ..RetryOn::default() });
    retry.per_try = Some(SHORT);
    let bench = Bench::ruled(vec![silent().await, app], Rule { retry: Some(retry), ..Rule::default() }).await;
    let mut client = bench.connect().await;
    client.write_all(GET).await.unwrap();
    assert_eq!(until(&mut client, "hi").await, OK);
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.status, outcome.flag, outcome.attempts), (200, "-", 2));
    assert_eq!(bench.settled(), [Settled::TimedOut, Settled::Answered(StatusCode::OK)]);
}
