//! Attempts that a rule repeats.

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const BAD: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nbad";

fn on_5xx(attempts: u32) -> Rule {
    Rule { retry: Some(retry(attempts, RetryOn { server_error: true, ..RetryOn::default() })), ..Rule::default() }
}

/// Answers 503 so often, then 200 with what it was sent.
async fn failing(times: usize) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let address = app(move |_, mut io| {
        let noted = Arc::clone(&noted);
        async move {
            loop {
                let mut request = until(&mut io, "\r\n\r\n").await;
                if request.is_empty() {
                    return;
                }
                if request.contains("content-length") {
                    request += &until(&mut io, ".").await;
                }
                let before = {
                    let mut seen = noted.lock().unwrap();
                    seen.push(request);
                    seen.len() - 1
                };
                let answer = if before < times { BAD } else { OK };
                io.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (address, seen)
}

#[tokio::test]
async fn a_bad_status_is_retried_over_the_same_connection_and_each_attempt_has_its_number() {
    let (app, seen) = failing(2).await;
    let bench = Bench::ruled(vec![app], on_5xx(3)).await;
    let mut client = bench.connect().await;
    client.write_all(GET).await.unwrap();
    assert_eq!(until(&mut client, "hi").await, OK);
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.status, outcome.flag, outcome.attempts), (200, "-", 3));
    assert_eq!(bench.dials(), 1, "an answer that was there as a whole leaves its connection usable");
    for (number, request) in (1..).zip(&*seen.lock().unwrap()) {
        assert!(request.contains(&format!("x-envoy-attempt-count: {number}\r\n")), "{request}");
    }
    let bad = Settled::Answered(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(bench.settled(), [bad, bad, Settled::Answered(StatusCode::OK)]);
}

#[tokio::test]
async fn the_last_bad_answer_is_the_client_s_and_flagged() {
    let (app, seen) = failing(100).await;
    let bench = Bench::ruled(vec![app], on_5xx(2)).await;
    let mut client = bench.connect().await;
    client.write_all(GET).await.unwrap();
    assert_eq!(until(&mut client, "bad").await, BAD);
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.status, outcome.flag, outcome.attempts), (503, "URX", 3));
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_body_is_sent_again_whole() {
    for body in ["x".repeat(60_000) + ".", "short.".to_owned()] {
        let (app, seen) = failing(2).await;
        let bench = Bench::ruled(vec![app], on_5xx(3)).await;
        let mut client = bench.connect().await;
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(body.as_bytes()).await.unwrap();
        assert_eq!(until(&mut client, "hi").await, OK);
        let seen = seen.lock().unwrap().clone();
        assert!(seen.len() == 3 && seen.iter().all(|request| request.ends_with(&format!("\r\n\r\n{body}"))));
        let outcome = bench.outcomes(1).await.remove(0);
        assert_eq!((outcome.request_bytes, outcome.attempts), (body.len() as u64, 3));
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_to_keep_is_sent_once() {
    let (app, seen) = failing(2).await;
    let bench = Bench::ruled(vec![app], on_5xx(3)).await;
    let mut client = bench.connect().await;
    let body = "x".repeat(70_000) + ".";
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(until(&mut client, "bad").await, BAD);
    assert_eq!(bench.outcomes(1).await[0].attempts, 1);
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_long_body_that_has_not_begun_to_leave_goes_to_another_endpoint() {
    let (app, _) = failing(0).await;
    let on = RetryOn { connect_failure: true, ..RetryOn::default() };
    let rule = Rule { retry: Some(retry(1, on)), ..Rule::default() };
    let bench = Bench::ruled(vec![nobody().await, app], rule).await;
    let mut client = bench.connect().await;
    let body = "x".repeat(200_000) + ".";
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(until(&mut client, "hi").await, OK);
    assert_eq!(bench.outcomes(1).await[0].attempts, 2);
    assert_eq!(bench.settled()[0], Settled::Unreachable);
}

#[tokio::test]
async fn a_reset_is_retried_where_the_words_say_so() {
    let words = [
        (RetryOn { reset: true, ..RetryOn::default() }, 200),
        (RetryOn { server_error: true, ..RetryOn::default() }, 200),
        (RetryOn { conflict: true, ..RetryOn::default() }, 503),
        (RetryOn { reset_before_request: true, ..RetryOn::default() }, 503),
    ];
    for (on, status) in words {
        let app = app(|number, mut io| async move {
            until(&mut io, "\r\n\r\n").await;
            if number > 0 {
                io.write_all(OK.as_bytes()).await.unwrap();
            }
        })
        .await;
        let bench = Bench::ruled(vec![app], Rule { retry: Some(retry(2, on.clone())), ..Rule::default() }).await;
        let mut client = bench.connect().await;
        client.write_all(GET).await.unwrap();
        let answer = until(&mut client, "\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{on:?}: {answer}");
        let outcome = bench.outcomes(1).await.remove(0);
        assert_eq!((outcome.status, outcome.flag), (status, if status == 200 { "-" } else { "UC" }));
    }
}

#[tokio::test]
async fn endpoints_that_cannot_be_reached_are_counted_as_attempts() {
    let on = RetryOn { connect_failure: true, ..RetryOn::default() };
    let rule = Rule { retry: Some(retry(2, on)), ..Rule::default() };
    let bench = Bench::ruled(vec![nobody().await; 5], rule).await;
    let mut client = bench.connect().await;
    client.write_all(GET).await.unwrap();
    assert!(until(&mut client, "failure").await.starts_with("HTTP/1.1 503 "));
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.flag, outcome.attempts, bench.dials()), ("UF,URX", 3, 3));
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_passed_over_whatever_the_words() {
    let (app, _) = answering(OK).await;
    let rule = Rule { retry: Some(retry(0, RetryOn::default())), ..Rule::default() };
    let bench = Bench::ruled(vec![nobody().await, app], rule).await;
    let mut client = bench.connect().await;
    client.write_all(GET).await.unwrap();
    assert_eq!(until(&mut client, "hi").await, OK);
}

#[tokio::test]
async fn retries_stay_within_their_budget() {
    let app = app(|_, mut io| async move {
        while !until(&mut io, "\r\n\r\n").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = io.write_all(BAD.as_bytes()).await;
        }
    })
    .await;
    let bench = Bench::ruled(vec![app], Rule { budget: Some(2), ..on_5xx(1) }).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = bench.connect().await;
        client.write_all(GET).await.unwrap();
        clients.push(client);
    }
    for client in &mut clients {
        until(client, "bad").await;
    }
    let outcomes = bench.outcomes(6).await;
    let flagged = |flag| outcomes.iter().filter(|outcome| outcome.flag == flag).count();
    assert_eq!((flagged("URX"), flagged("UO")), (2, 4));
    assert_eq!(outcomes.iter().map(|outcome| outcome.attempts).sum::<u32>(), 8);
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_asked_once() {
    let (app, seen) = failing(1).await;
    let bench = Bench::ruled(vec![app], on_5xx(1)).await;
    let mut client = bench.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(until(&mut client, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"body.").await.unwrap();
    assert_eq!(until(&mut client, "hi").await, OK);
    assert!(seen.lock().unwrap().iter().all(|request| request.ends_with("body.")));
}

#[tokio::test]
async fn a_client_that_goes_ends_the_retries() {
    let (app, seen) = failing(1000).await;
    let mut rule = on_5xx(1000);
    rule.retry.as_mut().unwrap().backoff = Some(Duration::from_millis(50));
    let bench = Bench::ruled(vec![app], rule).await;
    let mut client = bench.connect().await;
    client.write_all(GET).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(client);
    assert_eq!(bench.outcomes(1).await[0].flag, "DC");
    let tries = seen.lock().unwrap().len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(tries >= 2 && seen.lock().unwrap().len() <= tries + 1);
}
